"""Everything that claims read of one completed trial, and values that such a trial does not have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.stats import curves

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Undefined:
    """The value that a completed trial does not have; no number stands in for it."""

    reason: str
    """Why, as a sentence without its end."""


def _no_vectors(column: str) -> NDArray[np.float32]:
    raise KeyError(column)


@dataclass(frozen=True)
class Trial:
    """Everything known about one completed trial."""

    row: Mapping[str, Any]
    """Its row of `study.trials`."""
    stream: pd.DataFrame = field(repr=False)
    """The rows of all trials: `study.epochs`."""
    places: NDArray[np.int64] = field(repr=False)
    """Positions of its own rows in `stream`, by epoch from 0 to its last one."""
    threshold: float
    """A unit is active above this."""
    warmup: int = 0
    """The longest warm-up among the claim's cells; curves without warm-up are read at the same epochs."""
    target: float = float("nan")
    """What a curve has to reach, in the unit of the column."""
    latent: Mapping[str, Any] = field(default_factory=dict)
    """Its row of the table of latent pictures (see LATENT_COLUMNS), if there is one."""
    read: Callable[[str], NDArray[np.float32]] = field(default=_no_vectors, repr=False)
    """Returns a vector column as [epoch, unit]."""

    def curve(self, column: str) -> Floats:
        """Return a scalar column of the stream, one entry per epoch from 0."""
        values: Floats = self.stream[column].to_numpy()[self.places].astype(float)
        return values

    def vectors(self, column: str) -> Floats:
        """Return a vector column as [epoch, unit]."""
        return self.read(column).astype(float)

    @cached_property
    def active(self) -> Floats:
        """Active units, one entry per epoch from 0."""
        return self.curve("active_units")

    @property
    def peak(self) -> tuple[int, float]:
        """The early epoch with the most active units (see curves.EARLY), and their number."""
        at = int(curves.peak_epoch(self.active[None])[0])
        return at, float(self.active[at])

    def end(self, column: str) -> float:
        """Return a column at the end: the value measured once, or that of the last epoch in the stream."""
        if column in self.row and column not in self.stream:
            value = self.row[column]
            return float("nan") if pd.isna(value) else float(value)
        return float(self.curve(column)[-1])
