"""Measures what the driver costs per trial: planning, Ray Tune or this process, rows and commits; training takes no time.

python -m benchmarks.driver [--trials 1000 10000] [--executor inline ray] [--out benchmarks/driver.md]
"""

import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.table import kind_of, page, parser, publish

CELLS = 200
GRID = """\
study: many
data: {{name: digits}}
factors:
  decoder: [bernoulli, gaussian]
  k: [1, 2, 5, 10, 20]
  batch_norm: [false, true]
  warmup: [0, 10]
  n_z: [2, 5, 10, 20, 50]
  seed: [{seeds}]
training: {{epochs: 20}}
"""


def drive_once(grid: str, out: str, executor: str) -> None:
    """Run the study in this process with training replaced, and print what the driver took."""
    from study.pipeline import run_grid

    if executor == "ray":
        from study.cluster.local_ray import quiet_environment

        quiet_environment()
        import ray

        # Ray's workers run elsewhere and must find the hook.
        os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
        # The driver joins a running Ray; this one differs from the driver's own only in the workers' hook.
        ray.init(
            address="local",
            num_cpus=len(os.sched_getaffinity(0)),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=100 * 2**20,
            runtime_env={"worker_process_setup_hook": "benchmarks.null_training.install"},
        )
    else:
        # Imported here, as it loads torch, which a driver with Ray does not need.
        from benchmarks.null_training import install

        install()
    before = _cpu_seconds()
    begun = time.perf_counter()
    code = run_grid(grid, out=out, executor=executor)
    told = {
        "code": code,
        "wall": time.perf_counter() - begun,
        "cpu": _cpu_seconds() - before,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(told))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(trials: int, executor: str, above: Path | None = None) -> list[object]:
    """Measure one row: a fresh study of this many trials, and then the same command again."""
    with tempfile.TemporaryDirectory(dir=above) as folder:
        grid = Path(folder) / "many.yaml"
        grid.write_text(GRID.format(seeds=", ".join(map(str, range(max(1, trials // CELLS))))))
        n = CELLS * max(1, trials // CELLS)
        first = _told([sys.executable, "-m", "benchmarks.driver", "--drive", str(grid), folder, executor])
        begun = time.perf_counter()
        command = [sys.executable, "-m", "study.run", str(grid), "--out", folder, "--executor", executor]
        again = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds = time.perf_counter() - begun
        if "nothing to do" not in again.stdout:
            raise RuntimeError(f"the rerun of a finished study was not idle:\n{again.stdout}")
        study = Path(folder) / "many"
        files = {name: len(os.listdir(study / name)) for name in ("epochs", "trials", "weights", "checkpoints")}
        size = sum(path.stat().st_size for name in ("epochs", "trials", "plan") for path in (study / name).iterdir())
    return [
        executor,
        f"{n:,}",
        f"{files['trials']:,}",
        f"{first['wall']:.0f}",
        f"{1e3 * first['wall'] / n:.1f}",
        f"{1e3 * first['cpu'] / n:.1f}",
        f"{first['peak_mb']:.0f}",
        f"{files['epochs']:,}",
        f"{files['checkpoints']:,}",
        f"{size / n / 1024:.1f}",
        f"{seconds:.1f}",
    ]


def _told(command: list[str]) -> Any:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines or (told := json.loads(lines[-1]))["code"]:
        raise RuntimeError(f"the study failed:\n{done.stdout[-2000:]}")
    return told


def main() -> None:
    """Measure each size with each executor and print the table."""
    words = parser("What the driver costs per trial")
    words.add_argument("--trials", type=int, nargs="+", default=[1_000, 10_000])
    words.add_argument("--executor", nargs="+", default=["inline", "ray"])
    words.add_argument("--folder", type=Path, help="where results are kept while they are needed")
    words.add_argument("--drive", nargs=3, metavar=("GRID", "OUT", "EXECUTOR"), help="used by the script itself")
    asked = words.parse_args()
    if asked.drive:
        drive_once(*asked.drive)
        return
    rows = [measure(n, executor, asked.folder) for executor in asked.executor for n in asked.trials]
    header = [
        "executor",
        "trials",
        "packs",
        "wall, s",
        "ms per trial",
        "driver's CPU, ms per trial",
        "driver's peak, MB",
        "files in epochs/",
        "in checkpoints/",
        "kB per trial (epochs, trials, plan)",
        "rerun when done, s",
    ]
    notes = [
        f"{CELLS} cells, seeds to fill up, 20 epochs; real planning, executor, rows, commits and ends "
        "(benchmarks/null_training.py "
        "replaces the learner and the measurements alone). `inline` trains in the driver's process, so its CPU "
        "has the workers' "
        "part too; with `ray` two workers write.",
        "wall: from the call of the command's function to its return, Ray's start not counted; peak: of the "
        "driver's process, "
        "which has torch loaded where it is `inline`.",
        f"Results lay on {kind_of(asked.folder or Path(tempfile.gettempdir()))}, where a sync costs what it costs.",
        "rerun: wall time of the whole command on the finished study.",
    ]
    publish(page("Driver", "What does the driver cost per trial, and does it stay linear?", header, rows, notes), asked.out)


if __name__ == "__main__":
    main()
