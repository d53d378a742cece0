"""Compares the wall time of whole studies with that of plain Ray Tune, with its defaults and well tuned.

python -m benchmarks.quickstart [--only digits|mnist] [--data-root FOLDER] [--out benchmarks/quickstart.md]
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.table import page, parser, publish
from study.grid.design import trials_of
from study.grid.grid import Grid, read_grid
from workers.contract.settings import Settings
from workers.data.images import known

MNIST = """\
study: mnist-slice
data: {name: mnist}
factors:
  decoder: [bernoulli]
  k: [1, 5]
  batch_norm: [false]
  warmup: [0, 2]
  n_z: [10, 50]
  seed: [0, 1]
training: {epochs: 2, batch_size: 100, learning_rate: 0.001, beta1: 0.9, beta2: 0.9, epsilon: 0.0001}
measure: {threshold: 0.1, images: 10000, nll_samples: 2, secondary_samples: 2}
"""


@dataclass(frozen=True)
class Taken:
    """The seconds that a whole study takes."""

    start: float
    """Seconds before the first trial; 0 if they are not measured separately."""
    run: float
    trials: int

    def whole(self, trials: int) -> float:
        """Return the seconds for a study with this many trials of the same kind."""
        return self.start + self.run * trials / self.trials


def run_study(grid: Path, sets: Sequence[str], executor: str) -> float:
    """Measure the wall time of this project's command from call to end; the results are deleted afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        options = [word for name in sets for word in ("--set", name)]
        command = [sys.executable, "-m", "study.run", str(grid), "--out", folder, "--executor", executor, *options]
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - begun


def run_peer(kind: str, trials: Sequence[Settings], root: str | None) -> Taken:
    """Run the same trials on plain Ray Tune."""
    jobs = [
        {
            "data": each.data.name,
            "root": root,
            "decoder": each.decoder,
            "k": each.k,
            "batch_norm": each.batch_norm,
            "warmup": each.warmup,
            "n_z": each.n_z,
            "seed": each.seed,
            "epochs": each.training.epochs,
            "images": each.measure.images,
            "nll_samples": each.measure.nll_samples,
        }
        for each in trials
    ]
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.json"
        job.write_text(json.dumps(jobs))
        begun = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.tune_peer", kind, str(job)],
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
        )
        wall = time.perf_counter() - begun
    told = json.loads(done.stdout.strip().splitlines()[-1])
    if told["failed"]:
        raise RuntimeError(f"{told['failed']} trials of the peer failed; run benchmarks.tune_peer alone to see why")
    return Taken(wall - told["run"], told["run"], told["trials"])


def slice_of(grid: Grid, root: str | None) -> tuple[list[Settings], int]:
    """Return one trial per cell that differs in cost (first warm-up and seed), in a fixed random order, and all trials."""
    settings = [trial.settings for trial in trials_of(grid, known(grid.base.data).fingerprint)]
    kept = {name: grid.factors[name][0] for name in ("seed", "warmup")}
    chosen = [each for each in settings if all(getattr(each, name) == level for name, level in kept.items())]
    # The peers know no other objective: a cell that differs in the objective alone costs what the one beside it does.
    chosen = list({(each.decoder, each.k, each.batch_norm, each.n_z): each for each in reversed(chosen)}.values())[::-1]
    order = sorted(range(len(chosen)), key=lambda i: (i * 7) % len(chosen) if len(chosen) % 7 else i)
    return [chosen[i] for i in order], len(settings)


def compare(title: str, path: Path, sets: Sequence[str], root: str | None, rounds: int) -> list[list[object]]:
    """Measure the rows of one study: this project, and the peers on a slice."""
    grid = read_grid(path, sets)
    chosen, n = slice_of(grid, root)
    rows: list[list[object]] = []
    walls = []
    peers: dict[str, list[Taken]] = {"default": [], "tuned": []}
    for _ in range(rounds):
        walls.append(run_study(path, [*sets, *([f"data.root={root}"] if root else [])], "ray"))
        for kind, taken in peers.items():
            taken.append(run_peer(kind, chosen, root))
    ours = sorted(walls)[len(walls) // 2]
    rows.append([title, "this project", n, n, "", f"{ours / n:.2f}", f"{ours:.0f}", "1"])
    for kind, taken in peers.items():
        one = sorted(taken, key=lambda each: each.whole(n))[len(taken) // 2]
        whole = one.whole(n)
        name = f"Ray Tune, {'defaults' if kind == 'default' else 'tuned'}"
        ratios = sorted(each.whole(n) / wall for each, wall in zip(taken, walls, strict=True))
        spread = f"{whole / ours:.2f}" + (f" ({ratios[0]:.2f} to {ratios[-1]:.2f})" if rounds > 1 else "")
        rows.append([title, name, n, one.trials, f"{one.start:.1f}", f"{one.run / one.trials:.2f}", f"{whole:.0f}", spread])
    return rows


def main() -> None:
    """Run the studies and print the table."""
    words = parser("Wall time of whole studies against plain Ray Tune")
    words.add_argument("--only", choices=("digits", "mnist"))
    words.add_argument("--data-root", help="folder with MNIST/raw/*.gz; without it MNIST is left out")
    words.add_argument("--set", action="append", default=[], help="override a setting of the quick start, to try the script")
    words.add_argument("--rounds", type=int, default=1)
    asked = words.parse_args()
    rows: list[list[object]] = []
    if asked.only != "mnist":
        rows += compare("quick start (grid.yaml)", Path("grid.yaml"), asked.set, None, asked.rounds)
    if asked.only != "digits" and asked.data_root:
        folder = Path(tempfile.mkdtemp())
        try:
            (folder / "mnist.yaml").write_text(MNIST)
            root = str(Path(asked.data_root).absolute())
            rows += compare("MNIST, 16 trials, 2 epochs", folder / "mnist.yaml", [], root, asked.rounds)
        finally:
            shutil.rmtree(folder)
    header = ["study", "by", "trials", "of them run", "start, s", "s per trial", "whole, s", "times this project's"]
    notes = [
        "This project: wall time of `python -m study.run` on the whole study, from call to exit; it stores every "
        "vector of every "
        "epoch, weights and checkpoints, and measures ablations and mutual information, which the peers leave out.",
        "Ray Tune: one trial per Tune trial, torch.nn and fused Adam as in benchmarks/eager.py, bound and active "
        "units measured "
        "and reported every epoch, nll at the end. Defaults: DataLoader, default loggers. Tuned: reuse_actors, no "
        "loggers, data "
        "in memory, no DataLoader.",
        "The peers ran one trial of each cell that differs in cost (first warm-up, first seed); `whole` is their start plus "
        "seconds per trial (over all slots) times all trials.",
        f"{asked.rounds} round(s), alternating; the middle one is shown"
        + (", ratios with their range." if asked.rounds > 1 else "."),
    ]
    publish(page("Quick start", "How long does a whole study take, against plain Ray Tune?", header, rows, notes), asked.out)


if __name__ == "__main__":
    main()
