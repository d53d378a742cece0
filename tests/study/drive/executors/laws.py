"""What every executor must do, as functions of any executor: a tiny study of the digits, real workers, nothing replaced."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from study.drive.driver import jobs_of
from study.drive.executors.executor import Executor, Resources
from study.grid.design import trials_of
from study.grid.grid import parse_grid
from study.plan.planning import settle
from study.plan.request import Request
from tests.end_to_end.processes import family
from tests.study.drive.executors.heard import Call, Heard, keeps_the_protocol
from tests.study.small_study import CPU
from workers.contract.job import Job
from workers.contract.trial import Pack
from workers.data.files import read_images
from workers.data.images import known
from workers.store.closing import last_epoch, mark_closed
from workers.store.folder import FolderStore
from workers.store.keys import CHECKPOINTS_FOLDER, stop_key

EPOCHS, EVERY = 6, 2
GRID = """
study: laws
data: {n_valid: 1337}  # a hundred images to train on
factors: {k: [1, 2], seed: [0, 1]}
model: {hidden: [8]}
training: {epochs: 6, batch_size: 50}
measure: {images: 100, nll_samples: 5, secondary_samples: 3}
run: {device: cpu, commit_every: 2, max_failures: 2}
"""
TWO_SLOTS = Resources(cpus=1.0, gpus=0.0, slots=CPU.slots)


# ---- Within this process ----


def done(executor: Executor, folder: Path) -> None:
    """Undisturbed, each pack trains to its last border, and its rows are stored once each."""
    jobs = planned(folder)
    heard = run(executor, jobs)
    assert heard.statuses() == ["done", "done"]
    assert all(heard.of(job, "epoch") for job in jobs)
    assert {call.name for call in heard.calls} == {"epoch", "ended"}
    stored_once(folder, jobs)


def stopped(executor: Executor, folder: Path) -> None:
    """With the stop key there, each pack ends at a border; later the rest follows behind that border."""
    jobs = planned(folder)
    store = FolderStore(folder / "laws")
    key = stop_key(jobs[0].run_id)

    def stop(call: Call) -> None:
        if call.committed > 0:
            store.create(key, b"")

    heard = run(executor, jobs, stop)
    assert heard.statuses() == ["stopped", "stopped"]
    borders = [last_epoch(store, job.pack) for job in jobs]
    assert max(borders) > 0
    assert all(border in (-1, EVERY) for border in borders), "the next border is the last"
    store.delete(key)
    again = run(executor, jobs)
    assert again.statuses() == ["done", "done"]
    for job, border in zip(jobs, borders, strict=True):
        assert again.of(job, "epoch")[0].epoch == border + 1, "nothing is trained twice"
    stored_once(folder, jobs)


def closed(executor: Executor, folder: Path) -> None:
    """A pack that was closed is not trained; the other one is."""
    jobs = planned(folder)
    mark_closed(FolderStore(folder / "laws"), jobs[0].pack.pack_id, "error", "planted")
    heard = run(executor, jobs)
    assert heard.statuses() == ["closed", "done"]
    assert heard.of(jobs[0], "epoch") == []
    stored_once(folder, jobs[1:])


def failed(executor: Executor, folder: Path) -> None:
    """A pack whose data cannot be read fails by itself, and is not tried again."""
    images = read_images(parse_grid(GRID).base.data)
    folder.mkdir(exist_ok=True)
    np.savez(folder / "digits.npz", train_images=images.train, test_images=images.test)
    first, second = planned(folder, f"{{name: npz, path: '{folder}/digits.npz', n_valid: 1337}}")
    jobs = [first.model_copy(update={"path": str(folder / "none.npz")}), second]
    heard = run(executor, jobs)
    assert heard.statuses() == ["failed", "done"]
    (call,) = heard.of(first)
    assert call.failure is not None
    assert call.failure.kind == "data"
    assert "none.npz is not a file" in call.failure.sentence
    stored_once(folder, [second])


def retried(executor: Executor, folder: Path) -> None:
    """A pack that fails once is tried again from its newest border: here the checkpoints' folder is away for a while."""
    jobs = planned(folder)
    there, away = folder / "laws" / CHECKPOINTS_FOLDER, folder / "laws" / "away"
    broken: list[Call] = []

    def break_and_mend(call: Call) -> None:
        if call.committed > 0 and not broken:
            broken.append(call)
            there.rename(away)
            there.touch()
        if call.name == "retried" and away.exists():
            there.unlink()
            away.rename(there)

    heard = run(executor, jobs, break_and_mend)
    assert heard.statuses() == ["done", "done"]
    failures = [call.failure for call in heard.calls if call.name == "retried"]
    assert failures, "the failure is reported"
    assert all(failure is not None and failure.kind == "store" for failure in failures)
    stored_once(folder, jobs)


