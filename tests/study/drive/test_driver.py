"""The whole command on tiny real studies, in this process: the same words start, resume, extend, or do nothing."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

import study.commands.run
import study.pipeline
import workers.train.attempts
from study.commands.run import main
from study.grid.grid import read_grid
from study.plan.machine import Machine
from tests.study.small_study import contents_of, files_in, trials_in, use_machine
from workers.contract.errors import ConflictError, DamagedDataError, DataError, RecordError
from workers.contract.job import Job
from workers.contract.trial import Pack
from workers.store.closing import closing_reasons, fence, mark_closed
from workers.store.keys import CHECKPOINTS_FOLDER, EPOCHS_FOLDER, PLAN_FOLDER, TRIALS_FOLDER
from workers.store.open import open_store
from workers.store.parquet import decode, encode, read_footer
from workers.store.plan_log import read_plan
from workers.train.learner import Learner
from workers.train.loop import Outcome, Progress

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


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    """Two slots everywhere, so that packs have the same members on every machine: a pack for each k."""
    monkeypatch.chdir(tmp_path)
    use_machine(monkeypatch)
    Path("tiny.yaml").write_text(TINY)
    yield
    # A worker sets it for its process; Hypothesis, which runs in this one later, draws no floats then.
    torch.set_flush_denormal(False)


def command(*words: str) -> int:
    return main(["tiny.yaml", "--executor", "inline", *words])


def rows(out: str = "results") -> pd.DataFrame:
    return pd.read_parquet(f"{out}/tiny/epochs").sort_values(KEYS, ignore_index=True)


def trials(out: str = "results") -> pd.DataFrame:
    return pd.read_parquet(f"{out}/tiny/trials")


def trial_ids(*sets: str) -> list[str]:
    return [trial.trial_id for trial in trials_in(read_grid("tiny.yaml", sets))]


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


def exactly_once(ids: list[str], epochs: int, out: str = "results") -> None:
    expected = pd.DataFrame([(i, e) for i in sorted(ids) for e in range(epochs + 1)], columns=KEYS)
    pd.testing.assert_frame_equal(rows(out)[KEYS], expected, check_dtype=False)


# ---- Start, again, extend ----


def test_a_study_runs_to_its_end_and_again_does_nothing(capsys, ran):
    assert command() == 0
    first = capsys.readouterr()
    assert first.out.startswith("study tiny on this machine, 2 cores\n")
    assert "0 trials done, 4 to do in 2 packs, 4 of them new" in first.out
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
    assert "1 trials done, 1 to do" in capsys.readouterr().out
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
    assert "nothing to do: all 1 trials are done" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"--set k=0: factors.k: got 0; allowed: a whole number from 1"):
        run("tiny.yaml", sets=["k=0"], executor="inline")


# ---- Trials that diverge, packs that fail ----


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
        assert re.search(rf"diverged in epoch {trial.last_epoch + 1}, as a bound is not finite: {words}", said)
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


class Broken(Exception):
    """What a worker may die of."""


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
    assert said.count("failed and goes on from its last border: Broken: the machine is on fire") == 4
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
        (DamagedDataError("data: mnist does not have the content it should have"), "does not have the content", 3),
        (RecordError("epochs/x", "damaged: x", "restore it"), "epochs/x: damaged: x; restore it", 3),
        (ConflictError("epochs/x"), "holds other numbers", 4),
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
    assert "missing: 4; the same command goes on with them" in said.out
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


# ---- Ctrl-C ----


def pressing(monkeypatch, times: int) -> None:
    """Ctrl-C in the first epoch of the first pack."""
    original, pressed = workers.train.attempts.run_job, []

    def run_job(job: Job, report: Callable[[Progress], None]) -> Outcome:
        def tell(progress: Progress) -> None:
            report(progress)
            while progress.epoch == 1 and len(pressed) < times:
                pressed.append(1)
                os.kill(os.getpid(), signal.SIGINT)

        return original(job, tell)

    monkeypatch.setattr(workers.train.attempts, "run_job", run_job)


@pytest.mark.parametrize(("times", "kept"), [(1, 3), (2, 0)], ids=["once", "twice"])
def test_after_ctrl_c_the_same_command_goes_on(capsys, monkeypatch, times, kept):
    words = ["--set", "training.epochs=6", "--set", "run.commit_every=3"]
    pressing(monkeypatch, times)
    before = signal.getsignal(signal.SIGINT)
    assert command(*words) == 130
    assert signal.getsignal(signal.SIGINT) is before
    said = capsys.readouterr()
    assert (
        "stopping at the next border of every running pack; Ctrl-C again stops at once; the same command goes on" in said.out
    )
    assert "Traceback" not in said.out + said.err
    store = open_store("results/tiny")
    assert not [key for key in store.list(CHECKPOINTS_FOLDER) if "stop" in key]
    # Once: the running pack gets to its border, the other does not begin. Twice: at once.
    assert [key[-13:-8] for key in store.list(EPOCHS_FOLDER)] == (["00003"] if kept else [])
    assert store.list(TRIALS_FOLDER) == []

    monkeypatch.setattr(workers.train.attempts, "run_job", workers.train.attempts.run_job)
    assert command(*words) == 0
    exactly_once(trial_ids(), epochs=6)
    assert command(*words, "--out", "undisturbed") == 0
    assert contents_of(Path("results/tiny")) == contents_of(Path("undisturbed/tiny"))


def test_ctrl_c_on_the_running_program():
    """The real thing: another process, whose SIGINT comes from outside; it does not import Ray."""
    options = "--executor inline --only k=1 --only seed=0 --set training.epochs=120 --set run.commit_every=10"
    words = ["tiny.yaml", *options.split()]
    program = (
        "import sys; from study.commands.run import main; code = main(); print('Ray:', 'ray' in sys.modules); sys.exit(code)"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", program, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    epochs = Path("results/tiny/epochs")
    until = time.monotonic() + 60
    while not (epochs.is_dir() and any(epochs.glob("*.parquet"))) and running.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, out + err
    assert "stopping at the next border" in out
    assert "Ray: False" in out
    assert err == ""
    assert 0 < len(rows()) < 121

    assert main(words) == 0
    exactly_once(trial_ids("k=1", "seed=0"), epochs=120)


@pytest.mark.parametrize("where", ["known", "load_images", "find_work"])
def test_ctrl_c_before_the_first_pack_is_no_traceback(capsys, monkeypatch, where):
    """Like in the middle of a download."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(study.pipeline, where, interrupted)
    try:
        code = command()
    except KeyboardInterrupt:  # left alone it would end the tests, too
        pytest.fail("KeyboardInterrupt comes out of main")
    assert code == 130
    assert "run the same command again" in capsys.readouterr().err


