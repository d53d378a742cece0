"""Trials that diverge and packs that fail cost no other trial anything."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import workers.train.attempts
from study.plan.machine import Machine
from tests.study.drive.tiny_study import KEYS, Broken, command, exactly_once, rows, trial_ids, trials
from tests.study.small_study import contents_of, files_in, use_machine
from workers.contract.errors import ConflictError, DamagedDataError, DataError, RecordError
from workers.contract.job import Job
from workers.contract.trial import Pack
from workers.store.closing import closing_reasons, fence, mark_closed
from workers.store.keys import EPOCHS_FOLDER, TRIALS_FOLDER
from workers.store.open import open_store
from workers.store.plan_log import read_plan
from workers.train.learner import Learner
from workers.train.loop import Outcome, Progress

pytestmark = pytest.mark.usefixtures("beside_a_tiny_grid")


def test_a_diverged_trial_is_named_and_ends_nothing(capsys):
    rates = "factors.training.learning_rate=[0.001, 10]"
    options = ["--set", rates, "--set", "k=2", "--set", "data.n_valid=0"]
    assert command(*options) == 1
    said = capsys.readouterr().out
    ended = trials()
    fallen = ended[ended["status"] == "diverged"]
    assert set(ended["status"]) == {"completed", "diverged"}, "a rate of 10 diverges, one of 0.001 does not"
    assert set(fallen["trial_id"]) <= set(trial_ids("k=2", "factors.training.learning_rate=10", "data.n_valid=0"))
    assert fallen["nll"].isna().all()
    assert f"diverged: {len(fallen)}\n" in said
    for trial in fallen.itertuples():
        words = rf"decoder=bernoulli k=2 .*training.learning_rate=10.* \({trial.trial_id}\)"
        assert re.search(rf"diverged in epoch {trial.last_epoch + 1}, because a bound is not finite: {words}", said)
        assert re.search(rf"^  {words}$", said, re.MULTILINE), "the end names its cell"
        assert len(rows().query("trial_id == @trial.trial_id")) == trial.last_epoch + 1
    assert f"{4 - len(fallen)} of 4 trials completed" in said

    before = files_in(Path("results"))
    assert command(*options) == 1, "the same answer again"
    assert f"diverged: {len(fallen)}\n" in capsys.readouterr().out
    assert files_in(Path("results")) == before


def test_the_neighbours_of_a_diverged_trial_can_be_made_longer(monkeypatch):
    """Seed 1 diverges in its second epoch, in a pack with seed 0."""
    healthy = Learner.train_epoch

    def poisoned(self: Learner, epoch: int):
        objective, bound = healthy(self, epoch)
        assert bound.shape == (2,), "a pack of seeds 0 and 1"
        if epoch == 2:
            bound = bound.clone()
            bound[1] = float("nan")
        return objective, bound

    monkeypatch.setattr(Learner, "train_epoch", poisoned)
    assert command() == 1
    assert rows().groupby("seed")["epoch"].max().to_dict() == {0: 2, 1: 1}

    monkeypatch.setattr(Learner, "train_epoch", healthy)
    assert command("--set", "training.epochs=4") == 1
    assert rows().groupby("seed")["epoch"].max().to_dict() == {0: 4, 1: 1}
    assert not rows().duplicated(KEYS).any()
    before = files_in(Path("results"))
    assert command("--set", "training.epochs=4") == 1
    assert files_in(Path("results")) == before, "nothing is left to do"


def breaking(monkeypatch, how_often: int, k: int | None = None) -> list[str]:
    """Let the first attempts (of packs with this k) fail; returns the pack_id of every attempt."""
    attempts: list[str] = []
    original = workers.train.attempts.run_job

    def run_job(job: Job, report: Callable[[Progress], None]) -> Outcome:
        attempts.append(job.pack.pack_id)
        if attempts.count(job.pack.pack_id) <= how_often and k in (None, job.pack.trials[0].settings.k):
            raise Broken("the machine is on fire\nsecond line")
        return original(job, report)

    monkeypatch.setattr(workers.train.attempts, "run_job", run_job)
    return attempts


def test_a_failed_pack_is_tried_again(capsys, monkeypatch):
    attempts = breaking(monkeypatch, how_often=2)
    assert command() == 0
    assert len(attempts) == 2 * 3
    said = capsys.readouterr().out
    assert said.count("failed and continues from its last border: Broken: the machine is on fire") == 4
    exactly_once(trial_ids(), epochs=2)


def failing(monkeypatch, **wrong: object) -> list[str]:
    """Let every pack fail in epoch 1 that has a trial with these settings; returns the members' seeds of every attempt."""
    attempts: list[str] = []
    healthy = Learner.train_epoch
    original = workers.train.attempts.run_job

    def run_job(job: Job, report: Callable[[Progress], None]) -> Outcome:
        members = [{name: getattr(trial.settings, name) for name in wrong} for trial in job.pack.trials]
        attempts.append("".join(str(trial.settings.seed) for trial in job.pack.trials))

        def train_epoch(self: Learner, epoch: int):
            if epoch == 2 and wrong in members:
                raise Broken("the machine is on fire\nsecond line")
            return healthy(self, epoch)

        monkeypatch.setattr(Learner, "train_epoch", train_epoch)
        return original(job, report)

    monkeypatch.setattr(workers.train.attempts, "run_job", run_job)
    return attempts


