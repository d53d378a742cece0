"""Writes one Markdown table per benchmark, with the machine, the versions, the command and the load."""

import argparse
import datetime
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np


def page(title: str, question: str, header: Sequence[str], rows: Sequence[Sequence[object]], notes: Sequence[str]) -> str:
    """Render a Markdown page: the question, the table and the conditions of the run."""
    lines = [f"# {title}", "", question, "", _row(header), _row(["---"] * len(header)), *map(_row, rows), ""]
    return "\n".join([*lines, *(f"- {note}" for note in [*notes, *surroundings()])]) + "\n"


def surroundings(packages: Sequence[str] = ("torch", "ray", "pyarrow", "numpy", "jax")) -> list[str]:
    """Describe command, machine, versions, load and date of this run."""
    found = [f"{name} {_version(name)}" for name in packages if _version(name)]
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    # The command as it was typed, without the paths of this machine.
    typed = [_hidden(word) for word in sys.argv[1:]]
    words = ["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *typed]
    return [
        f"command: `{shlex.join(words)}`",
        f"machine: {processor()}, {os.cpu_count()} cores, {platform.system()}; Python {platform.python_version()}, "
        f"{', '.join(found)}",
        f"load (1, 5, 15 min) at the end: {load}; {datetime.date.today().isoformat()}",
    ]


def median_with_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median and the order statistics around it that contain the true median with at least 95% probability.

    Of ten values these are the second smallest and the second largest (97.9%); of fewer than six, all of them.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    n = len(ordered)
    below = 0
    # P(fewer than r of n values lie below the median) = sum of binomials; both tails together at most 5%.
    tail = cumulative = 0.5**n
    while below + 1 < n // 2 and 2 * (cumulative + tail * (n - below) / (below + 1)) <= 0.05:
        tail *= (n - below) / (below + 1)
        cumulative += tail
        below += 1
    return float(np.median(ordered)), float(ordered[below]), float(ordered[-1 - below])


def ratio(values: Sequence[float], digits: int = 2) -> str:
    """Render a median ratio with its interval: `1.25 (1.21 to 1.30)`."""
    middle, low, high = median_with_interval(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def parser(about: str) -> argparse.ArgumentParser:
    """Return a parser with --out, which every benchmark has."""
    made = argparse.ArgumentParser(description=about)
    made.add_argument("--out", type=Path, help="also write the page to this file")
    return made


def publish(text: str, out: Path | None) -> None:
    """Print the page, and write it to the file given by --out."""
    print(text)
    if out is not None:
        out.write_text(text)


def processor() -> str:
    """Return the name of the processor."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def kind_of(folder: Path) -> str:
    """Return the kind of file system that a folder is on."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(len(where), kind) for where, kind in mounts if str(folder.resolve()).startswith(where.rstrip("/") or "/")]
    return max(above)[1]


def _hidden(word: str) -> str:
    if not Path(word).is_absolute():
        return word
    return "FILE" if Path(word).suffix else "FOLDER"


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
