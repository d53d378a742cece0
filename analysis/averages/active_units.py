"""Counts active units: at any threshold, and by the widest gap between the activities."""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.loading.study import LoadError, Study

THRESHOLDS = (0.001, 0.01, 0.1)
"""Burda et al. 2016 use 0.01, Bettencourt and Craddock 0.1."""

FLOOR = 1e-8
"""Smaller activities are set to this, as a ratio to rounding errors means nothing."""


def gap(activity: ArrayLike) -> tuple[int, float]:
    """Return how many units lie above the widest gap of the sorted activities, and the factor by which they do.

        argmax_i A_(i) / A_(i+1),   A_(1) >= A_(2) >= ...

    This counts active units without a threshold; a ratio near 1 means that there is no gap. A single unit has no gap and
    gives (1, nan).
    """
    ordered = np.sort(np.maximum(np.asarray(activity, float), FLOOR))[::-1]
    if len(ordered) < 2:
        return len(ordered), float("nan")
    ratios = ordered[:-1] / ordered[1:]
    place = int(np.argmax(ratios))
    return place + 1, float(ratios[place])


def count_active(
    study: Study,
    threshold: float,
    column: str = "activity",
    layer: int | None = None,
    trial_ids: Collection[str] | None = None,
) -> pd.Series:
    """Count the active units of rows of `study.epochs`, at any threshold, from the stored vectors.

    Args:
        study: the output of `load`.
        threshold: a unit is active if its activity is above this.
        column: activity, activity_test, activity_pca, or any other vector.
        layer: count this stochastic layer alone, from 1, which is next to the data; None: all. NaN for trials without it.
        trial_ids: count these trials alone; None: all.

    Raises:
        LoadError: the column is not a vector of the stream, or no trial has such a layer.
        RecordError: as Study.vectors.
    """
    edges = None if layer is None else _edges(study, layer)
    places, counts = [np.zeros(0, np.int64)], [np.zeros(0)]
    codes = study.epochs["trial_id"].cat.codes.to_numpy()
    # File by file, as the vectors of a large study do not fit into memory.
    for block in study.vectors_by_file(trial_ids, column):
        with np.errstate(invalid="ignore"):
            running = np.concatenate([[0], np.cumsum(block.values > threshold)])
        last = np.cumsum(block.lengths)
        first = last - block.lengths
        if edges is not None:
            of_row = edges[codes[block.places]]
            first, last = np.minimum(first + of_row[:, 0], last), np.minimum(first + of_row[:, 1], last)
        found = (running[last] - running[first]).astype(float)
        if edges is not None:
            found[of_row[:, 0] == of_row[:, 1]] = np.nan
        places.append(block.places)
        counts.append(found)
    index = study.epochs.index[np.concatenate(places)]
    return pd.Series(np.concatenate(counts), index=index, name="active_units")


def _edges(study: Study, layer: int) -> NDArray[np.int64]:
    """Return first and last + 1 entry of a layer in the vector of every trial; equal where a trial has no such layer."""
    sizes = study.layer_sizes()
    depth = max(len(each) for each in sizes.values())
    if not 1 <= layer <= depth:
        raise LoadError(f"layer {layer}: trials of this study have {depth}, counted from 1, which is next to the data")
    of_trial = (sizes[one] for one in study.epochs["trial_id"].cat.categories)
    return np.array([(sum(each[: layer - 1]), sum(each[:layer])) for each in of_trial], np.int64)


def active_units(
    study: Study, thresholds: Sequence[float] = THRESHOLDS, column: str = "activity", epoch: int | None = None
) -> pd.DataFrame:
    """Count the active units of every trial at several thresholds, from the stored vectors.

    Args:
        study: the output of `load`.
        thresholds: a unit is active if its activity is above this.
        column: activity (fixed training images), activity_test, activity_pca (principal directions), or any other vector.
        epoch: the epoch to count at; None: the last one stored of each trial.

    Returns:
        One row per trial: trial_id, epoch, `above_T` for every threshold T, gap_units and gap_ratio (see gap).

    Raises:
        LoadError: the column is not a vector of the stream.
    """
    rows = study.epochs[["trial_id", "epoch"]]
    last = rows.groupby("trial_id", sort=False, observed=True)["epoch"].transform("max")
    is_wanted = (rows["epoch"] == (last if epoch is None else epoch)).to_numpy()
    wanted = rows["trial_id"][is_wanted].unique().tolist()
    found = []
    for block in study.vectors_by_file(wanted, column):
        ends = np.cumsum(block.lengths)
        for at in np.flatnonzero(is_wanted[block.places]):
            trial_id, reached = rows.iloc[block.places[at]]
            values = block.values[ends[at] - block.lengths[at] : ends[at]].astype(float)
            units, ratio = gap(values)
            counts = {f"above_{threshold:g}": int((values > threshold).sum()) for threshold in thresholds}
            found.append({"trial_id": trial_id, "epoch": reached, **counts, "gap_units": units, "gap_ratio": ratio})
    return pd.DataFrame(found)
