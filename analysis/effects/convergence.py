"""Describes the whole curve of a trial by single numbers: when it converged, its final slope, how fast it lost units."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.averages.average import AverageError, average, select, values_by_epoch
from analysis.loading.study import Study
from analysis.stats.curves import epochs_to, half_life, largest_drop, peak, slope


def common_target(study: Study, value: str, reference: Mapping[str, Any], below: float = 1.0) -> float:
    """Return the target of all curves in a comparison: the final mean of a reference cell minus `below` nats per example.

    Raises:
        AverageError: `reference` matches more than one cell, or none of its trials has its last epoch.
    """
    mean = float(average(study, value, [], at=reference)["mean"].iloc[0])
    if np.isnan(mean):
        raise AverageError(
            "common_target: no trial of the reference cell has its last epoch; wait for one, or choose another cell"
        )
    return mean - below


def convergence(
    study: Study,
    value: str = "test_bound",
    *,
    at: Mapping[str, Any] | None = None,
    target: float | None = None,
    last: int = 50,
) -> pd.DataFrame:
    """Return the numbers below for every trial; each column is a value that `per_seed` and the effects take.

    The numbers are conditional on convergence: a trial that diverged or is unfinished has NaN. Trials of different lengths
    are refused. For active_units the peak, the end and the drop are counts: pass floor=COUNT_FLOOR to effects of them.

    Args:
        study: the output of `load`.
        value: a scalar column of the stream; half_life and largest_drop are meaningful only for active_units.
        at: factor to level, or to a list of levels: only those trials.
        target: the target of epochs_to_target, in the value's unit; None leaves the column out.
        last: number of epochs that the slope covers; all but epoch 0 if there are fewer.

    Returns:
        Index trial_id; slope, peak, half_life, largest_drop, end and, with a target, epochs_to_target (censored at the last
        epoch) and reached (1 or 0).

    Raises:
        AverageError: a name or level does not exist, or planned lengths differ.
    """
    trials = select(study, at)
    goals = sorted(set(trials["epochs_goal"]))
    if len(goals) > 1:
        raise AverageError(f"convergence: trials are planned to {goals} epochs; choose trials of one length with at")
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
