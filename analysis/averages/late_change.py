"""Computes by how much the bound of every cell still changes when its training ends."""

import numpy as np
import pandas as pd

from analysis.averages.average import average
from analysis.loading.study import Study

LATE_SHARE = 0.1
"""The share of the epochs, at the end of training, over which the change of the bound is reported."""


def late_change(study: Study) -> pd.DataFrame:
    """Compute by how much the mean test bound of every cell still changed over the last tenth of its epochs.

    Returns:
        The factors of cells that vary, from and to (epochs), change (nats per example); only cells that have both epochs.
    """
    names = [name for name in study.cell_factors if len(study.factors[name]) > 1]
    curves = average(study, "test_bound", names, epoch="every")
    curves = curves[curves["n"] > 0]
    rows = []
    for _, one in curves.groupby(names, sort=False) if names else [((), curves)]:
        last = int(one["epoch"].max())
        first = last - max(1, round(LATE_SHARE * last))
        ends = one[one["epoch"].isin([first, last])].sort_values("epoch")
        # A change of n is no change of the bound.
        if first > 0 and len(ends) == 2 and ends["n"].nunique() == 1:
            levels = {name: one[name].tolist()[0] for name in names}
            rows.append({**levels, "from": first, "to": last, "change": float(np.diff(ends["mean"].to_numpy(float))[0])})
    return pd.DataFrame(rows, columns=[*names, "from", "to", "change"])
