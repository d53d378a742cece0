"""Compare the time that a run took with the forecast for the part of its packs that it finished."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from study.forecast.forecast import Course, predicted, seconds_of, stored_epochs
from study.forecast.overhead import Overhead
from study.forecast.rates import Rates
from study.forecast.wording import compared
from study.plan.request import Request
from workers.contract.trial import Pack


@dataclass
class Comparison:
    """Adds up predicted and taken time over the rounds of one run."""

    request: Request
    rates: Rates
    overhead: Overhead
    predicted: float = 0.0
    taken: float = 0.0
    _done: Mapping[str, int] = field(default_factory=dict)
    _begun: float = 0.0

    def begin(self, packs: Sequence[Pack]) -> dict[str, float]:
        """Before a round: note how far its packs are; return the seconds of each whole pack, to weight the progress."""
        self._done = stored_epochs(self.request.store, packs)
        self._begun = time.monotonic()
        return {pack.pack_id: seconds_of(pack, self.request.data, self.rates, -1) for pack in packs}

    def end(self, packs: Sequence[Pack], course: Course) -> None:
        """After a round: add the time it took and the time predicted for it."""
        self.taken += time.monotonic() - self._begun
        # In a second round the executor and its workers are running already.
        start = not self.predicted
        data, slots = self.request.data, self.request.machine.slots
        self.predicted += predicted(packs, course, data, self.rates, slots, self.overhead, self._done, start)

    def sentence(self) -> str:
        """Return a sentence with predicted and taken time; empty if nothing was done."""
        return compared(self.predicted, self.taken) if self.predicted else ""
