"""Ctrl-C, once and twice: the same command goes on."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import study.commands.run
import study.pipeline
import workers.train.attempts
from study.commands.run import main
from tests.study.drive.tiny_study import command, exactly_once, rows, trial_ids
from tests.study.small_study import contents_of
from tests.waiting import wait_until
from workers.contract.job import Job
from workers.store.keys import CHECKPOINTS_FOLDER, EPOCHS_FOLDER, TRIALS_FOLDER
from workers.store.open import open_store
from workers.train.loop import Outcome, Progress

pytestmark = pytest.mark.usefixtures("beside_a_tiny_grid")


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
        "stopping: every running pack stores what it has after its current epoch; Ctrl-C again stops at once; "
        "run the same command again to continue" in said.out
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


PROGRAM = """
import sys, time
from pathlib import Path
import workers.train.attempts
from study.commands.run import main

original = workers.train.attempts.run_job

def run_job(job, report):
    def tell(progress):
        report(progress)
        # After its first border it trains no further before somebody has pressed Ctrl-C.
        while progress.committed > 0 and not Path("pressed").exists():
            time.sleep(0.01)
    return original(job, tell)

workers.train.attempts.run_job = run_job
code = main()
print("Ray:", "ray" in sys.modules)
sys.exit(code)
"""


def test_ctrl_c_on_the_running_program():
    """The real thing: another process, whose SIGINT comes from outside; it does not import Ray."""
    options = "--executor inline --only k=1 --only seed=0 --set training.epochs=120 --set run.commit_every=10"
    words = ["tiny.yaml", *options.split()]
    running = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    epochs = Path("results/tiny/epochs")
    try:
        wait_until(lambda: any(epochs.glob("*.parquet")) or running.poll() is not None, "no rows come")
        running.send_signal(signal.SIGINT)
        Path("pressed").touch()
        out, err = running.communicate(timeout=300)
    finally:
        running.kill()
        running.communicate()
    assert running.returncode == 130, out + err
    assert "stopping: every running pack stores what it has" in out
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
