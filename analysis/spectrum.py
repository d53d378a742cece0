"""How many units are active: at any threshold, and where the activities themselves leave a gap; draws nothing."""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analysis.load import LoadError, Study

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
    """
    rows, lengths, values = study.vectors(trial_ids, column)
    with np.errstate(invalid="ignore"):
        above = values > threshold
    starts = np.cumsum(lengths) - lengths
    if layer is None:
        first, last = starts, starts + lengths
    else:
        sizes = study.layer_sizes()
        depth = max(len(each) for each in sizes.values())
        if not 1 <= layer <= depth:
            raise LoadError(f"layer {layer}: trials of this study have {depth}, counted from 1, which is next to the data")
        edges = {one: (sum(each[: layer - 1]), sum(each[:layer])) for one, each in sizes.items()}
        of_row = np.array([edges[one] for one in rows["trial_id"]], np.int64).reshape(-1, 2)
        first, last = starts + of_row[:, 0], starts + of_row[:, 1]
        has = np.array([len(sizes[one]) >= layer for one in rows["trial_id"]], bool)
    running = np.concatenate([[0], np.cumsum(above)])
    counts = (running[last] - running[first]).astype(float)
    if layer is not None:
        counts[~has] = np.nan
    return pd.Series(counts, index=rows.index, name="active_units")


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
    last = rows.groupby("trial_id", sort=False)["epoch"].transform("max")
    wanted = rows[rows["epoch"] == (last if epoch is None else epoch)]
    long = study.activity(wanted["trial_id"].tolist(), column).merge(wanted, on=["trial_id", "epoch"])
    found = []
    for (trial_id, at), one in long.groupby(["trial_id", "epoch"], sort=False, observed=True):
        values = one[column].to_numpy(float)
        units, ratio = gap(values)
        counts = {f"above_{threshold:g}": int((values > threshold).sum()) for threshold in thresholds}
        found.append({"trial_id": trial_id, "epoch": at, **counts, "gap_units": units, "gap_ratio": ratio})
    return pd.DataFrame(found)
