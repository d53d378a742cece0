"""A grid that trains in seconds, the command on it, and what it stored."""

import pandas as pd

from study.commands.run import main
from study.grid.grid import read_grid
from tests.study.small_study import trials_in

TINY = """
study: tiny
data: {n_valid: 1337}  # a hundred images to train on
factors: {k: [1, 2], seed: [0, 1]}
model: {hidden: [8], activation: relu}
training: {epochs: 2, batch_size: 50}
measure: {images: 100, nll_samples: 5}
run: {device: cpu, commit_every: 1, max_failures: 2}
"""

KEYS = ["trial_id", "epoch"]


def command(*words: str) -> int:
    return main(["tiny.yaml", "--executor", "inline", *words])


def rows(out: str = "results") -> pd.DataFrame:
    return pd.read_parquet(f"{out}/tiny/epochs").sort_values(KEYS, ignore_index=True)


def trials(out: str = "results") -> pd.DataFrame:
    return pd.read_parquet(f"{out}/tiny/trials")


def trial_ids(*sets: str) -> list[str]:
    return [trial.trial_id for trial in trials_in(read_grid("tiny.yaml", sets))]


def exactly_once(ids: list[str], epochs: int, out: str = "results") -> None:
    expected = pd.DataFrame([(i, e) for i in sorted(ids) for e in range(epochs + 1)], columns=KEYS)
    pd.testing.assert_frame_equal(rows(out)[KEYS], expected, check_dtype=False)


class Broken(Exception):
    """What a worker may die of."""
