"""Numbers of a curve over epochs: when a level is reached, slope, peak, half-life."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.stats.estimate import Floats, InferenceError

EARLY = (1, 5)
"""Epochs whose largest count is the baseline of pruning; at epoch 0 a count says nothing (docs/statistics.md)."""


def epochs_to(curves: ArrayLike, target: float) -> tuple[Floats, Floats]:
    """First epoch at which a curve is at least the target, and whether it gets there (1 or 0).

        min(T, end):   its mean over seeds is the restricted mean of the epochs that are needed

    Args:
        curves: [trial, epoch from 0], whole or NaN.
        target: common to all that are compared, in the curves' unit.

    Returns:
        The epoch, `end` where the target is not reached; 1 where it is. NaN for a curve with a NaN.
    """
    rows = _rows(curves)
    above = rows >= target
    reached = above.any(axis=1)
    first = np.where(reached, above.argmax(axis=1), rows.shape[1] - 1).astype(float)
    whole = np.isfinite(rows).all(axis=1)
    return np.where(whole, first, np.nan), np.where(whole, reached, np.nan)


def slope(curves: ArrayLike, last: int = 50) -> Floats:
    """Least-squares slope over the last epochs, in the curve's unit an epoch: one number a trial, as epochs correlate.

    Raises:
        InferenceError: fewer than two epochs, or more than there are.
    """
    rows = _rows(curves)
    if not 2 <= last <= rows.shape[1] - 1:
        raise InferenceError(f"slope: the last {last} of {rows.shape[1] - 1} epochs; take between 2 and all of them")
    x = np.arange(last) - (last - 1) / 2
    found: Floats = rows[:, -last:] @ x / (x @ x)
    return found


def peak(curves: ArrayLike) -> Floats:
    """Largest value of epochs 1 to 5."""
    found: Floats = _rows(curves)[:, EARLY[0] : EARLY[1] + 1].max(axis=1)
    return found


def peak_epoch(curves: ArrayLike) -> NDArray[np.int64]:
    """The first epoch, from 1 to 5, of the largest value of these epochs."""
    found: NDArray[np.int64] = EARLY[0] + np.argmax(_rows(curves)[:, EARLY[0] : EARLY[1] + 1], axis=1)
    return found


def half_life(curves: ArrayLike) -> Floats:
    """Epochs from the peak until half of what is lost in the end is lost.

        (A(e) - A_end) / (A_peak - A_end) <= 1/2,   e from the first epoch of the peak (epochs 1 to 5)

    Straight lines between epochs. NaN where nothing is lost (A_end >= A_peak) or a value is absent. Unlike an area under
    the curve it does not depend on how many units are left.
    """
    rows = _rows(curves)
    found = np.full(len(rows), np.nan)
    for place, (row, start) in enumerate(zip(rows, peak_epoch(rows), strict=True)):
        top, end = row[start], row[-1]
        if not np.isfinite(row).all() or end >= top:
            continue
        left = (row[start:] - end) / (top - end)
        below = int(np.argmax(left <= 0.5))
        found[place] = below - (0.5 - left[below]) / (left[below - 1] - left[below])
    return found


def largest_drop(curves: ArrayLike) -> Floats:
    """Largest fall from one epoch to the next after the peak of epochs 1 to 5; 0 where there is none."""
    rows = _rows(curves)
    falls = -np.diff(rows, axis=1)
    falls[np.arange(falls.shape[1]) < peak_epoch(rows)[:, None]] = 0.0
    return np.where(np.isfinite(rows).all(axis=1), falls.max(axis=1), np.nan)


def _rows(curves: ArrayLike) -> Floats:
    rows: Floats = np.asarray(curves, float)
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise InferenceError(f"curves of shape {rows.shape}; give [trial, epoch], from epoch 0 to the last one planned")
    return rows
