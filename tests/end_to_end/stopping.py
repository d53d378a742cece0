"""Ask studies to stop in every way, with epochs of every length, and print what was lost and how long it took.

python -m tests.end_to_end.stopping --out DIR [--epoch 0 1 20] [--executor inline ray] [--way ctrl-c terminate-all]

What is lost is counted in epochs that the same command trains again afterwards. At the end every study has the rows of an
undisturbed one.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tests import ROOT

KEYS = ["trial_id", "epoch"]

GRID = """
study: stopping
factors: {{seed: [0, 1]}}
model: {{hidden: [8]}}
training: {{epochs: {epochs}}}
measure: {{images: 50, nll_samples: 20, secondary_samples: 10}}
run: {{packing: none}}
"""

SLOW = """
import os, sys, time
def slow():
    import workers.train.learner as learner
    inner = learner.Learner.train_epoch
    def train_epoch(self, epoch):
        found = inner(self, epoch)
        if epoch:
            time.sleep(float(os.environ["STOPPING_EPOCH_S"]))
        with open(os.environ["STOPPING_LOG"], "a") as file:
            file.write(f"{self.seeds.unique[0]} {epoch}\\n")
        return found
    learner.Learner.train_epoch = train_epoch

class Finder:
    def find_spec(self, name, path, target=None):
        if name == "workers.train.loop":
            sys.meta_path.remove(self)
            slow()
        return None

sys.meta_path.insert(0, Finder())
"""
"""Every process makes its epochs longer and notes them, once it knows how to train."""

WAYS = ("ctrl-c", "study stop", "terminate", "terminate all")
"""Ctrl-C goes to the whole group, as a terminal sends it; "terminate all" is what SLURM sends to every process of a job."""

GRACE_S = 30.0
"""SLURM kills what is left after so many seconds."""


@dataclass(frozen=True)
class Found:
    """What came of one request to stop."""

    epoch_s: float
    executor: str
    way: str
    exit_code: int
    has_closed: bool
    """Whether the driver printed a closing sentence."""
    exit_s: float
    """From the request to the end of the command."""
    lost_epochs: int
    """Most epochs that one trial trained twice."""
    lost_s: float
    is_equal: bool

    @property
    def is_kept(self) -> bool:
        """Whether the promise was kept: at most one epoch or 15 s, whichever is longer."""
        in_time = self.exit_s <= max(GRACE_S, 2 * self.epoch_s)
        is_small = self.lost_epochs <= 1 or self.lost_s <= 15
        return self.exit_code == 130 and self.has_closed and in_time and is_small and self.is_equal


def stop_once(folder: Path, epoch_s: float, epochs: int, executor: str, way: str, train_s: float) -> Found:
    """Run a study, ask it to stop after it has trained for a while, run it to its end, and compare."""
    folder.mkdir(parents=True)
    grid, log, first = folder / "grid.yaml", folder / "log", folder / "first"
    grid.write_text(GRID.format(epochs=epochs))
    first.mkdir()
    (first / "sitecustomize.py").write_text(SLOW)
    log.touch()
    environment = os.environ | {"PYTHONPATH": f"{first}:{ROOT}", "STOPPING_LOG": str(log)}
    command = [sys.executable, "-m", "study.run", str(grid), "--out", str(folder), "--executor", executor]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=environment | {"STOPPING_EPOCH_S": str(epoch_s)},
        start_new_session=True,
    )
    while not log.read_text():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    time.sleep(train_s)
    assert process.poll() is None, "ended before it was asked to stop: give it more epochs"
    started = time.monotonic()
    _ask(way, process.pid, folder, environment)
    try:
        said, _ = process.communicate(timeout=600)
    finally:
        process.kill()
    exit_s = time.monotonic() - started
    subprocess.run(
        command, check=True, capture_output=True, cwd=ROOT, env=environment | {"STOPPING_EPOCH_S": "0"}, timeout=3000
    )
    trained = Counter(line for line in log.read_text().splitlines())
    again = Counter(line.split()[0] for line, count in trained.items() if count > 1)
    lost = max(again.values(), default=0)
    # Two trials share a machine's cores, and an epoch takes at least what it really takes.
    stream = pd.read_parquet(folder / "stopping" / "epochs")
    seconds = max(epoch_s, float(stream["seconds"].median()))
    return Found(
        epoch_s=epoch_s,
        executor=executor,
        way=way,
        exit_code=process.returncode,
        has_closed="stopping: every running pack stores what it has" in said or way == "study stop",
        exit_s=exit_s,
        lost_epochs=lost,
        lost_s=lost * seconds,
        is_equal=_content(folder / "stopping").equals(_undisturbed(folder.parent, epochs)) and "completed; this run" in said,
    )


def _ask(way: str, pid: int, folder: Path, environment: dict[str, str]) -> None:
    if way == "ctrl-c":
        os.killpg(pid, signal.SIGINT)
    elif way == "study stop":
        words = [sys.executable, "-m", "study", "stop", str(folder / "stopping")]
        subprocess.run(words, check=True, capture_output=True, cwd=ROOT, env=environment | {"STOPPING_EPOCH_S": "0"})
    elif way == "terminate":
        os.kill(pid, signal.SIGTERM)
    else:
        for each in below(pid):
            try:
                os.kill(each, signal.SIGTERM)
            except ProcessLookupError:
                continue


def below(pid: int) -> list[int]:
    """The process and all its descendants."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = dict(map(int, line.split()) for line in listed.splitlines())
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found


def _content(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "epochs").drop(columns="seconds").sort_values(KEYS, ignore_index=True)


def _undisturbed(folder: Path, epochs: int) -> pd.DataFrame:
    out = folder / f"undisturbed-{epochs}"
    if not out.exists():
        out.mkdir()
        (out / "grid.yaml").write_text(GRID.format(epochs=epochs))
        words = [sys.executable, "-m", "study.run", str(out / "grid.yaml"), "--out", str(out), "--executor", "inline"]
        subprocess.run(words, check=True, capture_output=True, cwd=ROOT)
    return _content(out / "stopping")


def matrix(out: Path, lengths: Sequence[float], executors: Sequence[str], ways: Sequence[str]) -> list[Found]:
    """Try every combination, and print each as it comes."""
    found = []
    print(
        "| epoch, s | executor | way | exit code | seconds to exit | epochs lost | seconds lost | equal | kept |", flush=True
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for epoch_s in lengths:
        # Long enough that the study is not over when it is asked to stop, even on a fast machine.
        epochs = 100_000 if not epoch_s else max(6, round(120 / epoch_s))
        epochs = min(epochs, 3000)
        for executor in executors:
            for way in ways:
                name = f"{epoch_s:g}-{executor}-{way.replace(' ', '-')}"
                one = stop_once(out / name, epoch_s, epochs, executor, way, train_s=min(4.0, 1.5 * epoch_s + 1))
                found.append(one)
                print(
                    f"| {one.epoch_s:g} | {one.executor} | {one.way} | {one.exit_code} | {one.exit_s:.1f} | {one.lost_epochs} "
                    f"| {one.lost_s:.1f} | {one.is_equal} | {one.is_kept} |",
                    flush=True,
                )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--epoch", type=float, nargs="+", default=[0, 0.03, 1, 20], help="seconds that are added to an epoch"
    )
    parser.add_argument("--executor", nargs="+", default=["inline", "ray"])
    parser.add_argument("--way", nargs="+", default=WAYS, choices=WAYS)
    words = parser.parse_args()
    words.out.mkdir(parents=True, exist_ok=True)
    found = matrix(words.out, words.epoch, words.executor, words.way)
    return 0 if all(one.is_kept for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