FOUR = ("--set", "k=2", "--set", "seed=[0, 1, 2, 3]", "--set", "training.epochs=3")


def test_one_bad_trial_does_not_take_its_neighbours(capsys, monkeypatch):
    use_machine(monkeypatch, Machine("cpu", 1))
    attempts = failing(monkeypatch, seed=2)
    assert command(*FOUR) == 1
    # max_failures 2: each pack that holds it is tried three times.
    assert sorted(attempts) == sorted(["0123"] * 3 + ["01"] + ["23"] * 3 + ["2"] * 3 + ["3"])
    said = capsys.readouterr()
    (bad,) = trial_ids("k=2", "seed=[2]")
    assert "3 of 4 trials completed" in said.out
    assert "failed: 1; try them again with --retry-failed\n" in said.out
    assert re.search(rf"^  decoder=bernoulli k=2 .* seed=2 .*\({bad}\)$", said.out, re.MULTILINE), "its cell is named"
    assert "why: Broken: the machine is on fire\n" in said.out
    assert "Traceback" in said.err, "the whole story, for whoever repairs it"
    ended = trials().set_index("trial_id")
    assert ended["status"].value_counts().to_dict() == {"completed": 3, "failed": 1}
    assert (ended.loc[bad, "status"], ended.loc[bad, "last_epoch"]) == ("failed", 1)
    expected = [(i, e) for i in trial_ids("k=2", "seed=[0, 1, 2, 3]") for e in range(4) if i != bad or e < 2]
    assert rows()[KEYS].to_records(index=False).tolist() == sorted(expected)

    # Not tried again unasked; asked for, and mended, it goes on from its last border.
    attempts.clear()
    before = files_in(Path("results"))
    assert command(*FOUR) == 1
    assert (attempts, files_in(Path("results"))) == ([], before)
    assert "failed: 1; try them again" in capsys.readouterr().out
    assert command(*FOUR, "--retry-failed") == 1
    assert attempts == ["2"] * 3, "asked for and not mended, it fails once more"


def test_asked_for_again_and_mended_a_failed_trial_goes_on(capsys, monkeypatch, tmp_path):
    with monkeypatch.context() as broken:
        failing(broken, seed=1)
        assert command("--set", "training.epochs=3") == 1
        failed = trials().query("status == 'failed'")
        assert set(failed["seed"]) == {1}
        assert len(failed) == 2
    assert command("--set", "training.epochs=3", "--retry-failed", "--only", "k=1") == 0
    assert command("--set", "training.epochs=3") == 1, "k = 2 was not asked for"
    assert command("--set", "training.epochs=3", "--retry-failed") == 0
    exactly_once(trial_ids(), epochs=3)
    assert command("--set", "training.epochs=3") == 0
    assert "nothing to do" in capsys.readouterr().out


def test_out_of_memory_splits_at_once(capsys, monkeypatch):
    use_machine(monkeypatch, Machine("cpu", 1))
    original, sizes = workers.train.attempts.run_job, []

    def run_job(job: Job, report: Callable[[Progress], None]) -> Outcome:
        sizes.append(len(job.pack.trials))
        if sizes[-1] > 1:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        return original(job, report)

    monkeypatch.setattr(workers.train.attempts, "run_job", run_job)
    assert command(*FOUR) == 0
    assert sorted(sizes) == [1, 1, 1, 1, 2, 2, 4], "nothing is tried twice that cannot fit"
    assert "out of memory" in capsys.readouterr().out
    exactly_once(trial_ids("k=2", "seed=[0, 1, 2, 3]"), epochs=3)


