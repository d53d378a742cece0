"""Define the overhead of an executor: the time it needs in addition to that of the packs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Overhead:
    """The time that an executor itself needs, and whether it uses all slots of a machine."""

    start_s: float
    """Seconds to start and end the executor; the start of a worker process is part of study.forecast.rates.Rates."""
    pack_s: float
    """Seconds added to each pack's own time."""
    runs_side_by_side: bool
    """Whether packs run in as many slots as the machine has; otherwise one after the other."""

    def slots_of(self, slots: int) -> int:
        """Return how many of a machine's slots are used at once."""
        return slots if self.runs_side_by_side else 1
