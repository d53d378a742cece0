"""Averages the units of trained models by rank over seeds: the activity spectrum and the KL per unit."""

import numpy as np
import pandas as pd

from analysis.averages.activity_map import FLOOR, matrices
from analysis.averages.average import NO_VALUE, AverageError, select, summarise
from analysis.averages.one_factor import Cells
from analysis.loading.study import Study


def ranked(study: Study, cells: Cells, column: str = "activity") -> pd.DataFrame:
    """Compute the mean over seeds of the r-th largest entry of a vector, cell by cell.

    All cells are taken at one epoch: the last that each of their trials is planned to reach.

    The index of a unit means nothing across seeds, but its rank does. Activities are averaged as logarithms (floor FLOOR),
    everything else as it is; the interval is that of `average`.

    Returns:
        label, rank (from 1), mean, low, high, n, n_planned, missing, epoch, threshold.

    Raises:
        AverageError: the levels of a cell leave more than one cell.
    """
    is_log = column.startswith("activity")
    frames = []
    chosen = [(label, select(study, cell)) for label, cell in cells]
    epoch = min(int(trials["epochs_goal"].min()) for _, trials in chosen)
    for label, trials in chosen:
        if trials["seed"].duplicated().any():
            raise AverageError("ranked takes single cells, but several match; give a level for every factor that varies")
        stored = matrices(study, trials["trial_id"].tolist(), column)
        units = max(sum(sizes) for sizes in trials["layer_sizes"])
        values = np.full((len(trials), units), np.nan)
        for place, trial_id in enumerate(trials["trial_id"]):
            if trial_id not in stored or epoch not in stored[trial_id][0]:
                continue
            epochs, vectors = stored[trial_id]
            found = np.sort(vectors[int(np.searchsorted(epochs, epoch))].astype(float))[::-1]
            values[place, : len(found)] = np.log10(np.maximum(found, FLOOR)) if is_log else found
        reasons = dict(zip(study.missing["trial_id"], study.missing["reason"], strict=True))
        why = {
            seed: reasons.get(trial_id, NO_VALUE) for seed, trial_id in zip(trials["seed"], trials["trial_id"], strict=True)
        }
        table = summarise(values, why, np.arange(1, units + 1)).rename(columns={"epoch": "rank"})
        if is_log:
            table[["mean", "low", "high"]] = 10 ** table[["mean", "low", "high"]]
        table.insert(0, "label", label)
        frames.append(table.assign(epoch=epoch, threshold=study.threshold))
    return pd.concat(frames, ignore_index=True)
