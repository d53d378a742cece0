"""What a run should have taken and what it took, for the part of its packs that it did."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from study.forecast.forecast import Course, predicted, seconds_of, stored_epochs
from study.forecast.rates import Rates
from study.forecast.wording import compared
from workers.contract.trial import Pack
from workers.data.images import Known
from workers.store.protocol import Store


@dataclass
class Comparison:
    """Adds up over the rounds of one run."""

    data: Known
    rates: Rates
    slots: int
    on_ray: bool
    predicted: float = 0.0
    taken: float = 0.0
    _done: Mapping[str, int] = field(default_factory=dict)
    _begun: float = 0.0

    def begin(self, store: Store, packs: Sequence[Pack]) -> dict[str, float]:
        """Before a round: notes where its packs stand; returns the time of each whole pack, to weigh its epochs by."""
        self._done = stored_epochs(store, packs)
        self._begun = time.monotonic()
        return {pack.pack_id: seconds_of(pack, self.data, self.rates, -1) for pack in packs}

    def end(self, packs: Sequence[Pack], course: Course) -> None:
        """After a round: adds what was done in it."""
        self.taken += time.monotonic() - self._begun
        # A second round finds Ray and its workers started.
        start = not self.predicted
        self.predicted += predicted(packs, course, self.data, self.rates, self.slots, self.on_ray, self._done, start)

    def sentence(self) -> str:
        """Both, side by side; empty if nothing was done."""
        return compared(self.predicted, self.taken) if self.predicted else ""
