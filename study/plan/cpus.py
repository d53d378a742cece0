"""Count the CPU cores that this process may use: those of its affinity, and no more than its container is allowed."""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath


def cores(root: Path = Path("/")) -> int:
    """Return how many cores this process may use, at least 1; `root` is where /proc and /sys are."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # A quota of 1.5 cores keeps two processes busy for three quarters of the time.
    return max(1, min([here, *(math.ceil(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Yield every limit on CPU time, in cores, of this process's control groups and of those around them."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            for mount in ("sys/fs/cgroup", "sys/fs/cgroup/unified"):
                for folder in _upwards(root / mount, path):
                    yield from _quota(*_read(folder / "cpu.max").split()[:2])
        elif "cpu" in controllers.split(","):
            for mount in (f"sys/fs/cgroup/{controllers}", "sys/fs/cgroup/cpu"):
                for folder in _upwards(root / mount, path):
                    yield from _quota(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """Yield the folder of a control group and those around it; where a container sees another path, its own is the mount."""
    inside = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
    yield from (mount.joinpath(*inside[:length]) for length in range(len(inside), -1, -1))


def _quota(time: str = "", period: str = "") -> Iterator[float]:
    # `max` and -1 mean that there is no limit.
    with suppress(ValueError):
        if int(time) > 0 and int(period) > 0:
            yield int(time) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
