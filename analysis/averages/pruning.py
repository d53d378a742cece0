"""Counts when units are switched off and whether they come back, with hysteresis."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.averages.activity_map import matrices
from analysis.averages.average import average, select
from analysis.averages.one_factor import Cells
from analysis.loading.study import Study
from analysis.stats.estimate import COUNT_FLOOR

ON, OFF = 0.1, 0.01
"""A unit is switched on when its activity passes ON and off when it falls below OFF; in between it keeps its state."""

EVENTS = ("switched_off", "came_back")


def switches(activity: NDArray[np.floating[Any]], on: float = ON, off: float = OFF) -> dict[str, NDArray[np.int64]]:
    """Count the units that are on in every epoch, and the switches off and back on up to it.

    Args:
        activity: [epoch, unit].
        on: a unit whose activity is above this is on.
        off: a unit whose activity is below this is off; `off` is not above `on`.

    Returns:
        `on`, `switched_off`, `came_back`, one entry per epoch. A unit comes back only after it was switched off: being on
        for the first time does not count.
    """
    mark = np.where(activity > on, 1, np.where(activity < off, -1, 0))
    epochs = np.arange(len(mark))[:, None]
    last = np.maximum.accumulate(np.where(mark != 0, epochs, -1), axis=0)
    state = np.where(last >= 0, np.take_along_axis(mark, np.maximum(last, 0), axis=0), -1) > 0
    before = np.vstack([np.zeros((1, mark.shape[1]), bool), state[:-1]])
    was_on = np.maximum.accumulate(before, axis=0)
    return {
        "on": state.sum(axis=1),
        "switched_off": (before & ~state).sum(axis=1).cumsum(),
        "came_back": (~before & state & was_on).sum(axis=1).cumsum(),
    }


def pruning(study: Study, cells: Cells, event: str, on: float = ON, off: float = OFF) -> pd.DataFrame:
    """Compute the mean over seeds of the number of events so far, in every epoch, cell by cell.

    Args:
        study: the output of `load`.
        cells: the name of each, and a level for every factor that varies, except the seed.
        event: switched_off or came_back.
        on: see switches.
        off: see switches.

    Returns:
        label, then the columns of `average` for every epoch, on, off.
    """
    frames = []
    for label, cell in cells:
        counts = event_counts(study, cell, event, on, off)
        frames.append(average(study, counts, [], at=cell, epoch="every", floor=COUNT_FLOOR).assign(label=label))
    table = pd.concat(frames, ignore_index=True).assign(on=on, off=off)
    return table[["label", *[name for name in table if name != "label"]]]


def event_counts(study: Study, cell: Mapping[str, Any], event: str, on: float = ON, off: float = OFF) -> pd.Series:
    """Return the number of events so far for every row of the stream; NaN outside the cell."""
    counts = pd.Series(np.nan, index=study.epochs.index)
    trial_ids = select(study, cell)["trial_id"].tolist()
    rows = study.epochs.loc[study.epochs["trial_id"].isin(trial_ids), ["trial_id", "epoch"]].sort_values("epoch")
    found = matrices(study, trial_ids)
    for trial_id, of_trial in rows.groupby("trial_id", sort=False, observed=True):
        if trial_id in found:
            epochs, vectors = found[str(trial_id)]
            counts.loc[of_trial.index[of_trial["epoch"].isin(epochs)]] = switches(vectors, on, off)[event]
    return counts
