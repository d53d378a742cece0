"""What the driver and an executor tell each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from workers.contract.failure import Failure


class Listener(Protocol):
    """What an executor tells the driver."""

    def epoch(self, pack_id: str, epoch: int, committed: int, diverged: Mapping[str, int]) -> None:
        """A pack has finished an epoch; `committed` is its newest border."""

    def ended(self, pack_id: str, status: str) -> None:
        """A pack has returned: done | stopped | closed."""

    def retried(self, pack_id: str, failure: Failure) -> None:
        """A pack has failed and begins again from its newest commit."""

    def died(self, pack_id: str, reason: str) -> None:
        """The process of a pack is gone; another one goes on from the newest commit."""

    def failed(self, pack_id: str, failure: Failure) -> None:
        """A pack has failed once too often."""


@dataclass(frozen=True)
class Resources:
    """What one pack takes."""

    cpus: float
    gpus: float
    slots: int
    """Cores that a Ray of this machine's own gets; a cluster that was joined before has its own."""
