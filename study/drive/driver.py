"""Run whatever is missing from a study and report how it ended; all state is in the store."""

import secrets
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from study.drive.checkpoint_cleanup import Pruning
from study.drive.executors.executor import Executor, ExecutorLostError, Resources
from study.drive.lease import hold
from study.drive.progress import Display
from study.drive.summary import STOPPING, Ending, ending_of, say_ending
from study.forecast.comparison import Comparison
from study.forecast.forecast import Course
from study.forecast.rates import BUILT_IN, Rates
from study.plan.machine import gpus_of_pack
from study.plan.planning import Work, settle
from study.plan.request import Request
from study.provenance import code_provenance
from workers.contract.failure import Failure, death
from workers.contract.job import Job
from workers.contract.trial import Pack
from workers.contract.user_paths import expanded
from workers.store.closing import mark_closed
from workers.store.keys import PLAN_FOLDER, stop_key
from workers.store.listing import identity
from workers.store.plan_log import lineage_of
from workers.store.protocol import Store, exists

CLOSING = ("memory", "error", "death", "closed")
"""Kinds of failure after which a pack is split. The others (a full disk, unreadable data) are not caused by its trials."""


@dataclass
class _Watch:
    """Listen to the executor: show progress, delete old checkpoints, remember failures."""

    store: Store
    display: Display
    run_id: str
    max_failures: int
    packs: Mapping[str, Pack] = field(default_factory=dict)
    course: Course = field(default_factory=Course)
    committed: dict[str, int] = field(default_factory=dict)
    deaths: dict[str, int] = field(default_factory=dict)
    """How often each pack's process has died since its newest border."""
    failures: dict[str, Failure] = field(default_factory=dict)
    is_executor_lost: bool = False

    def __post_init__(self) -> None:
        """Look once at what earlier runs have left."""
        self.pruning = Pruning(self.store, self.packs)

    def epoch(self, pack_id: str, epoch: int, committed: int, diverged: Mapping[str, int]) -> None:
        self.display.epoch(pack_id, epoch, diverged)
        self.course.epoch(pack_id, epoch)
        if committed > self.committed.get(pack_id, -1):
            self.committed[pack_id] = committed
            self.deaths.pop(pack_id, None)
            self.pruning.committed(pack_id, committed)

    def ended(self, pack_id: str, status: str) -> None:
        if status == "done":
            self.failures.pop(pack_id, None)
            self.course.ended.add(pack_id)
            self.pruning.ended(pack_id)
            self.display.ended(pack_id)
        elif status == "closed":
            self.failures[pack_id] = Failure("closed", "was closed by another run of this study", "")

    def retried(self, pack_id: str, failure: Failure) -> None:
        self.pruning.disturbed(pack_id)
        self.display.say(f"pack {pack_id} failed and continues from its last border: {failure.sentence}")

    def died(self, pack_id: str, reason: str) -> None:
        self.pruning.disturbed(pack_id)
        self.deaths[pack_id] = self.deaths.get(pack_id, 0) + 1
        if self.deaths[pack_id] > self.max_failures:
            # If the executor starts the pack again, the worker finds this key and returns at once.
            self.store.create(stop_key(self.run_id, pack_id), b"")
            self.failed(pack_id, death(reason))
        else:
            self.display.say(f"pack {pack_id} lost its worker process and continues from its last border")

    def lost_machine(self, pack_id: str) -> None:
        self.pruning.disturbed(pack_id)
        self.display.say(f"pack {pack_id} lost its machine and continues elsewhere from its last border")

    def lost_executor(self, reason: str) -> None:
        self.is_executor_lost = True
        self.display.say(f"{reason}; it is started again, and every pack continues from its last border")

    def failed(self, pack_id: str, failure: Failure) -> None:
        # If the study's folder is gone, this ends the run; otherwise every pack that is left would fail for the same reason.
        self.store.list(PLAN_FOLDER)
        self.failures[pack_id] = failure
        self.display.say(f"pack {pack_id} failed: {failure.sentence}")


