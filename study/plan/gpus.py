"""Count the GPUs that CUDA would show to this process, without starting CUDA in it."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"

LISTED = "proc/driver/nvidia/gpus"
"""One folder per GPU, made by NVIDIA's driver for PCI cards."""

OTHER_DEVICES = ("dev/dxg", "dev/nvhost-gpu", "dev/nvgpu", "dev/nvmap")
"""What there is instead in WSL2 and on Jetson boards."""

_ASK = """
import ctypes
try:
    cuda, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(0)
    print(count.value if cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0)
except OSError:
    import torch
    print(torch.cuda.device_count())
"""


@cache
def ask_cuda(visible: str | None) -> int:
    """Return how many GPUs CUDA shows, asked in a process of its own; `visible` is the value of CUDA_VISIBLE_DEVICES.

    CUDA's library answers in a fraction of a second; where it is not found, torch is asked.
    """
    environment = {name: value for name, value in os.environ.items() if name != VISIBLE}
    if visible is not None:
        environment[VISIBLE] = visible
    try:
        done = subprocess.run(
            [sys.executable, "-c", _ASK], env=environment, capture_output=True, text=True, timeout=120, check=True
        )
        return int(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0


def gpu_count(
    environment: Mapping[str, str] = os.environ,
    root: Path = Path("/"),
    ask: Callable[[str | None], int] = ask_cuda,
) -> int:
    """Return how many NVIDIA GPUs this process may use.

    Args:
        environment: where CUDA_VISIBLE_DEVICES is looked up.
        root: where /proc and /dev are.
        ask: asks CUDA itself; it is called only where the files do not answer the question.
    """
    visible = environment.get(VISIBLE)
    if visible is not None and not _leading(visible):
        return 0
    uuids = _uuids(root)
    if uuids:
        count = len(uuids) if visible is None else visible_count(visible, uuids)
        return ask(visible) if count is None else count
    return ask(visible) if any((root / device).exists() for device in OTHER_DEVICES) else 0


def looked_at(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> str:
    """Return in words where GPUs were looked for, for the sentence that says that there is none."""
    listed, there = len(_uuids(root)), [f"/{name}" for name in OTHER_DEVICES if (root / name).exists()]
    if listed:
        words = f"/{LISTED} lists {listed}"
    elif there:
        words = f"{' and '.join(there)} exists, but CUDA finds no GPU"
    else:
        words = f"looked for {', '.join(f'/{name}' for name in (LISTED, *OTHER_DEVICES))}"
    visible = environment.get(VISIBLE)
    return words if visible is None else f"{words}; {VISIBLE} is {visible[:100]!r}"


def visible_count(visible: str, uuids: Sequence[str]) -> int | None:
    """Return how many of these GPUs a value of CUDA_VISIBLE_DEVICES leaves; None if only CUDA knows.

    The rules are those of the CUDA C++ Programming Guide ("CUDA Environment Variables") and, where it says nothing, those
    that torch.cuda.device_count follows to give CUDA's answer (`torch.cuda._parse_visible_devices`): the list ends before
    the first entry that is not valid, and an entry that is there twice leaves no GPU at all.
    """
    entries = _leading(visible)
    if entries and entries[0].startswith("MIG-"):
        # A GPU may be cut into instances that no file lists.
        return None
    if len(set(entries)) < len(entries):
        return 0
    chosen: list[int] = []
    for entry in entries:
        if entry.startswith("GPU-"):
            if not all(uuid.startswith("GPU-") for uuid in uuids):
                return None
            found = [index for index, uuid in enumerate(uuids) if uuid.startswith(entry)]
            index = found[0] if len(found) == 1 else -1
        else:
            index = int(entry)
        if index in chosen:
            return 0
        if not 0 <= index < len(uuids):
            break
        chosen.append(index)
    return len(chosen)


def _leading(visible: str) -> list[str]:
    """Return the entries before the first one that is not of the same kind as the first: UUIDs, MIG names or indices."""
    prefix = next((prefix for prefix in ("GPU-", "MIG-") if visible.startswith(prefix)), "")
    entries: list[str] = []
    for entry in visible.split(","):
        # Like C's strtoul, CUDA reads `1gpu` as 1; a negative number ends the list.
        number = re.match(r"\+?[0-9]{1,9}", entry.strip())
        if prefix and entry.startswith(prefix):
            entries.append(entry)
        elif not prefix and number:
            entries.append(str(int(number[0])))
        else:
            break
    return entries


def _uuids(root: Path) -> list[str]:
    """Return the UUID of every GPU that the driver lists; empty texts for those that it does not tell."""
    uuids = []
    try:
        folders = sorted((root / LISTED).iterdir())
    except OSError:
        return []
    for folder in folders:
        try:
            found = re.search(r"^GPU UUID\s*:\s*(GPU-[0-9a-f-]+)\s*$", (folder / "information").read_text(), re.M)
        except (OSError, UnicodeDecodeError):
            found = None
        uuids.append(found[1] if found else "")
    return uuids
