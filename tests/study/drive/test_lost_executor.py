"""What the driver does when the executor itself is lost: it starts the round again, but not for ever."""

from pathlib import Path

import pandas as pd
import pytest

from study.commands.run import main
from study.drive import executors
from study.drive.executors.executor import ExecutorLostError, Listener, Resources
from study.drive.executors.inline import Inline
from tests.study.small_study import use_machine
from workers.contract.job import Job

TINY = """
study: tiny
data: {n_valid: 1337}
factors: {k: [1, 2], seed: [0, 1]}
model: {hidden: [8], activation: relu}
training: {epochs: 2, batch_size: 50}
measure: {images: 100, nll_samples: 5, secondary_samples: 3}
run: {device: cpu, commit_every: 1, max_failures: 2}
"""


class Lost(Inline):
    """Is lost in its first rounds, each time behind so many packs."""

    def __init__(self, rounds: int, packs: int) -> None:
        self.rounds, self.packs, self.begun = rounds, packs, 0

    def run(self, jobs: list[Job], resources: Resources, listener: Listener) -> None:
        self.begun += 1
        is_lost = self.begun <= self.rounds
        super().run(jobs[: self.packs] if is_lost else jobs, resources, listener)
        if is_lost:
            raise ExecutorLostError("its machinery died")


def command(monkeypatch: pytest.MonkeyPatch, executor: Lost) -> int:
    monkeypatch.setattr(executors, "EXECUTORS", {"inline": executors.Entry(lambda: executor, "")})
    use_machine(monkeypatch)
    Path("tiny.yaml").write_text(TINY)
    return main(["tiny.yaml", "--executor", "inline"])


@pytest.mark.parametrize(("rounds", "packs"), [(1, 0), (2, 0), (1, 1)])
def test_what_had_not_ended_is_run_again(in_an_empty_folder, monkeypatch, capsys, rounds, packs):
    executor = Lost(rounds, packs)
    assert command(monkeypatch, executor) == 0
    assert executor.begun == rounds + 1
    said = capsys.readouterr().out
    assert said.count("its machinery died; it is started again, and every pack continues from its last border") == rounds
    assert "4 of 4 trials completed" in said
    rows = pd.read_parquet("results/tiny/epochs")
    assert len(rows) == 4 * 3
    assert not rows.duplicated(["trial_id", "epoch"]).any()


def test_one_that_is_lost_again_and_again_without_a_border_ends_the_command(in_an_empty_folder, monkeypatch, capsys):
    executor = Lost(rounds=99, packs=0)
    assert command(monkeypatch, executor) == 1
    assert executor.begun == 1 + 2, "max_failures: 2"
    assert "missing: 4; run the same command again to continue with them" in capsys.readouterr().out
