"""The whole command on tiny real studies, in this process: the same words start, resume, extend, or do nothing."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import workers.train.attempts
from tests.study.drive.tiny_study import command, exactly_once, rows, trial_ids, trials
from tests.study.small_study import files_in
from workers.contract.job import Job
from workers.train.loop import Outcome, Progress

pytestmark = pytest.mark.usefixtures("beside_a_tiny_grid")


@pytest.fixture
def ran(monkeypatch) -> list[Job]:
    """The jobs that were run, one entry an attempt."""
    jobs: list[Job] = []
    original = workers.train.attempts.run_job

    def spy(job: Job, report: Callable[[Progress], None]) -> Outcome:
        jobs.append(job)
        return original(job, report)

    monkeypatch.setattr(workers.train.attempts, "run_job", spy)
    return jobs


def test_a_study_runs_to_its_end_and_again_does_nothing(capsys, ran):
    assert command() == 0
    first = capsys.readouterr()
    assert first.out.startswith("study tiny on this machine, 2 cores\n")
    assert "0 trials done, 4 to do in 2 packs; 4 trials are new" in first.out
    assert "4 of 4 trials completed" in first.out
    assert 'pandas.read_parquet("results/tiny/epochs")' in first.out
    assert first.err == ""
    exactly_once(trial_ids(), epochs=2)
    assert sorted(trials()["trial_id"]) == sorted(trial_ids())
    assert set(trials()["status"]) == {"completed"}
    assert len(list(Path("results/tiny/weights").iterdir())) == 4

    before, attempts = files_in(Path("results")), len(ran)
    assert command() == 0
    again = capsys.readouterr()
    assert "nothing to do: all 4 trials are done" in again.out
    assert again.err == ""
    assert len(ran) == attempts
    assert files_in(Path("results")) == before, "same files, same bytes, not written again"


@pytest.mark.parametrize(
    ("option", "new"),
    [("k=[1, 2, 3]", 2), ("seed=[0, 1, 2]", 2)],
    ids=["level", "seed"],
)
def test_more_levels_run_alone(capsys, ran, option, new):
    assert command() == 0
    before = files_in(Path("results"))
    ran.clear()
    assert command("--set", option) == 0
    assert f"4 trials done, {new} to do" in capsys.readouterr().out
    fresh = set(trial_ids(option)) - set(trial_ids())
    assert {trial.trial_id for job in ran for trial in job.pack.trials} == fresh
    assert len(fresh) == new
    after = files_in(Path("results"))
    assert {name: after[name] for name in before} == before
    exactly_once(trial_ids(option), epochs=2)
    assert command() == 0, "the smaller grid is done, too"
    assert len(ran) == len({job.pack.pack_id for job in ran})


def test_more_epochs_go_on_where_the_study_ended(capsys):
    assert command() == 0
    before = files_in(Path("results"))
    assert command("--set", "training.epochs=4") == 0
    assert "0 trials done, 4 to do in 2 packs" in capsys.readouterr().out
    after = files_in(Path("results"))
    assert {name: after[name] for name in before} == before
    exactly_once(trial_ids(), epochs=4)
    assert command("--set", "training.epochs=4", "--out", "at-once") == 0
    pd.testing.assert_frame_equal(*(rows(out).drop(columns="seconds") for out in ("results", "at-once")))


def test_a_part_goes_on_alone_and_the_rest_follows():
    """Trials of one pack that are made longer at different times: every epoch once, and as if they had never parted."""
    assert command() == 0
    assert command("--set", "training.epochs=4", "--only", "seed=1") == 0
    assert rows().groupby("seed")["epoch"].max().to_dict() == {0: 2, 1: 4}
    assert command("--set", "training.epochs=4") == 0
    exactly_once(trial_ids(), epochs=4)
    assert command("--set", "training.epochs=4", "--out", "at-once") == 0
    together, apart = (rows(out).drop(columns="seconds") for out in ("at-once", "results"))
    pd.testing.assert_frame_equal(together, apart, rtol=1e-3)


def test_a_part_of_the_trials(capsys):
    wanted = trial_ids()[2]
    assert command("--only", wanted) == 0
    exactly_once([wanted], epochs=2)
    assert command("--only", "k=2", "--only", "seed=0", "--only", "seed=1") == 0
    assert "1 trial done, 1 to do" in capsys.readouterr().out
    assert command() == 0
    exactly_once(trial_ids(), epochs=2)


def test_smoke_is_a_study_of_its_own():
    assert command("--smoke", "--set", "training.epochs=50") == 0
    assert [path.name for path in Path("results").iterdir()] == ["tiny-smoke"]
    smoked = pd.read_parquet("results/tiny-smoke/trials")
    assert sorted(zip(smoked["k"], smoked["seed"], smoked["epochs"], strict=True)) == [(1, 0, 2), (2, 0, 2)]


def test_the_function_for_notebooks(capsys):
    from study import run

    assert callable(run)
    assert run("tiny.yaml", only=["k=1", "seed=0"], executor="inline") == 0
    assert run(Path("tiny.yaml"), sets=["k=1", "seed=0"], executor="inline") == 0
    assert "nothing to do: the trial is done" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"--set k=0: factors.k: got 0; allowed: a whole number from 1"):
        run("tiny.yaml", sets=["k=0"], executor="inline")
