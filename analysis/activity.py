"""The log-activity map of a cell (the paper's figure 3.3): what is averaged, and in which order; draws nothing."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.average import AverageError, select
from analysis.load import Study

FLOOR = 1e-4
"""Activities below this count as this: their logarithm is noise, and that of 0 is not a number."""

SORTED_AT = 1
"""The epoch whose activities order the units: at epoch 0 they only order random projections."""


def activity_map(study: Study, cell: Mapping[str, Any]) -> pd.DataFrame:
    """Mean over seeds of the log-activity of every unit in every epoch.

        mean over seeds of log10(max(A, FLOOR))    the logarithm of the geometric mean

    The index of a unit means nothing across seeds, so each seed's units are ordered by themselves, by their activity
    at epoch SORTED_AT, the most active first, before seeds are averaged.

    Args:
        study: what `load` gave.
        cell: a level for every factor but the seed that varies.

    Returns:
        epoch, unit (its rank, from 1), log10_activity, n (seeds), n_planned, threshold; no row before a seed has epoch 1.

    Raises:
        AverageError: the factors of `cell` leave more than one cell.
    """
    trials = select(study, cell)
    if trials["seed"].duplicated().any():
        raise AverageError("activity_map: takes one cell; give a level for every factor that varies")
    rows = study.activity(trials["trial_id"].tolist())
    maps = [_log_map(one) for _, one in rows.groupby("trial_id", observed=True) if (one["epoch"] == SORTED_AT).any()]
    if not maps:
        return pd.DataFrame(columns=["epoch", "unit", "log10_activity", "n", "n_planned", "threshold"])
    stacked = pd.concat(maps).groupby(["epoch", "unit"], as_index=False)["log10_activity"].agg(["mean", "count"])
    stacked = stacked.rename(columns={"mean": "log10_activity", "count": "n"})
    return stacked.assign(n_planned=len(trials), threshold=study.threshold)


def _log_map(rows: pd.DataFrame) -> pd.DataFrame:
    first = rows[rows["epoch"] == SORTED_AT].set_index("unit")["activity"]
    rank = first.rank(method="first", ascending=False).astype(int)
    log = np.log10(np.maximum(rows["activity"].astype(float), FLOOR))
    return pd.DataFrame({"epoch": rows["epoch"], "unit": rows["unit"].map(rank), "log10_activity": log})