# ---- Damaged files, conflicting numbers, bad input on the way ----


@pytest.mark.parametrize("folder", [PLAN_FOLDER, TRIALS_FOLDER, EPOCHS_FOLDER])
def test_a_damaged_file_is_named_and_left_alone(capsys, folder):
    assert command() == 0
    if folder == EPOCHS_FOLDER:  # read when a pack goes on
        shutil.rmtree("results/tiny/trials")
    damaged = sorted(Path("results/tiny", folder).iterdir())[0]
    damaged.write_bytes(damaged.read_bytes()[:-30])
    before = damaged.read_bytes()
    capsys.readouterr()
    assert command() == 3
    said = capsys.readouterr()
    assert f"{folder}/{damaged.name}: damaged" in said.out + said.err
    assert "restore it from a copy, or move it away" in said.out + said.err
    assert "Traceback" not in said.err or folder == EPOCHS_FOLDER
    assert damaged.read_bytes() == before


def plant(change: Callable[[pd.DataFrame], None]) -> str:
    """A study of one pack whose first border holds changed rows, written by somebody with the same provenance."""
    words = ["--set", "k=1", "--set", "seed=0"]
    assert command(*words, "--out", "first") == 0
    first, second = open_store("first/tiny"), open_store("second/tiny")
    key = first.list(EPOCHS_FOLDER)[0]
    (plan,) = first.list(PLAN_FOLDER)
    table = decode(first.read(key), key)
    frame = table.to_pandas()
    change(frame)
    changed = table.set_column(
        table.schema.get_field_index("test_bound"), table.schema.field("test_bound"), [frame["test_bound"].tolist()]
    )
    second.create(plan, first.read(plan))
    second.create(key, encode(changed, read_footer(first.read(key), key)))
    return key


def test_other_numbers_of_the_same_epochs_are_a_conflict(capsys):
    key = plant(lambda frame: frame.__setitem__("test_bound", frame["test_bound"] + 1))
    before = files_in(Path("second"))
    capsys.readouterr()
    assert command("--set", "k=1", "--set", "seed=0", "--out", "second") == 4
    said = capsys.readouterr().out
    assert f"{key}: holds other numbers than this run computed" in said
    assert "run into another --out folder and compare" in said
    assert "goes on from its last border" not in said, "it would end the same way"
    assert files_in(Path("second")) == before


def test_the_same_numbers_of_the_same_epochs_are_none(capsys):
    plant(lambda frame: None)
    assert command("--set", "k=1", "--set", "seed=0", "--out", "second") == 0
    assert contents_of(Path("first/tiny")) == contents_of(Path("second/tiny"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--set", "data={name: npz, path: none.npz}"], "data.path: none.npz is no file"),
        (["--set", "data={name: npz, path: tiny.yaml}"], "tiny.yaml is no .npz file"),
        (["--set", "data.n_valid=1437"], "data.n_valid: 1437 leaves no image of 1437"),
        (["--set", "data={}", "--set", "factors.data.n_valid=[0, 2000]"], "data.n_valid: 2000 leaves no image of 1437"),
        (["--only", "k=9"], "--only k=9: matches no trial"),
        (["--set", "exclude=[{k: [1, 2]}]"], "exclude: leaves no cell"),
        (["--out", "taken"], "run.out: taken/tiny is a file; name a folder"),
        (["--out", "gs://bucket/x"], "allowed is a folder or s3://bucket/prefix"),
    ],
    ids=["no npz", "damaged npz", "no image", "no image for a level", "only", "exclude", "file", "object store"],
)
def test_bad_input_ends_with_a_sentence_before_anything_is_written(capsys, words, sentence):
    Path("taken").mkdir()
    Path("taken/tiny").touch()
    assert command(*words) == (3 if "npz file" in sentence else 2)
    said = capsys.readouterr()
    assert sentence in said.err
    assert "Traceback" not in said.err
    assert not Path("results").exists()


@pytest.mark.parametrize("out", ["tiny.yaml", "tiny.yaml/below", "/dev/null/x"])
def test_results_that_cannot_be_written_end_with_a_sentence(capsys, out):
    assert command("--out", out) == 2
    assert f"run.out: {out}" in capsys.readouterr().err


def test_other_measurements_are_refused(capsys):
    assert command() == 0
    before = files_in(Path("results"))
    assert command("--set", "measure.nll_samples=6") == 2
    assert "measure.nll_samples: got 6, but study tiny was planned with 5" in capsys.readouterr().err
    assert files_in(Path("results")) == before


def test_a_warmup_without_its_end_is_said(capsys):
    assert command("--plan", "--set", "warmup=[0, 8]") == 0
    assert "note: warmup 8 is longer than training.epochs 2: beta ends at 0.12" in capsys.readouterr().out
