"""The processes of a run, found in /proc, and ended where they outlive it."""

import os
import signal
from contextlib import suppress
from pathlib import Path


def family(pid: int) -> dict[int, str]:
    """The living descendants of a process, with their command lines."""
    parents, lines = {}, {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit():
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                lines[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended while we looked
    found, layer = {}, {pid}
    while layer:
        layer = {child for child, parent in parents.items() if parent in layer}
        found |= {child: lines[child] for child in layer}
    return found


def named(pid: int, name: str) -> list[int]:
    """The living descendants of a process whose command has this in its first word."""
    return [child for child, line in family(pid).items() if name in line.split(" ")[0]]


def end_leftovers(pids: set[int]) -> None:
    """Ray's helper processes outlive a killed driver by minutes: end those that the caller started."""
    for pid in pids:
        with suppress(OSError):
            if "ray" in Path(f"/proc/{pid}/cmdline").read_text():
                os.kill(pid, signal.SIGKILL)
