"""What an executor costs beside the packs that it runs; each executor states its own."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Overhead:
    """Seconds of an executor itself, and whether it fills all slots of a machine."""

    start_s: float
    """To start and to end the executor; the start of a worker's process is part of study.forecast.rates.Rates."""
    pack_s: float
    """Of each pack, added to its own time."""
    runs_side_by_side: bool
    """Whether packs run in as many slots as the machine has; otherwise one after the other."""

    def slots_of(self, slots: int) -> int:
        """How many of a machine's slots are used at once."""
        return slots if self.runs_side_by_side else 1
