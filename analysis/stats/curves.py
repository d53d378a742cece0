"""Summarises a curve over epochs by one number: epochs to a target or to its end, slope, peak, half-life, largest drop."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.stats.estimate import Floats, InferenceError

EARLY = (1, 5)
"""First and last epoch of those whose largest count is the baseline of pruning; see docs/statistics.md."""

END_SHARE = 0.05
"""Share of the epochs whose mean is the end of a curve."""

CONVERGED_BY = 0.75
"""A curve that first stays near its end after this share of the epochs had not converged: its end is not known."""


def epochs_to_end(curves: ArrayLike, within: float) -> tuple[Floats, Floats]:
    """Return the first epoch from which a curve stays near its own end, and whether it had converged (1 or 0).

        min{e : |x(e') - end| <= within for all e' >= e},   end the mean of the last max(1, 5%) of the epochs

    It measures how fast a curve converges and does not depend on where it ends.

    Args:
        curves: [trial, epoch from 0]; complete rows, or NaN.
        within: largest distance to the end, in the unit of the curves.

    Returns:
        The epoch (one more than the last if even that is far from the end), and 1 if it lies within the first three quarters
        of the epochs, else 0. NaN for a curve with a NaN.
    """
    rows = _rows(curves)
    epochs = rows.shape[1] - 1
    end = rows[:, -max(1, round(END_SHARE * epochs)) :].mean(axis=1, keepdims=True)
    is_far = np.abs(rows - end) > within
    first = np.where(is_far.any(axis=1), rows.shape[1] - is_far[:, ::-1].argmax(axis=1), 0).astype(float)
    whole = np.isfinite(rows).all(axis=1)
    return np.where(whole, first, np.nan), np.where(whole, first <= CONVERGED_BY * epochs, np.nan)


def epochs_to(curves: ArrayLike, target: float) -> tuple[Floats, Floats]:
    """Return the first epoch at which a curve is at least the target, and whether it reaches it (1 or 0).

        min(T, end),   whose mean over seeds is the restricted mean of the epochs needed

    Args:
        curves: [trial, epoch from 0]; complete rows, or NaN.
        target: common to all trials that are compared, in the unit of the curves.

    Returns:
        The epoch (the last one if the target is not reached), and 1 if it is reached, else 0. NaN for a curve with a NaN.
    """
    rows = _rows(curves)
    above = rows >= target
    reached = above.any(axis=1)
    first = np.where(reached, above.argmax(axis=1), rows.shape[1] - 1).astype(float)
    whole = np.isfinite(rows).all(axis=1)
    return np.where(whole, first, np.nan), np.where(whole, reached, np.nan)


def slope(curves: ArrayLike, last: int = 50) -> Floats:
    """Return the least-squares slope over the last epochs, in the curve's unit per epoch.

    It is one number per trial, as the epochs of a trial are correlated.

    Raises:
        InferenceError: `last` is below two, or above the number of epochs.
    """
    rows = _rows(curves)
    if not 2 <= last <= rows.shape[1] - 1:
        raise InferenceError(f"slope: the last {last} of {rows.shape[1] - 1} epochs; give between 2 and all of them")
    x = np.arange(last) - (last - 1) / 2
    found: Floats = rows[:, -last:] @ x / (x @ x)
    return found


def peak(curves: ArrayLike) -> Floats:
    """Return the largest value of epochs 1 to 5."""
    found: Floats = _rows(curves)[:, EARLY[0] : EARLY[1] + 1].max(axis=1)
    return found


def peak_epoch(curves: ArrayLike) -> NDArray[np.int64]:
    """The first epoch, from 1 to 5, of the largest value of these epochs."""
    found: NDArray[np.int64] = EARLY[0] + np.argmax(_rows(curves)[:, EARLY[0] : EARLY[1] + 1], axis=1)
    return found


def half_life(curves: ArrayLike) -> Floats:
    """Return the epochs from the peak until half of the final loss has occurred.

        (A(e) - A_end) / (A_peak - A_end) <= 1/2,   e from the first epoch of the peak (epochs 1 to 5)

    Values between epochs are interpolated linearly. NaN where nothing is lost (A_end >= A_peak) or a value is absent.
    Unlike an area under the curve, this does not depend on how many units are left.
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
    """Return the largest fall from one epoch to the next after the peak of epochs 1 to 5; 0 if there is none."""
    rows = _rows(curves)
    falls = -np.diff(rows, axis=1)
    falls[np.arange(falls.shape[1]) < peak_epoch(rows)[:, None]] = 0.0
    return np.where(np.isfinite(rows).all(axis=1), falls.max(axis=1), np.nan)


def _rows(curves: ArrayLike) -> Floats:
    rows: Floats = np.asarray(curves, float)
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise InferenceError(f"curves have shape {rows.shape}; give [trial, epoch], from epoch 0 to the last one planned")
    return rows
