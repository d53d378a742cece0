"""A study whose folder goes while its driver or its workers sleep: whoever wakes ends with a sentence, and makes no folder."""

import os
import shutil
from pathlib import Path

import pytest

import workers.train.loop
from study.drive.executors.inline import Inline
from tests.study.drive.tiny_study import command, exactly_once, trial_ids
from workers.contract.failure import Failure
from workers.store.keys import EPOCHS_FOLDER, PLAN_FOLDER, TRIALS_FOLDER
from workers.train.commit import commit

pytestmark = pytest.mark.usefixtures("beside_a_tiny_grid")

FOLDER = Path("results/tiny")


def another() -> None:
    """The same grid with another end, run by somebody else while the first driver sleeps."""
    os.rename(FOLDER, "away")
    assert command("--set", "measure.nll_samples=7", "--only", "k=1") == 0


GOES = {
    "removed": lambda: shutil.rmtree(FOLDER),
    "renamed": lambda: os.rename(FOLDER, "away"),
    "removed, and another study of its name begun": another,
}


@pytest.fixture(params=GOES.values(), ids=GOES)
def goes(request):
    return request.param


def files() -> list[str]:
    return sorted(str(path) for path in FOLDER.rglob("*"))


def once(monkeypatch, place: object, name: str, goes) -> list[list[str]]:
    """Let the folder go the first time that a function is called; returns what is there afterwards."""
    original, left = getattr(place, name), []

    def call(*args: object, **options: object) -> object:
        if not left:
            monkeypatch.setattr(place, name, original)
            goes()
            left.append(files())
        return original(*args, **options)

    monkeypatch.setattr(place, name, call)
    return left


def ended_in_a_sentence(capsys, code: int) -> None:
    said = capsys.readouterr()
    assert code == 2
    assert "results/tiny: the study's folder is gone: it was removed, renamed or replaced while this was running" in said.err
    assert "Traceback" not in said.err + said.out


def test_a_worker_that_slept_before_a_commit_stores_nothing(capsys, monkeypatch, goes):
    left = once(monkeypatch, workers.train.loop, "commit", goes)
    assert commit is not workers.train.loop.commit
    ended_in_a_sentence(capsys, command())
    assert left == [files()]


def test_a_driver_that_slept_between_plan_and_packs_starts_nothing(capsys, monkeypatch, goes):
    left = once(monkeypatch, Inline, "run", goes)
    ended_in_a_sentence(capsys, command())
    assert left == [files()]


def test_a_driver_that_slept_at_its_end_does_not_say_that_all_is_done(capsys, monkeypatch, goes):
    import study.drive.driver

    left = once(monkeypatch, study.drive.driver, "ending_of", goes)
    ended_in_a_sentence(capsys, command())
    assert left == [files()]


def test_a_new_worker_does_not_take_another_study_for_its_own(capsys, monkeypatch):
    """Its process never saw the folder that is gone; the plan that is there is not the one that its job was made for."""
    said: list[Failure] = []

    def run(self, jobs, resources, listener) -> None:
        from workers.train.attempts import run_attempts

        another()
        before = files()
        for job in jobs:
            said.append(run_attempts(job, lambda progress: None, lambda failure: said.append(failure)))
        assert files() == before

    with monkeypatch.context() as patch:
        original = Inline.run
        patch.setattr(Inline, "run", lambda *args: (patch.setattr(Inline, "run", original), run(*args))[1])
        assert command() == 2
    assert [failure.kind for failure in said] == ["gone", "gone"]


def test_without_a_plan_nothing_is_trained(monkeypatch):
    ended: list[object] = []

    def run(self, jobs, resources, listener) -> None:
        from workers.train.attempts import run_attempts

        shutil.rmtree(FOLDER)
        ended.extend(run_attempts(job, lambda progress: None, lambda failure: None) for job in jobs)

    monkeypatch.setattr(Inline, "run", run)
    assert command() == 2
    assert {failure.kind for failure in ended} == {"store"}
    assert not FOLDER.exists()


def test_undisturbed_the_same_command_ends_well():
    """The negative control."""
    assert command() == 0
    exactly_once(trial_ids(), epochs=2)
    assert all((FOLDER / name).is_dir() for name in (PLAN_FOLDER, EPOCHS_FOLDER, TRIALS_FOLDER))
