"""Define a request: the trials asked for and where they would run, for planning, forecast, driver and summary."""

from collections.abc import Sequence
from dataclasses import dataclass

from study.grid.grid import Grid
from study.plan.machine import Machine
from workers.contract.trial import Trial
from workers.data.images import Known
from workers.store.protocol import Store


@dataclass(frozen=True)
class Request:
    """The trials asked for, the store of their study, and the machine that their packs are sized for."""

    store: Store
    """The store of the study."""
    grid: Grid
    wanted: Sequence[Trial]
    """All trials of the grid, or those that --only selects."""
    machine: Machine
    data: Known
    """Sizes of the data set."""
