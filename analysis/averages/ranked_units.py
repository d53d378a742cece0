"""Averages the units of trained models by rank over seeds: the activity spectrum and the KL per unit."""

import numpy as np
import pandas as pd

from analysis.averages.activity_map import FLOOR, matrices
from analysis.averages.average import AverageError, select, summarise
from analysis.averages.one_factor import Cells
from analysis.loading.study import Study


def ranked(study: Study, cells: Cells, column: str = "activity") -> pd.DataFrame:
    """Compute the mean over seeds of the r-th largest entry of a vector at the last planned epoch, cell by cell.

    The index of a unit means nothing across seeds, but its rank does. Activities are averaged as logarithms (floor FLOOR),
    everything else as it is; the interval is that of `average`.

    Returns:
        label, rank (from 1), mean, low, high, n, n_planned, missing, epoch, threshold.

    Raises:
        AverageError: the levels of a cell leave more than one cell.
    """
    is_log = column.startswith("activity")
    frames = []
    for label, cell in cells:
        trials = select(study, cell)
        if trials["seed"].duplicated().any():
            raise AverageError("ranked takes single cells, but several match; give a level for every factor that varies")
        goal = int(trials["epochs_goal"].max())
        stored = matrices(study, trials["trial_id"].tolist(), column)
        units = max(sum(sizes) for sizes in trials["layer_sizes"])
        values = np.full((len(trials), units), np.nan)
        for place, trial_id in enumerate(trials["trial_id"]):
            if trial_id not in stored or goal not in stored[trial_id][0]:
                continue
            found = np.sort(stored[trial_id][1][-1].astype(float))[::-1]
            values[place, : len(found)] = np.log10(np.maximum(found, FLOOR)) if is_log else found
        reasons = dict(zip(study.missing["trial_id"], study.missing["reason"], strict=True))
        why = {
            seed: reasons.get(trial_id, "no finite value")
            for seed, trial_id in zip(trials["seed"], trials["trial_id"], strict=True)
        }
        table = summarise(values, why, np.arange(1, units + 1)).rename(columns={"epoch": "rank"})
        if is_log:
            table[["mean", "low", "high"]] = 10 ** table[["mean", "low", "high"]]
        table.insert(0, "label", label)
        frames.append(table.assign(epoch=goal, threshold=study.threshold))
    return pd.concat(frames, ignore_index=True)
