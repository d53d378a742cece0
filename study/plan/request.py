"""What is asked for and where it would run: what planning, forecast, driver and summary all need."""

from collections.abc import Sequence
from dataclasses import dataclass

from study.grid.grid import Grid
from study.plan.machine import Machine
from workers.contract.trial import Trial
from workers.data.images import Known
from workers.store.protocol import Store


@dataclass(frozen=True)
class Request:
    """Trials of a grid, the store of their study, and what their packs are sized for."""

    store: Store
    """Where the study lies."""
    grid: Grid
    wanted: Sequence[Trial]
    """The grid's trials, or those of them that are to run."""
    machine: Machine
    data: Known
    """Sizes of the data set."""
