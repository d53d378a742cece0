"""Computes the log-activity map of a cell, epoch by unit (the paper's figure 3.3)."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.averages.average import AverageError, select
from analysis.loading.study import Study

FLOOR = 1e-4
"""Smaller activities are set to this: their logarithm is noise, and that of 0 is not finite."""

SORTED_AT = 1
"""The epoch whose activities order the units; those of epoch 0 would only order random projections."""


def activity_map(study: Study, cell: Mapping[str, Any], layer: int = 1) -> pd.DataFrame:
    """Compute the mean over seeds of the log-activity of every unit in every epoch.

        mean over seeds of log10(max(A, FLOOR)),    the logarithm of the geometric mean

    The index of a unit means nothing across seeds. So the units of each seed are sorted by their own activity at epoch
    SORTED_AT, the most active first, before seeds are averaged.

    Args:
        study: the output of `load`.
        cell: a level for every factor that varies, except the seed.
        layer: the stochastic layer, from 1, which is next to the data.

    Returns:
        epoch, unit (its rank, from 1), log10_activity, kl (nats, mean over seeds of kl_per_unit in the same order),
        n (seeds), n_planned, missing, threshold; no rows until a seed has epoch 1.

    Raises:
        AverageError: the levels in `cell` leave more than one cell.
    """
    trials = select(study, cell)
    if trials["seed"].duplicated().any():
        raise AverageError("activity_map takes one cell, but several match; give a level for every factor that varies")
    active = matrices(study, trials["trial_id"].tolist())
    nats = matrices(study, trials["trial_id"].tolist(), "kl_per_unit")
    sizes = study.layer_sizes()
    maps = {}
    for trial_id, (epochs, values) in active.items():
        units = slice(sum(sizes[trial_id][: layer - 1]), sum(sizes[trial_id][:layer]))
        at = np.flatnonzero(epochs == SORTED_AT)
        if len(at):
            order = np.argsort(-values[at[0], units], kind="stable")
            log = np.log10(np.maximum(values[:, units][:, order].astype(float), FLOOR))
            maps[trial_id] = (epochs, log, nats[trial_id][1][:, units][:, order].astype(float))
    if not maps:
        return pd.DataFrame(columns=["epoch", "unit", "log10_activity", "kl", "n", "n_planned", "missing", "threshold"])
    every = np.unique(np.concatenate([epochs for epochs, _, _ in maps.values()]))
    units = max(log.shape[1] for _, log, _ in maps.values())
    has = np.zeros((len(maps), len(every)), bool)
    sums = np.zeros((2, len(every), units))
    for row, (epochs, log, kl) in enumerate(maps.values()):
        at = np.searchsorted(every, epochs)
        has[row, at] = True
        sums[:, at] += (log, kl)
    n = has.sum(axis=0)
    means = sums / n[:, None]
    absent = _Absent(study, trials)
    ids = np.array(list(maps))
    # There are few patterns and many epochs.
    patterns, place = np.unique(has, axis=1, return_inverse=True)
    words = np.array([absent.from_epoch(set(ids[pattern])) for pattern in patterns.T], object)
    return pd.DataFrame(
        {
            "epoch": every.repeat(units),
            "unit": np.tile(np.arange(1, units + 1), len(every)),
            "log10_activity": means[0].ravel(),
            "kl": means[1].ravel(),
            "n": n.repeat(units),
            "n_planned": len(trials),
            "missing": words[np.ravel(place)].repeat(units),
            "threshold": study.threshold,
        }
    )


def matrices(
    study: Study, trial_ids: Collection[str], column: str = "activity"
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Return each trial's stored epochs, ascending, and its vectors [epoch, entry]; trials without rows are absent.

    Raises:
        LoadError, RecordError: see Study.vectors.
    """
    rows, lengths, values = study.vectors(trial_ids, column)
    starts = np.cumsum(lengths) - lengths
    epochs = rows["epoch"].to_numpy().astype(np.int64)
    trials = rows["trial_id"].cat
    codes = trials.codes.to_numpy()
    order = np.lexsort((epochs, codes))
    borders = np.flatnonzero(np.diff(codes[order])) + 1
    found = {}
    for some in np.split(order, borders) if len(order) else ():
        entries = starts[some][:, None] + np.arange(lengths[some[0]])
        found[str(trials.categories[codes[some[0]]])] = (epochs[some], values[entries])
    return found


class _Absent:
    """Tells which seeds of a cell are missing from the map of an epoch, and why."""

    def __init__(self, study: Study, trials: pd.DataFrame) -> None:
        reasons = dict(zip(study.missing["trial_id"], study.missing["reason"], strict=True))
        ordered = trials.sort_values("seed")
        self._words = {
            trial_id: f"seed {seed} {reasons.get(trial_id, 'no finite value')}"
            for seed, trial_id in zip(ordered["seed"], ordered["trial_id"], strict=True)
        }

    def from_epoch(self, present: Collection[str]) -> str:
        """Name the seeds that are not among `present`; empty if there are none."""
        return "; ".join(words for trial_id, words in self._words.items() if trial_id not in present)
