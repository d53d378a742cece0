"""A listener that writes down what an executor reports and when, and what must hold of that whatever the packs do."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from workers.contract.failure import Failure
from workers.contract.job import Job
from workers.store.closing import last_epoch
from workers.store.open import open_store

AGAIN = ("retried", "died", "lost_machine")
"""Calls after which a pack begins again from its newest commit."""

LAST = ("ended", "failed")


@dataclass(frozen=True)
class Call:
    name: str
    pack_id: str
    epoch: int = -1
    committed: int = -1
    stored: int = -1
    """The newest border in the store while the call lasted."""
    status: str = ""
    failure: Failure | None = None


@dataclass
class Heard:
    """What was reported, in order."""

    jobs: Sequence[Job]
    react: Callable[[Call], None] = lambda call: None
    """What a law does while the executor waits for a call to return."""
    calls: list[Call] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)

    def epoch(self, pack_id: str, epoch: int, committed: int, diverged: Mapping[str, int]) -> None:
        (job,) = (job for job in self.jobs if job.pack.pack_id == pack_id)
        self._note(Call("epoch", pack_id, epoch, committed, last_epoch(open_store(job.store), job.pack)))

    def ended(self, pack_id: str, status: str) -> None:
        self._note(Call("ended", pack_id, status=status))

    def retried(self, pack_id: str, failure: Failure) -> None:
        self._note(Call("retried", pack_id, failure=failure))

    def died(self, pack_id: str, reason: str) -> None:
        self._note(Call("died", pack_id, status=reason))

    def lost_machine(self, pack_id: str) -> None:
        self._note(Call("lost_machine", pack_id))

    def failed(self, pack_id: str, failure: Failure) -> None:
        self._note(Call("failed", pack_id, failure=failure))

    def _note(self, call: Call) -> None:
        self.threads.add(threading.get_ident())
        self.calls.append(call)
        self.react(call)

    def of(self, job: Job, *names: str) -> list[Call]:
        return [call for call in self.calls if call.pack_id == job.pack.pack_id and (not names or call.name in names)]

    def statuses(self) -> list[str]:
        """How each pack ended, in the order of the jobs."""
        return [call.status or call.name for job in self.jobs for call in self.of(job, *LAST)]


def keeps_the_protocol(heard: Heard) -> None:
    """The law of every run, whatever happened in it."""
    assert heard.threads <= {threading.get_ident()}, "all calls come from the thread that called run"
    assert {call.pack_id for call in heard.calls} <= {job.pack.pack_id for job in heard.jobs}
    for job in heard.jobs:
        calls = heard.of(job)
        last = [call for call in calls if call.name in LAST]
        assert len(last) == 1, f"each pack ends once, {job.pack.pack_id} did {len(last)} times"
        assert calls[-1] is last[0], "nothing is reported of a pack that has ended"
        border, attempt = -1, []
        for call in calls:
            if call.name in AGAIN:
                attempt = []
            if call.name != "epoch":
                continue
            here = (call.epoch, call.committed)
            assert call.committed <= call.epoch, f"the border {call.committed} lies above the epoch {call.epoch}"
            assert call.committed <= call.stored, f"the border {call.committed} is not stored, only {call.stored} is"
            assert call.committed in (-1, *job.pack.borders)
            if attempt:
                assert here[0] >= attempt[-1][0], "epochs do not fall"
                assert here > attempt[-1], "an epoch is reported again only with a new border"
            else:
                assert call.epoch > border, f"epoch {call.epoch} was stored before, up to {border}"
            assert call.committed >= border, "borders do not fall"
            border = call.committed
            attempt.append(here)
        if last[0].status == "done":
            known = [call.committed for call in calls if call.name == "epoch"]
            assert known == [] or known[-1] == job.pack.borders[-1], "every border is reported, the last one, too"