def drive(
    request: Request,
    executor: Executor,
    *,
    say: Callable[[str], None],
    retry_failed: bool = False,
    rates: Rates | None = None,
) -> Ending:
    """Run until nothing is missing, or until what is missing cannot be run now.

    A pack that keeps failing is split in two; a trial that keeps failing alone ends as failed.

    Raises:
        PlanConflictError, RecordError: see find_work.
        FolderGoneError: the study was removed, renamed or replaced while this ran.
    """
    started = time.monotonic()
    run_id = secrets.token_hex(8)
    provenance = code_provenance()
    tried: set[tuple[str, int]] = set()
    failures: dict[str, Failure] = {}
    losses, stopped = 0, True
    store = request.store
    comparison = Comparison(request, rates or BUILT_IN[request.machine.device], executor.overhead)
    # The lease comes first: Ctrl-C while this waits for another driver ends the command at once.
    with hold(store, run_id, say), _stop_on_interrupt(store, run_id, say) as interrupted:
        while not interrupted():
            # Only in the first round: a trial that has failed again is not tried once more.
            retry_now = retry_failed and not tried
            work = settle(request, provenance, retry_now)
            packs = [pack for pack in work.missing if (pack.pack_id, pack.epochs) not in tried]
            if not packs:
                break
            jobs = jobs_of(request, work, packs, run_id, provenance)
            seconds = comparison.begin(packs)
            watch = _round(request, executor, jobs, seconds, len(work.done))
            comparison.end(packs, watch.course)
            failures |= watch.failures
            tried |= {(pack.pack_id, pack.epochs) for pack in packs}
            if watch.is_executor_lost:
                losses = 1 if watch.committed else losses + 1
                if losses <= request.grid.run.max_failures:
                    tried -= {(pack.pack_id, pack.epochs) for pack in packs if pack.pack_id not in watch.failures}
            for pack in packs:
                if (failure := failures.get(pack.pack_id)) and failure.kind in CLOSING:
                    _give_up(store, pack, failure, say)
        stopped = interrupted()
    # A second Ctrl-C ends the block above early.
    ending = ending_of(request, failures, stopped)
    if sentence := comparison.sentence():
        say(sentence)
    say_ending(ending, failures, time.monotonic() - started, bool(tried), say)
    return ending


def _give_up(store: Store, pack: Pack, failure: Failure, say: Callable[[str], None]) -> None:
    mark_closed(store, pack.pack_id, failure.kind, failure.sentence)
    if failure.kind == "closed":
        return
    if len(pack.trials) > 1:
        say(f"pack {pack.pack_id} is split in two, so that one failing trial does not end all {len(pack.trials)}")


def jobs_of(request: Request, work: Work, packs: Sequence[Pack], run_id: str, provenance: Mapping[str, object]) -> list[Job]:
    """Return the jobs of these packs: what a worker needs to know about each one."""
    store, grid = request.store, request.grid
    study = identity(store)
    return [
        Job(
            study=study,
            pack=pack,
            ancestors=lineage_of(pack, work.plan),
            root=_absolute(grid.base.data.root),
            path=_absolute(grid.base.data.path),
            store=store.url if "://" in store.url else str(Path(store.url).absolute()),
            device=request.machine.device,
            precision=grid.run.precision,
            run_id=run_id,
            keep_weights=grid.run.keep_weights == "all",
            max_failures=grid.run.max_failures,
            provenance=dict(provenance),
        )
        for pack in packs
    ]


def _round(request: Request, executor: Executor, jobs: Sequence[Job], seconds: Mapping[str, float], n_done: int) -> _Watch:
    """Run these jobs once, and return what was observed of their packs."""
    run, machine, run_id = request.grid.run, request.machine, jobs[0].run_id
    gpus = gpus_of_pack(run) if machine.device == "cuda" else 0.0
    packs = {job.pack.pack_id: job.pack for job in jobs}
    with Display(seconds, packs, n_done) as display:
        watch = _Watch(request.store, display, run_id, run.max_failures, packs)
        try:
            executor.run(jobs, Resources(cpus=1.0, gpus=gpus, slots=machine.slots), watch)
            watch.pruning.finish()
        except ExecutorLostError as error:
            watch.lost_executor(str(error))
    for pack_id in watch.deaths:
        request.store.delete(stop_key(run_id, pack_id))
    return watch


def _absolute(path: str | None) -> str | None:
    # A worker may have another current folder than the user.
    return None if path is None else str(Path(expanded(path)).absolute())


@contextmanager
def _stop_on_interrupt(store: Store, run_id: str, say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """At the first Ctrl-C ask the workers to stop after their epoch, as `study stop` does; at the second stop at once.

    SIGTERM counts like Ctrl-C, because a cluster stops a job with it.
    """
    hit: list[int] = []

    def ask(signum: int, frame: FrameType | None) -> None:
        hit.append(signum)
        if len(hit) > 1:
            raise KeyboardInterrupt
        store.create(stop_key(run_id), b"")
        say(STOPPING)

    before: dict[int, Any] = {}
    # Outside the main thread (of a notebook server, for example) the signals stay with their owner.
    with suppress(ValueError):
        for each in (signal.SIGINT, signal.SIGTERM):
            # A handler that was not installed from Python could not be restored.
            if signal.getsignal(each) is not None:
                before[each] = signal.signal(each, ask)
    try:
        yield lambda: bool(hit) or exists(store, stop_key(run_id))
    except KeyboardInterrupt:
        hit.append(signal.SIGINT)
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        store.delete(stop_key(run_id))
