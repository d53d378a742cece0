"""Measures what reading a study costs in seconds and peak memory: load, an average, one vector column, the report.

python -m benchmarks.analysis [--trials 480 10000] [--folder FOLDER] [--report] [--out benchmarks/analysis.md]
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.synthetic import write_study
from benchmarks.table import page, parser, publish

EPOCHS, UNITS = 300, 50


def read_once(root: str, vectors: bool) -> None:
    """Load, average and read one vector column in this process, and print seconds and memory."""
    from analysis import average, load

    told: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        begun, busy = time.perf_counter(), time.process_time()
        found = work()
        told[name], told[f"{name}_cpu"] = time.perf_counter() - begun, time.process_time() - busy
        return found

    study = timed("load", lambda: load(root, vectors=vectors))
    at = {"decoder": "bernoulli", "warmup": 0}
    timed("average", lambda: average(study, "test_bound", by=["k", "batch_norm"], at=at, epoch="every"))
    told["load_mb"] = _peak_mb()
    timed("column", lambda: study.vectors(column="activity"))
    told["peak_mb"] = _peak_mb()
    print(json.dumps(told))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(root: Path, trials: int, vectors: bool, rounds: int, report: bool) -> list[object]:
    """Measure one row: the median of some runs, each in its own process with the files in the page cache."""
    told = []
    for _ in range(rounds + 1):
        command = [sys.executable, "-m", "benchmarks.analysis", "--read", str(root), str(int(vectors))]
        told.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
    # The first run brings the files into the page cache.
    middle = {name: sorted(each[name] for each in told[1:])[rounds // 2] for name in told[0]}
    seconds = ""
    if report:
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "analysis.report", str(root)], check=True, stdout=subprocess.DEVNULL)
        seconds = f"{time.perf_counter() - begun:.0f}"
    files = sorted((root / "epochs").iterdir())
    return [
        f"{trials:,}",
        f"{len(files):,}",
        f"{sum(file.stat().st_size for file in files) / 1e9:.2f}",
        "read" if vectors else "left in their files",
        f"{told[0]['load']:.1f}",
        f"{middle['load']:.2f} ({middle['load_cpu']:.2f})",
        f"{middle['average']:.2f} ({middle['average_cpu']:.2f})",
        f"{middle['load_mb']:.0f}",
        f"{middle['column']:.2f} ({middle['column_cpu']:.2f})",
        f"{middle['peak_mb']:.0f}",
        seconds,
    ]


def main() -> None:
    """Measure each size and print the table."""
    words = parser("What reading a study costs")
    words.add_argument("--trials", type=int, nargs="+", default=[480, 10_000])
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--folder", type=Path, help="keep the synthetic studies here, or find them there")
    words.add_argument("--report", action="store_true", help="also make the report of the smallest study")
    words.add_argument("--read", nargs=2, metavar=("ROOT", "VECTORS"), help="used by the script itself")
    asked = words.parse_args()
    if asked.read:
        read_once(asked.read[0], asked.read[1] == "1")
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for trials in asked.trials:
            root = (asked.folder or Path(folder)) / f"s{trials}"
            if not root.exists():
                write_study(root, trials, EPOCHS, UNITS)
            # A study of 10,000 trials has more vectors than a small machine has memory.
            kinds = [True, False] if trials <= 1_000 else [False]
            for vectors in kinds:
                with_report = asked.report and trials == min(asked.trials) and vectors
                rows.append(measure(root, trials, vectors, asked.rounds, with_report))
    header = [
        "trials",
        "files",
        "GB",
        "vectors",
        "first load, s",
        "load, s (CPU)",
        "average, s (CPU)",
        "peak then, MB",
        "one vector column, s (CPU)",
        "peak at the end, MB",
        "report, s",
    ]
    notes = [
        f"Synthetic studies of {EPOCHS} epochs and {UNITS} units, 16 cells, in packs of up to 60 trials with 30 "
        "commits each; the "
        "vectors are random numbers, which compress badly, as real ones do.",
        "Every file's page checksums and content hashes are verified, of the columns that are read.",
        f"The middle of {asked.rounds} processes after a first one, which found the files as the disk had them; "
        "average: the test "
        "bound of every epoch of a quarter of the trials.",
    ]
    publish(page("Analysis", "What does it cost to read a study?", header, rows, notes), asked.out)


if __name__ == "__main__":
    main()
