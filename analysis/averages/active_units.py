"""How many units are active: at any threshold, and where the activities themselves leave a gap; draws nothing."""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.loading.study import LoadError, Study

THRESHOLDS = (0.001, 0.01, 0.1)
"""Burda et al. 2016 take 0.01, Bettencourt and Craddock 0.1."""

FLOOR = 1e-8
"""Activities below this count as this: a ratio to rounding errors means nothing."""


def gap(activity: ArrayLike) -> tuple[int, float]:
    """Where the sorted activities fall most: how many units lie above the gap, and by which factor they do.

        argmax_i A_(i) / A_(i+1),   A_(1) >= A_(2) >= ...

    A count of active units that needs no threshold; a ratio near 1 says that there is no gap. A single unit has none:
    (1, nan).
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
    """Active units of rows of `study.epochs`, at any threshold, from the stored vectors.

    Args:
        study: what `load` gave.
        threshold: a unit is active if its activity is above this.
        column: activity, activity_test, activity_pca, or any other vector.
        layer: of that stochastic layer alone, from 1, which is next to the data; None: of all. Trials without it have none.
        trial_ids: of these trials alone; None: of all.

    Raises:
        LoadError: the column is no vector of the stream, or no trial has such a layer.
        RecordError: as Study.vectors.
    """
    edges = None if layer is None else _edges(study, layer)
    places, counts = [np.zeros(0, np.int64)], [np.zeros(0)]
    codes = study.epochs["trial_id"].cat.codes.to_numpy()
    # File by file: the vectors of a large study do not fit into memory.
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
    """For every trial between which entries of a vector the units of a layer lie; nothing where it has no such layer."""
    sizes = study.layer_sizes()
    depth = max(len(each) for each in sizes.values())
    if not 1 <= layer <= depth:
        raise LoadError(f"layer {layer}: trials of this study have {depth}, counted from 1, which is next to the data")
    of_trial = (sizes[one] for one in study.epochs["trial_id"].cat.categories)
    return np.array([(sum(each[: layer - 1]), sum(each[:layer])) for each in of_trial], np.int64)


def active_units(
    study: Study, thresholds: Sequence[float] = THRESHOLDS, column: str = "activity", epoch: int | None = None
) -> pd.DataFrame:
    """Active units of every trial at any threshold, from the stored vectors.

    Args:
        study: what `load` gave.
        thresholds: a unit is active if its activity is above this.
        column: activity (fixed training images), activity_test, activity_pca (principal directions), or any other vector.
        epoch: None: the last one stored of each trial.

    Returns:
        trial_id, epoch, a column `above_T` for every threshold T, gap_units and gap_ratio (see gap).

    Raises:
        LoadError: the column is no vector of the stream.
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
