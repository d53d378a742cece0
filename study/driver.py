"""Runs what is missing of a study and says how it ended; has no state but the store's."""

import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from study.executors import Resources, run_inline, run_on_ray
from study.grid import Grid
from study.machine import gpus_of_pack
from study.packing import pack_seconds
from study.planning import Machine, Work, diverged_of, find_work, parents_of, settle
from study.progress import Display
from study.provenance import code_provenance
from workers.borders import prune_checkpoints
from workers.images import Known
from workers.job import Job
from workers.store import Store, stop_key
from workers.trial import Pack, Trial

INTERRUPTED = 130


@dataclass(frozen=True)
class Ending:
    """How a study stands when the command returns."""

    out: str
    """Where the results lie."""
    trials: int
    completed: int
    diverged: tuple[str, ...]
    missing: tuple[str, ...]
    """trial_id of wanted trials that have not ended."""
    exit_code: int
    """0 all done, 1 done but trials diverged or are missing, 3 damaged data, 4 conflicting content, 130 interrupted."""


@dataclass
class _Watch:
    """Listens to the executor: draws, deletes old checkpoints, remembers errors."""

    store: Store
    display: Display
    committed: dict[str, int] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    retries: int = 0

    def epoch(self, pack_id: str, epoch: int, committed: int, diverged: Mapping[str, int]) -> None:
        self.display.epoch(pack_id, epoch, diverged)
        if committed > self.committed.get(pack_id, -1):
            self.committed[pack_id] = committed
            self._prune(pack_id, keep=2)

    def ended(self, pack_id: str, status: str) -> None:
        self.errors.pop(pack_id, None)
        if status == "done":
            self._prune(pack_id, keep=1)
            self.display.ended(pack_id)

    def retried(self, pack_id: str, error: str) -> None:
        self.retries += 1
        self.display.say(f"pack {pack_id} failed and goes on from its last border: {error.splitlines()[0]}")

    def failed(self, pack_id: str, error: str) -> None:
        self.errors[pack_id] = error
        self.display.say(f"pack {pack_id} failed: {error.splitlines()[0]}")

    def _prune(self, pack_id: str, keep: int) -> None:
        prune_checkpoints(self.store, pack_id, keep)


def drive(
    store: Store,
    grid: Grid,
    wanted: Sequence[Trial],
    machine: Machine,
    data: Known,
    *,
    executor: str,
    say: Callable[[str], None],
) -> Ending:
    """Run until nothing is missing or everything missing has failed in this run.

    Raises:
        PlanConflictError, RecordError: see find_work.
    """
    started = time.monotonic()
    run_id = secrets.token_hex(8)
    provenance = code_provenance()
    tried: set[tuple[str, int]] = set()
    errors: dict[str, str] = {}
    with _stop_on_interrupt(store, run_id, say) as interrupted:
        while not interrupted():
            work = settle(store, grid, wanted, machine, data, provenance)
            packs = [pack for pack in work.missing if (pack.pack_id, pack.epochs) not in tried]
            if not packs:
                break
            tried |= {(pack.pack_id, pack.epochs) for pack in packs}
            errors |= _round(store, grid, machine, data, work, packs, run_id, provenance, executor)
    ending = _ending(store, grid, wanted, machine, data, errors, interrupted())
    _say_ending(ending, errors, time.monotonic() - started, bool(tried), say)
    return ending


def _round(
    store: Store,
    grid: Grid,
    machine: Machine,
    data: Known,
    work: Work,
    packs: Sequence[Pack],
    run_id: str,
    provenance: Mapping[str, object],
    executor: str,
) -> dict[str, str]:
    """Run these packs once; returns the error of every pack that failed."""
    parents = parents_of(packs, work.plan)
    jobs = [
        Job(
            pack=pack,
            parent=parents.get(pack.pack_id),
            root=_absolute(grid.base.data.root),
            path=_absolute(grid.base.data.path),
            store=str(Path(store.url).absolute()),
            device=machine.device,
            run_id=run_id,
            provenance=dict(provenance),
        )
        for pack in packs
    ]
    on_gpu = machine.device == "cuda"
    resources = Resources(
        cpus=1.0,
        gpus=gpus_of_pack(grid.run) if on_gpu else 0.0,
        max_failures=grid.run.max_failures,
        slots=max(machine.slots, os.cpu_count() or 1) if on_gpu else machine.slots,
    )
    seconds = {pack.pack_id: pack_seconds(pack, data, machine.device) for pack in packs}
    with Display(seconds, {pack.pack_id: pack for pack in packs}, len(work.done)) as display:
        watch = _Watch(store, display)
        (run_inline if executor == "inline" else run_on_ray)(jobs, resources, watch)
    return watch.errors


def _absolute(path: str | None) -> str | None:
    # Ray's workers do not stand in the user's folder.
    return None if path is None else str(Path(path).expanduser().absolute())


@contextmanager
def _stop_on_interrupt(store: Store, run_id: str, say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C asks the workers to stop at their next border; the second ends at once."""
    hit: list[int] = []

    def ask(signum: int, frame: FrameType | None) -> None:
        hit.append(signum)
        if len(hit) > 1:
            raise KeyboardInterrupt
        store.create(stop_key(run_id), b"")
        say("stopping at the next border of every running pack; Ctrl-C again stops at once; the same command goes on")

    try:
        before = signal.signal(signal.SIGINT, ask)
    except ValueError:
        # Not the main thread (a notebook server, say): whoever owns the signal keeps it.
        yield lambda: False
        return
    try:
        yield lambda: bool(hit)
    except KeyboardInterrupt:
        hit.append(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
        if hit:
            store.delete(stop_key(run_id))


def _ending(
    store: Store,
    grid: Grid,
    wanted: Sequence[Trial],
    machine: Machine,
    data: Known,
    errors: Mapping[str, str],
    interrupted: bool,
) -> Ending:
    work = find_work(store, grid, wanted, machine, data)
    diverged = diverged_of(store, work)
    done = set(work.done)
    missing = tuple(trial.trial_id for trial in wanted if trial.trial_id not in done)
    code = 0
    if missing or done & diverged:
        code = 1
    if any("RecordError" in error or "VersionError" in error or "DamagedDataError" in error for error in errors.values()):
        code = 3
    if any("ConflictError" in error for error in errors.values()):
        code = 4
    if interrupted:
        code = INTERRUPTED
    return Ending(
        out=store.url,
        trials=len(wanted),
        completed=len(done - diverged),
        diverged=tuple(sorted(done & diverged)),
        missing=missing,
        exit_code=code,
    )


def _say_ending(ending: Ending, errors: Mapping[str, str], seconds: float, ran: bool, say: Callable[[str], None]) -> None:
    if not ran and ending.exit_code == 0:
        say(f"nothing to do: all {ending.trials} trials are done")
    else:
        say(f"{ending.completed} of {ending.trials} trials completed, {seconds:.0f} s")
    if ending.diverged:
        say(f"diverged: {', '.join(ending.diverged)}")
    if ending.missing:
        shown = ", ".join(ending.missing[:20]) + (
            f" and {len(ending.missing) - 20} more" if len(ending.missing) > 20 else ""
        )
        say(f"missing: {shown}; the same command goes on with them")
    for pack_id, error in errors.items():
        print(f"--- pack {pack_id}\n{error.partition(chr(10))[2]}", file=sys.stderr)
    say(f'rows: pandas.read_parquet("{ending.out}/epochs")')
    say(f"figures: python -m analysis.report {ending.out}")
