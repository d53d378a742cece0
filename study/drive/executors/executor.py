"""Define the protocol of an executor, which runs packs, and of the listener that it reports to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from study.drive.executors.site import Site
from study.forecast.overhead import Overhead
from workers.contract.failure import Failure
from workers.contract.job import Job
from workers.contract.settings import RunSettings


class ExecutorLostError(RuntimeError):
    """The executor itself is gone, and every pack with it; the text names what died."""


class Listener(Protocol):
    """What an executor reports to the driver."""

    def epoch(self, pack_id: str, epoch: int, committed: int, diverged: Mapping[str, int]) -> None:
        """A pack has finished an epoch; `committed` is its newest border."""

    def ended(self, pack_id: str, status: str) -> None:
        """A pack has returned with this status: done | stopped | closed."""

    def retried(self, pack_id: str, failure: Failure) -> None:
        """A pack has failed and begins again from its newest commit."""

    def died(self, pack_id: str, reason: str) -> None:
        """The process of a pack is gone; another one continues from the newest commit."""

    def lost_machine(self, pack_id: str) -> None:
        """The machine of a pack is gone, which is not counted as a failure; another continues from the newest commit."""

    def failed(self, pack_id: str, failure: Failure) -> None:
        """A pack has failed for the last time: it is not tried again."""


@dataclass(frozen=True)
class Resources:
    """What one pack takes, and how many packs may run at once."""

    cpus: float
    gpus: float
    slots: int
    """How many packs run at once on this machine; a cluster counts its own devices."""


class Executor(Protocol):
    """Runs packs somewhere. It keeps no state of a study: everything that matters is in the store.

    Each executor has its own file beside this one and a line in the registry in `study/drive/executors/__init__.py`.
    """

    name: str
    """Its name for --executor."""
    overhead: Overhead
    """Time that it needs besides that of the packs, for the forecast."""

    def find_site(self, run: RunSettings, address: str | None) -> Site:
        """Return where packs would run; called once, before anything is planned.

        Args:
            run: the device asked for, and how much of it a pack takes.
            address: the value of --address, or None if it was not given; `local` is always this machine.

        Raises:
            MachineError: the address cannot be used, or the device that `run` asks for does not exist.
        """

    def prepare(self, site: Site, out: str) -> None:
        """Make sure that packs can run there; called once before the first pack, and only if there is something to run.

        Raises:
            MachineError: packs could not use the folder or bucket `out` of all results.
        """

    def run(self, jobs: Sequence[Job], resources: Resources, listener: Listener) -> None:
        """Run each job by `workers.train.attempts.run_attempts`, and return when all have ended.

        Jobs should begin in this order. All calls of the listener come from the thread that called `run`, one at a time, and
        a pack waits until a call about it has returned. For each pack:

        - `epoch` after an epoch or a commit. Epochs may be left out, but not a new border and not a trial that diverged.
          `epoch` falls only after one of the calls below; `committed` never falls, and is at most `epoch` unless all
          trials of the pack have diverged before that border.
        - `retried`, `died` or `lost_machine` when the pack begins again from its newest commit. The executor always
          restarts a pack whose process died: the driver counts, and asks a pack that dies too often to stop.
        - exactly one `ended` or `failed`, as its last call. The failure of one pack does not keep others from running.

        A stop key in the store (`workers/store/keys.py: stop_key`) is obeyed by the workers, which look for it before each
        border: every pack then ends as `stopped`, including those that had not begun. The executor installs no handler of
        Ctrl-C or SIGTERM, because the driver's handler creates that key; it passes a KeyboardInterrupt on at once.

        Raises:
            ExecutorLostError: the executor itself died. It has cleaned up, so that `run` may be called again; packs
                without a call of `ended` or `failed` must be run again.
        """
