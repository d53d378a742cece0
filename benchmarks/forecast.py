"""Measures how well a run's time and space are forecast, on grids and data that were not used for calibration.

python -m benchmarks.forecast [--only quickstart|mnist|large] [--data-root FOLDER] [--out benchmarks/forecast.md]
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.table import page, parser, publish
from study.forecast.rates import find_rates

MNIST = """\
study: few
data: {name: mnist, n_valid: 50000}
factors: {decoder: [bernoulli, gaussian], k: [1, 8], batch_norm: [false, true], n_z: [5, 30], seed: [0, 1, 2]}
training: {epochs: 4}
measure: {images: 2000, nll_samples: 2, secondary_samples: 2}
run: {device: cpu}
"""

LARGE = """\
study: large
data: {name: digits}
factors: {k: [3, 10], n_z: [20], batch_norm: [false, true], seed: [0, 1, 2, 3, 4]}
model: {hidden: [400, 300], activation: tanh}
training: {epochs: 40, batch_size: 50}
measure: {nll_samples: 500, secondary_samples: 20}
run: {device: cpu}
"""
"""A grid with widths, batches, activations and samples that a calibration does not time."""

GRIDS: Mapping[str, str] = {
    "quickstart": (Path(__file__).parents[1] / "grid.yaml").read_text(),
    "mnist": MNIST,
    "large": LARGE,
}


def compare(text: str, root: str | None, executor: str = "ray") -> list[str]:
    """Run one study; return the forecast seconds, those of its packs and of the whole command, and the bytes."""
    with tempfile.TemporaryDirectory() as folder:
        grid = Path(folder) / "grid.yaml"
        grid.write_text(text)
        command = [sys.executable, "-m", "study.run", str(grid), "--out", folder, "--executor", executor]
        command += ["--set", "run.device=cpu"]
        command += ["--set", f"data.root={root}"] if root else []
        begun = time.perf_counter()
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        wall = time.perf_counter() - begun
        stored = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    found = re.search(r"^predicted (.+), took (.+) \((.+)\)$", said, re.M)
    foreseen = re.search(r"^forecast: (.+), (.+) core-hours, (.+) more on disk$", said, re.M)
    if not found or not foreseen:
        raise RuntimeError(f"the study printed no forecast of its cost:\n{said}")
    trials = re.search(r"(\d+) of \d+ trials completed", said)
    return [trials[1] if trials else "", *found.groups(), f"{wall:.0f}", foreseen[3], f"{stored / 1e6:.1f} MB"]


def main() -> None:
    """Calibrate in a separate cache, run each grid and print the table."""
    words = parser("How well time and space are foreseen")
    words.add_argument("--only", choices=sorted(GRIDS), action="append", help="one of the grids; may be repeated")
    words.add_argument("--data-root", help="folder with the files of MNIST; without it they are downloaded once")
    words.add_argument("--rounds", type=int, default=1)
    asked = words.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        begun = time.perf_counter()
        calibrating = [sys.executable, "-m", "study.run", "grid.yaml", "--calibrate", "--set", "run.device=cpu"]
        subprocess.run(calibrating, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - begun
        rates = find_rates("cpu", "auto")
        rows = [
            [name, *compare(GRIDS[name], asked.data_root if name == "mnist" else None)]
            for _ in range(asked.rounds)
            for name in asked.only or GRIDS
        ]
    header = ["grid", "trials", "predicted", "took", "off by", "whole command, s", "disk predicted", "disk taken"]
    notes = [
        f"Calibrated first: {seconds:.0f} s for the whole command, on random images of 64 and 784 pixels; "
        f"beside each other packs were {rates.crowd:.2f} times as slow as alone.",
        "`quickstart` is grid.yaml. `mnist`: 10,000 of MNIST's images, K 1 and 8, n_z 5 and 30, both decoders, with and "
        "without batch norm, 4 epochs. `large`: digits, hidden layers of 400 and 300, tanh, batches of 50, K 3 and 10, "
        "500 samples of nll.",
        "predicted and took are the command's own last words: from the start of Ray to the end of the last pack.",
    ]
    publish(page("Forecast", "Does a run take what --plan says?", header, rows, notes), asked.out)


if __name__ == "__main__":
    main()
