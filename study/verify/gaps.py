"""Measure how far apart two runs of one trial are, column by column, and compare that with the published band."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from workers.contract.column import NATS
from workers.contract.columns import COLUMNS, unit_of_column


@dataclass(frozen=True)
class Band:
    """How far apart two numbers may be if they differ only by rounding."""

    nats: float
    """Share of the row's |test_bound|, for columns in nats per example."""
    unit: float
    """Absolute, for columns in any other unit."""
    unit_share: float
    """Share of the number itself, added to `unit`."""


BAND = Band(nats=5e-6, unit=5e-5, unit_share=5e-5)
"""Seven times the measured effect of rounding; see docs/verify.md and benchmarks/verify_band.py."""


@dataclass(frozen=True)
class Gap:
    """The largest difference between two runs of a trial in one column."""

    column: str
    epoch: int | None
    """None if it is in the trial's final row."""
    absolute: float
    relative: float
    """Relative to |test_bound| for columns in nats, otherwise to the number itself."""
    of_band: float
    """Difference divided by the allowed one; above 1 is outside the band, inf is more than rounding can explain."""


def gaps(stored: pa.Table, now: pa.Table, band: Band, threshold: float) -> list[Gap]:
    """Return the columns in which two tables differ, worst first; empty if all bits agree.

    Args:
        stored: rows of one trial, from `epochs` (sorted by epoch) or from `trials`.
        now: the same rows of another run.
        band: what counts as rounding.
        threshold: activity above which a unit is active; counts may differ by the units within the band around it.
    """
    if len(stored) != len(now):
        return [Gap("rows", None, abs(len(stored) - len(now)), np.inf, np.inf)]
    epochs = stored["epoch"].to_pylist() if "epoch" in stored.column_names else [None] * len(stored)
    found = [
        gap
        for name in stored.column_names
        # Pack, time and place of a trial are not among its results.
        if name not in COLUMNS or COLUMNS[name].is_of_the_trial
        for gap in _gaps_of(name, stored, now, epochs, band, threshold)
    ]
    return sorted(found, key=lambda gap: gap.of_band, reverse=True)


def _gaps_of(
    name: str, stored: pa.Table, now: pa.Table, epochs: Sequence[int | None], band: Band, threshold: float
) -> list[Gap]:
    was, rows, are_numbers = _numbers(stored[name])
    new, rows_now, _ = _numbers(now[name])
    if not are_numbers or not np.array_equal(rows, rows_now):
        return _exact(name, stored, now, epochs, band, threshold)
    differ = _bits(was) != _bits(new)
    if not differ.any():
        return []
    at = np.flatnonzero(differ)
    before, after, row = was[at].astype(np.float64), new[at].astype(np.float64), rows[at]
    with np.errstate(invalid="ignore", divide="ignore"):
        absolute = np.abs(before - after)
        if unit_of_column(name) == NATS:
            scale = _bound_of(stored)[row]
            scale = np.where(np.isfinite(scale), scale, np.abs(before))
            allowed = band.nats * scale
        else:
            scale = np.abs(before)
            allowed = band.unit + band.unit_share * scale
        # If one of the two is null or not finite, the distance is infinite.
        relative = _or_infinite(absolute / scale)
        of_band = np.where(absolute == 0, 0.0, _or_infinite(absolute / allowed))
    worst = int(np.argmax(of_band))
    biggest = float(_or_infinite(absolute).max())
    return [Gap(name, epochs[row[worst]], biggest, float(relative[worst]), float(of_band[worst]))]


def _or_infinite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isnan(values), np.inf, values)


def _exact(
    name: str, stored: pa.Table, now: pa.Table, epochs: Sequence[int | None], band: Band, threshold: float
) -> list[Gap]:
    """Compare texts, flags and counts, which must be equal; only a count of active units has a band."""
    pairs = list(zip(stored[name].to_pylist(), now[name].to_pylist(), strict=True))
    rows = [row for row, (was, new) in enumerate(pairs) if was != new]
    if not rows:
        return []
    size, of_band = np.inf, np.inf
    if name == "active_units" and "activity" in stored.column_names:
        activity = [np.array(vector or [], np.float64) for vector in stored["activity"].to_pylist()]
        near = [int((np.abs(vector - threshold) <= band.unit + band.unit_share * threshold).sum()) for vector in activity]
        apart = [abs(pairs[row][0] - pairs[row][1]) if None not in pairs[row] else np.inf for row in rows]
        size = max(apart)
        of_band = 1.0 if all(n <= near[row] for n, row in zip(apart, rows, strict=True)) else np.inf
    elif name == "active_units" and None not in pairs[rows[0]]:
        # The trial's final row repeats the count of the last epoch, which is judged there.
        size, of_band = abs(pairs[rows[0]][0] - pairs[rows[0]][1]), 1.0
    return [Gap(name, epochs[rows[0]], float(size), np.inf, of_band)]


def _numbers(column: pa.ChunkedArray) -> tuple[NDArray[Any], NDArray[np.int64], bool]:
    """Return all entries of a column (null: NaN), the row of each, and whether they are numbers at all."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_list(array.type):
        lengths = np.array([len(entry or []) for entry in array.to_pylist()], np.int64)
        return array.flatten().to_numpy(zero_copy_only=False), np.arange(len(array)).repeat(lengths), True
    return array.to_numpy(zero_copy_only=False), np.arange(len(array)), pa.types.is_floating(array.type)


def _bits(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


def _bound_of(table: pa.Table) -> NDArray[np.float64]:
    bounds: NDArray[np.float64] = np.abs(table["test_bound"].to_numpy(zero_copy_only=False).astype(np.float64))
    return bounds


def weights_gap(stored: Mapping[str, NDArray[Any]], now: Mapping[str, NDArray[Any]]) -> bool:
    """Return whether two sets of weights differ in any bit; they have no band, as rows show the effect of a difference."""
    if stored.keys() != now.keys():
        return True
    return any(stored[name].shape != now[name].shape or stored[name].tobytes() != now[name].tobytes() for name in stored)
