"""A study whose packs were split and whose trials failed and were tried again: every reader still understands it."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import workers.train.attempts
from analysis import average, load
from study.commands.main import main
from study.plan.machine import Machine
from tests.study.small_study import use_machine
from workers.contract.errors import PackClosedError
from workers.contract.job import Job
from workers.train.learner import Learner
from workers.train.loop import Outcome, Progress

GRID = """
study: tiny
data: {n_valid: 1337}
factors: {k: [1, 2], seed: [0, 1, 2]}
model: {hidden: [8], activation: relu}
training: {epochs: 3, batch_size: 50}
measure: {images: 100, nll_samples: 5}
run: {device: cpu, commit_every: 1, max_failures: 0}
"""


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    use_machine(monkeypatch, Machine("cpu", 1))
    Path("tiny.yaml").write_text(GRID)


def run(*words: str) -> int:
    return main(["run", "tiny.yaml", "--executor", "inline", *words])


@pytest.fixture
def failed(monkeypatch) -> Path:
    """Trial (k 2, seed 1) has failed in epoch 2."""
    healthy, original = Learner.train_epoch, workers.train.attempts.run_job
    with monkeypatch.context() as broken:

        def run_job(job: Job, report: Callable[[Progress], None]) -> Outcome:
            is_bad = any((t.settings.k, t.settings.seed) == (2, 1) for t in job.pack.trials)

            def train_epoch(self: Learner, epoch: int):
                if is_bad and epoch == 2:
                    raise ValueError("planted")
                return healthy(self, epoch)

            broken.setattr(Learner, "train_epoch", train_epoch)
            return original(job, report)

        broken.setattr(workers.train.attempts, "run_job", run_job)
        assert run() == 1
    return Path("results/tiny")


def test_a_failed_trial_is_named_wherever_means_are_taken(capsys, failed):
    found = load(failed)
    assert found.trials["status"].value_counts().to_dict() == {"completed": 5, "failed": 1}
    (row,) = found.missing.to_dict("records")
    assert (row["seed"], row["status"], row["reason"]) == (1, "failed", "failed after epoch 1")
    table = average(found, "nll", by=["k"])
    assert table.set_index("k")["n"].to_dict() == {1: 3, 2: 2}
    assert "failed after epoch 1" in str(table.set_index("k").loc[2, "missing"])
    capsys.readouterr()
    assert main(["status", "tiny"]) == 0
    assert "1 failed" in capsys.readouterr().out
    assert main(["doctor", "tiny"]) == 0, capsys.readouterr().out
    assert main(["verify", "tiny", "--sample", "6"]) == 0, capsys.readouterr().out
    assert "bit-equal" in capsys.readouterr().out


def test_tried_again_and_done_it_is_like_any_other(capsys, failed):
    assert run("--retry-failed") == 0
    found = load(failed)
    assert set(found.trials["status"]) == {"completed"}
    assert len(found.missing) == 0
    assert not pd.read_parquet(failed / "epochs").duplicated(["trial_id", "epoch"]).any()
    capsys.readouterr()
    assert main(["doctor", "tiny"]) == 0, capsys.readouterr().out
    assert main(["verify", "tiny", "--sample", "6"]) == 0, capsys.readouterr().out
    assert main(["export", "tiny"]) == 0
    # Longer, it goes on as the others do.
    assert run("--set", "training.epochs=5") == 0
    assert set(load(failed).trials["last_epoch"]) == {5}


def test_a_pack_closed_by_another_driver_goes_on_split(monkeypatch, capsys):
    """A worker finds its pack closed without a mark, as where the folder of checkpoints was cleared by hand."""
    original, calls = workers.train.attempts.run_job, []

    def run_job(job: Job, report: Callable[[Progress], None]) -> Outcome:
        calls.append(job.pack.pack_id)
        if len(calls) == 1:
            raise PackClosedError(job.pack.pack_id)
        return original(job, report)

    monkeypatch.setattr(workers.train.attempts, "run_job", run_job)
    assert run() == 0
    assert "6 of 6 trials completed" in capsys.readouterr().out
    assert not pd.read_parquet("results/tiny/epochs").duplicated(["trial_id", "epoch"]).any()
