"""One number a trial from its whole curve: when it converged, how steep its end is, how fast it lost units."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analysis.average import AverageError, average, select, values_by_epoch
from analysis.estimate import Floats, InferenceError
from analysis.load import Study

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


def half_life(curves: ArrayLike) -> Floats:
    """Epochs from the peak until half of what is lost in the end is lost.

        (A(e) - A_end) / (A_peak - A_end) <= 1/2,   e from the first epoch of the peak (epochs 1 to 5)

    Straight lines between epochs. NaN where nothing is lost (A_end >= A_peak) or a value is absent. Unlike an area under
    the curve it does not depend on how many units are left.
    """
    rows = _rows(curves)
    found = np.full(len(rows), np.nan)
    tops = peak(rows)
    for place, (row, top) in enumerate(zip(rows, tops, strict=True)):
        end = row[-1]
        if not np.isfinite(row).all() or end >= top:
            continue
        start = EARLY[0] + int(np.argmax(row[EARLY[0] : EARLY[1] + 1]))
        left = (row[start:] - end) / (top - end)
        below = int(np.argmax(left <= 0.5))
        found[place] = below - (0.5 - left[below]) / (left[below - 1] - left[below])
    return found


def largest_drop(curves: ArrayLike) -> Floats:
    """Largest fall from one epoch to the next after the peak of epochs 1 to 5; 0 where there is none."""
    rows = _rows(curves)
    falls = -np.diff(rows, axis=1)
    start = EARLY[0] + np.argmax(rows[:, EARLY[0] : EARLY[1] + 1], axis=1)
    falls[np.arange(falls.shape[1]) < start[:, None]] = 0.0
    return np.where(np.isfinite(rows).all(axis=1), falls.max(axis=1), np.nan)


def common_target(study: Study, value: str, reference: Mapping[str, Any], below: float = 1.0) -> float:
    """What every curve of a comparison has to reach: the final mean of a reference cell minus so many nats per example.

    Raises:
        AverageError: `reference` leaves more than one cell, or none of its trials has ended.
    """
    mean = float(average(study, value, [], at=reference)["mean"].iloc[0])
    if np.isnan(mean):
        raise AverageError("common_target: no trial of the reference cell has its last epoch; wait for one, or take another")
    return mean - below


def convergence(
    study: Study,
    value: str = "test_bound",
    *,
    at: Mapping[str, Any] | None = None,
    target: float | None = None,
    last: int = 50,
) -> pd.DataFrame:
    """Every number of this file for every trial; a column of it is a value that `per_seed` and the effects take.

    Conditional on convergence: a trial that diverged or is unfinished has NaN. Trials of different length are refused. Of
    active_units the peak, the end and the drop are counts: give effects of them floor=COUNT_FLOOR.

    Args:
        study: what `load` gave.
        value: a scalar column of the stream; of active_units also the half-life and the largest drop mean something.
        at: factor to level, or to a list of levels: only those trials.
        target: of epochs_to_target, in the value's unit; None leaves the column out.
        last: epochs of the slope; all but epoch 0 where there are fewer.

    Returns:
        Index trial_id; slope, peak, half_life, largest_drop, end and, with a target, epochs_to_target (censored at the last
        epoch) and reached (1 or 0).

    Raises:
        AverageError: a name or level does not exist, or planned lengths differ.
    """
    trials = select(study, at)
    goals = sorted(set(trials["epochs_goal"]))
    if len(goals) > 1:
        raise AverageError(f"convergence: trials are planned to {goals} epochs; fix what differs with at")
    if goals[0] < 2:
        raise AverageError("convergence: trials of one epoch have no curve; train longer")
    _, wide = values_by_epoch(study, trials, value, "every")
    rows = wide.reindex(columns=range(goals[0] + 1)).to_numpy(float)
    found = {
        "slope": slope(rows, min(last, goals[0])),
        "peak": peak(rows),
        "half_life": half_life(rows),
        "largest_drop": largest_drop(rows),
        "end": rows[:, -1],
    }
    if target is not None:
        found["epochs_to_target"], found["reached"] = epochs_to(rows, target)
    completed = (trials["status"] == "completed").to_numpy()
    return pd.DataFrame({name: np.where(completed, numbers, np.nan) for name, numbers in found.items()}, index=wide.index)


def _rows(curves: ArrayLike) -> Floats:
    rows: Floats = np.asarray(curves, float)
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise InferenceError(f"curves of shape {rows.shape}; give [trial, epoch], from epoch 0 to the last one planned")
    return rows
