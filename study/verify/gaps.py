"""How far two runs of one trial lie apart: bit-equal, within the published band, or different; reads no file."""

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
    """How far apart numbers may lie that are the same but for rounding."""

    nats: float
    """Of the row's |test_bound|, for columns in nats per example."""
    unit: float
    """Absolute, for columns in any other unit."""
    unit_share: float
    """Beside `unit`, of the number itself."""


BAND = Band(nats=5e-6, unit=5e-5, unit_share=5e-5)
"""Seven times what roundings were measured to make: docs/verify.md, benchmarks/verify_band.py."""


@dataclass(frozen=True)
class Gap:
    """Where two runs of a trial differ in one column, at its largest."""

    column: str
    epoch: int | None
    """None: in the trial's row."""
    absolute: float
    relative: float
    """To |test_bound| in nats, else to the number itself."""
    of_band: float
    """Share of the band; above 1 is outside, inf where no rounding explains it."""


def gaps(stored: pa.Table, now: pa.Table, band: Band, threshold: float) -> list[Gap]:
    """The columns in which two tables differ, worst first; empty if all bits agree.

    Args:
        stored: rows of one trial, from `epochs` (sorted by epoch) or from `trials`.
        now: the same rows of another run.
        band: what counts as rounding.
        threshold: of an active unit; a count may differ by the units that lie within the band of it.
    """
    if len(stored) != len(now):
        return [Gap("rows", None, abs(len(stored) - len(now)), np.inf, np.inf)]
    epochs = stored["epoch"].to_pylist() if "epoch" in stored.column_names else [None] * len(stored)
    found = [
        gap
        for name in stored.column_names
        # Which pack a trial was in, when and where, is no number of it.
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
        # Where one of both is null or not finite there is no distance.
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
    """Texts, flags and counts are equal or not."""
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
        # The trial's row repeats the last epoch's, where it is judged.
        size, of_band = abs(pairs[rows[0]][0] - pairs[rows[0]][1]), 1.0
    return [Gap(name, epochs[rows[0]], float(size), np.inf, of_band)]


def _numbers(column: pa.ChunkedArray) -> tuple[NDArray[Any], NDArray[np.int64], bool]:
    """All entries one after the other (null: NaN), the row of each, and whether they are numbers at all."""
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
    """Whether two sets of weights differ in a bit; they say nothing beyond what the rows do, so they have no band."""
    if stored.keys() != now.keys():
        return True
    return any(stored[name].shape != now[name].shape or stored[name].tobytes() != now[name].tobytes() for name in stored)