def died(executor: Executor, folder: Path) -> None:
    """A pack whose process is killed is begun again by itself; only for executors that train in other processes."""
    jobs = planned(folder)
    killed: list[str] = []

    def kill(call: Call) -> None:
        if call.committed > 0 and not killed:
            killed.append(call.pack_id)
            victims = trainers(os.getpid())
            assert victims, "no other process trains"
            for pid in victims:
                os.kill(pid, signal.SIGKILL)

    heard = run(executor, jobs, kill)
    assert heard.statuses() == ["done", "done"]
    assert [call.pack_id for call in heard.calls if call.name == "died" and call.pack_id in killed] == killed
    assert {call.name for call in heard.calls} == {"epoch", "died", "ended"}
    stored_once(folder, jobs)


# ---- The command, in a process of its own ----

LONG = ("--set", "training.epochs=120", "--set", "run.commit_every=10")


def killed(executor: Executor, folder: Path) -> None:
    """After kill -9 of a process that trains, the command completes, or the same command does where that was itself."""
    with begun(executor, folder) as command:
        victims = trainers(command.pid) or [command.pid]
        os.kill(victims[0], signal.SIGKILL)
        out, err = command.communicate(timeout=300)
    if victims == [command.pid]:
        assert command.returncode == -signal.SIGKILL, out + err
        assert complete(executor, folder) == 0
    else:
        assert command.returncode == 0, out + err
        assert "lost its worker process" in out
    rows_once(folder, *commanded(folder))


def interrupted(executor: Executor, folder: Path) -> None:
    """SIGINT ends the command at the next borders with exit code 130; the same command completes."""
    with begun(executor, folder) as command:
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=300)
    assert command.returncode == 130, out + err
    assert "Traceback" not in out + err
    trials, epochs = commanded(folder)
    assert 0 < len(rows(folder)) < len(trials) * (epochs + 1), "it stopped on the way"
    assert not list((folder / "laws" / CHECKPOINTS_FOLDER).glob("stop-*"))
    assert complete(executor, folder) == 0
    rows_once(folder, trials, epochs)


IN_ONE_PROCESS = (done, stopped, closed, failed, retried)


# ---- What the laws are made of ----


def planned(folder: Path, data: str = "") -> list[Job]:
    """The jobs of two packs, planned and not begun."""
    grid = parse_grid(GRID.replace("{n_valid: 1337}", data) if data else GRID)
    request = Request(
        FolderStore(folder / "laws"), grid, trials_of(grid, known(grid.base.data).fingerprint), CPU, known(grid.base.data)
    )
    work = settle(request, {})
    jobs = jobs_of(request, work, work.missing, secrets.token_hex(8), {})
    assert [len(job.pack.trials) for job in jobs] == [2, 2]
    return jobs


def run(executor: Executor, jobs: Sequence[Job], react: Callable[[Call], None] = lambda call: None) -> Heard:
    heard = Heard(jobs, react)
    executor.run(jobs, TWO_SLOTS, heard)
    keeps_the_protocol(heard)
    return heard


def stored_once(folder: Path, jobs: Sequence[Job]) -> None:
    """Every epoch of the trials of these packs, once, none of any other, and a row for each trial that ended."""
    packs: list[Pack] = [job.pack for job in jobs]
    rows_once(folder, [trial.trial_id for pack in packs for trial in pack.trials], EPOCHS)


def rows_once(folder: Path, trials: Sequence[str], epochs: int) -> None:
    expected = sorted((trial, epoch) for trial in trials for epoch in range(epochs + 1))
    assert sorted(rows(folder)) == expected, "each (trial, epoch) is stored once"
    ended = pd.read_parquet(folder / "laws" / "trials")
    assert sorted(ended["trial_id"]) == sorted(trials)
    assert set(ended["status"]) == {"completed"}


def rows(folder: Path) -> list[tuple[str, int]]:
    frame = pd.read_parquet(folder / "laws" / "epochs", columns=["trial_id", "epoch"])
    return list(zip(frame["trial_id"], frame["epoch"].tolist(), strict=True))


def trainers(pid: int) -> list[int]:
    """The living descendants of a process that have loaded torch, which is to say those that train."""
    return [child for child in family(pid) if has_torch(child)]


def has_torch(pid: int) -> bool:
    try:
        return "libtorch" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False  # it ended while we looked


def commanded(folder: Path) -> tuple[list[str], int]:
    """The trials that the command was asked for, and their epochs."""
    grid = parse_grid(GRID, sets=LONG[1::2])
    return [trial.trial_id for trial in trials_of(grid, known(grid.base.data).fingerprint)], 120


@contextmanager
def begun(executor: Executor, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The command on the long study, once the first rows are stored."""
    (folder / "laws.yaml").write_text(GRID)
    process = subprocess.Popen(words(executor, folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + 200
        while not any((folder / "laws" / "epochs").glob("*.parquet")):
            assert process.poll() is None, "".join(process.communicate())
            assert time.monotonic() < until, "no rows came"
            time.sleep(0.01)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def complete(executor: Executor, folder: Path) -> int:
    """The same command once more, to its end."""
    return subprocess.run(words(executor, folder), stdout=subprocess.DEVNULL, timeout=300, check=False).returncode


def words(executor: Executor, folder: Path) -> list[str]:
    grid = str(folder / "laws.yaml")
    return [sys.executable, "-m", "study.run", grid, "--out", str(folder), "--executor", executor.name, *LONG]
