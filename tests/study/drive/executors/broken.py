"""Executors that break the protocol, each in one way: their reports pass through a listener that tampers with them."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from study.drive.executors.executor import Executor, Listener, Resources
from workers.contract.failure import Failure
from workers.contract.job import Job


class Passing:
    """Passes everything on as it is."""

    def __init__(self, to: Listener) -> None:
        self.to = to

    def __getattr__(self, name: str) -> Any:
        return getattr(self.to, name)


class Tampered:
    """An executor whose reports are tampered with."""

    def __init__(self, executor: Executor, how: type[Passing] = Passing) -> None:
        self.executor, self.how = executor, how
        self.name, self.overhead = executor.name, executor.overhead
        self.find_site, self.prepare = executor.find_site, executor.prepare

    def run(self, jobs: Sequence[Job], resources: Resources, listener: Listener) -> None:
        self.executor.run(jobs, resources, self.how(listener))


class GivesUp(Tampered):
    """Runs no other pack behind one that has failed."""

    def run(self, jobs: Sequence[Job], resources: Resources, listener: Listener) -> None:
        for job in jobs:
            hears: list[str] = []

            class Notes(Passing):
                def failed(self, pack_id: str, failure: Failure, hears: list[str] = hears) -> None:
                    hears.append(pack_id)
                    self.to.failed(pack_id, failure)

            self.executor.run([job], resources, Notes(listener))
            if hears:
                return


class ForgetsEnded(Passing):
    def ended(self, pack_id: str, status: str) -> None:
        pass


class EndsTwice(Passing):
    def ended(self, pack_id: str, status: str) -> None:
        self.to.ended(pack_id, status)
        self.to.ended(pack_id, status)


class GoesOnBehindTheEnd(Passing):
    def ended(self, pack_id: str, status: str) -> None:
        self.to.ended(pack_id, status)
        self.to.epoch(pack_id, 6, 6, {})


class BordersTooEarly(Passing):
    """Takes each epoch for stored as soon as it was trained."""

    def epoch(self, pack_id: str, epoch: int, committed: int, diverged: Mapping[str, int]) -> None:
        self.to.epoch(pack_id, epoch, epoch if epoch % 2 == 0 and epoch else committed, diverged)


class BordersAboveTheEpoch(Passing):
    def epoch(self, pack_id: str, epoch: int, committed: int, diverged: Mapping[str, int]) -> None:
        self.to.epoch(pack_id, epoch - 1 if committed == epoch else epoch, committed, diverged)


class BordersKeptBack(Passing):
    def epoch(self, pack_id: str, epoch: int, committed: int, diverged: Mapping[str, int]) -> None:
        self.to.epoch(pack_id, epoch, min(committed, 2), diverged)


class EpochsTwice(Passing):
    def epoch(self, pack_id: str, epoch: int, committed: int, diverged: Mapping[str, int]) -> None:
        self.to.epoch(pack_id, epoch, committed, diverged)
        self.to.epoch(pack_id, epoch, committed, diverged)


class EpochsBackwards(Passing):
    def epoch(self, pack_id: str, epoch: int, committed: int, diverged: Mapping[str, int]) -> None:
        self.to.epoch(pack_id, 6 - epoch, committed, diverged)


class FromAnotherThread(Passing):
    def epoch(self, *report: Any) -> None:
        thread = threading.Thread(target=self.to.epoch, args=report)
        thread.start()
        thread.join()


class SwallowsFailures(Passing):
    def failed(self, pack_id: str, failure: Failure) -> None:
        pass


class CallsFailuresDone(Passing):
    def failed(self, pack_id: str, failure: Failure) -> None:
        self.to.ended(pack_id, "done")


class SwallowsRetries(Passing):
    def retried(self, pack_id: str, failure: Failure) -> None:
        """The law mends what it broke when it hears of it; here it never does."""


class CallsAllDone(Passing):
    def ended(self, pack_id: str, status: str) -> None:
        self.to.ended(pack_id, "done")


class SwallowsDeaths(Passing):
    def died(self, pack_id: str, reason: str) -> None:
        pass