@pytest.mark.parametrize(
    ("error", "sentence", "code"),
    [
        (OSError(28, "No space left on device"), "the disk of the results is full", 1),
        (OSError(5, "Input/output error"), "the results cannot be read or written", 1),
        (DataError("data: mnist is not in there; copy it"), "data: mnist is not in there; copy it", 1),
        (DamagedDataError("data: mnist does not have the published content"), "does not have the published content", 3),
        (RecordError("epochs/x", "damaged: x", "restore it"), "epochs/x: damaged: x; restore it", 3),
        (ConflictError("epochs/x"), "contains other numbers", 4),
    ],
    ids=["full", "io", "data", "damaged data", "damaged", "conflict"],
)
def test_what_is_no_fault_of_a_trial_fails_none(capsys, monkeypatch, error, sentence, code):
    with monkeypatch.context() as broken:

        def run_job(job: Job, report: Callable[[Progress], None]) -> Outcome:
            raise error

        broken.setattr(workers.train.attempts, "run_job", run_job)
        assert command() == code
    said = capsys.readouterr()
    assert f"why: {sentence}" in said.out or re.search(f"why: .*{re.escape(sentence)}", said.out)
    assert "Traceback" not in said.out + said.err
    assert "missing: 4; run the same command again to continue with them" in said.out
    assert open_store("results/tiny").list(TRIALS_FOLDER) == []
    assert command() == 0, "mended, the same command goes on"
    exactly_once(trial_ids(), epochs=2)


def test_a_crash_between_fence_and_plan_is_made_good(monkeypatch):
    """Killed after any step of closing, the next command closes what was marked and splits it."""
    use_machine(monkeypatch, Machine("cpu", 1))
    (pack,) = planned(FOUR).values()
    store = open_store("results/tiny")
    mark_closed(store, pack.pack_id, "error", "x")
    assert command(*FOUR, "--plan") == 0, "a plan alone closes nothing"
    assert store.list(EPOCHS_FOLDER) == []
    fence(store, pack)
    assert command(*FOUR) == 0
    exactly_once(trial_ids("k=2", "seed=[0, 1, 2, 3]"), epochs=3)
    packs = read_plan(store).live_packs()
    assert sorted(len(pack.trials) for pack in packs) == [2, 2]
    assert {pack.parent for pack in packs} == set(closing_reasons(store))


def planned(words: tuple[str, ...]) -> dict[str, Pack]:
    """The packs of a study that was planned, and killed before anything ran."""

    class KilledError(BaseException):
        pass

    with pytest.MonkeyPatch.context() as patch:

        def run_job(*_: object) -> Outcome:
            raise KilledError

        patch.setattr(workers.train.attempts, "run_job", run_job)
        with pytest.raises(KilledError):
            command(*words)
    return dict(read_plan(open_store("results/tiny")).packs)


def test_a_worker_that_dies_between_borders_loses_no_more_than_one(monkeypatch):
    """It fails in epoch 2 of 4, behind the border of epoch 1: the next attempt begins there, and the content is the same."""
    original, begun = workers.train.attempts.run_job, []

    def run_job(job: Job, report: Callable[[Progress], None]) -> Outcome:
        attempt: list[int] = []
        begun.append(attempt)

        def tell(progress: Progress) -> None:
            attempt.append(progress.epoch)
            if progress.epoch == 2 and progress.committed == 1 and len(begun) == 1:
                raise Broken
            report(progress)

        return original(job, tell)

    monkeypatch.setattr(workers.train.attempts, "run_job", run_job)
    assert command("--set", "training.epochs=4") == 0
    assert begun[0][-1] == 2
    assert begun[1][0] == 2
    monkeypatch.setattr(workers.train.attempts, "run_job", original)
    assert command("--set", "training.epochs=4", "--out", "undisturbed") == 0
    assert contents_of(Path("results/tiny")) == contents_of(Path("undisturbed/tiny"))
