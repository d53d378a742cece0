"""The log-activity map of a cell (the paper's figure 3.3): what is averaged, and in which order; draws nothing."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.average import AverageError, select
from analysis.load import Study

FLOOR = 1e-4
"""Activities below this count as this: their logarithm is noise, and that of 0 is not a number."""

SORTED_AT = 1
"""The epoch whose activities order the units: at epoch 0 they only order random projections."""


def activity_map(study: Study, cell: Mapping[str, Any], layer: int = 1) -> pd.DataFrame:
    """Mean over seeds of the log-activity of every unit in every epoch.

        mean over seeds of log10(max(A, FLOOR))    the logarithm of the geometric mean

    The index of a unit means nothing across seeds, so each seed's units are ordered by themselves, by their activity
    at epoch SORTED_AT, the most active first, before seeds are averaged.

    Args:
        study: what `load` gave.
        cell: a level for every factor but the seed that varies.
        layer: the stochastic layer, from 1, which is next to the data.

    Returns:
        epoch, unit (its rank, from 1), log10_activity, kl (nats, mean over seeds of kl_per_unit in the same order),
        n (seeds), n_planned, missing, threshold; no row before a seed has epoch 1.

    Raises:
        AverageError: the factors of `cell` leave more than one cell.
    """
    trials = select(study, cell)
    if trials["seed"].duplicated().any():
        raise AverageError("activity_map: takes one cell; give a level for every factor that varies")
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
    frames = []
    absent = _Absent(study, trials)
    for epoch in np.unique(np.concatenate([epochs for epochs, _, _ in maps.values()])):
        here = {one: int(np.flatnonzero(maps[one][0] == epoch)[0]) for one in maps if epoch in maps[one][0]}
        log = np.stack([maps[one][1][place] for one, place in here.items()]).mean(axis=0)
        kl = np.stack([maps[one][2][place] for one, place in here.items()]).mean(axis=0)
        ranks = np.arange(1, len(log) + 1)
        columns = {"epoch": int(epoch), "unit": ranks, "log10_activity": log, "kl": kl, "n": len(here)}
        frames.append(pd.DataFrame({**columns, "n_planned": len(trials), "missing": absent.from_epoch(here)}))
    return pd.concat(frames, ignore_index=True).assign(threshold=study.threshold)


def matrices(
    study: Study, trial_ids: Collection[str], column: str = "activity"
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The epochs of each trial that are stored, rising, and its vectors [epoch, entry]; trials without rows are absent."""
    rows, lengths, values = study.vectors(trial_ids, column)
    starts = np.cumsum(lengths) - lengths
    epochs = rows["epoch"].to_numpy().astype(np.int64)
    found = {}
    for trial_id, places in rows.reset_index(drop=True).groupby("trial_id", sort=False).indices.items():
        order = np.asarray(places)[np.argsort(epochs[places])]
        entries = starts[order][:, None] + np.arange(lengths[order[0]])
        found[str(trial_id)] = (epochs[order], values[entries])
    return found


class _Absent:
    """Which seeds of a cell are not in the map of an epoch, and why."""

    def __init__(self, study: Study, trials: pd.DataFrame) -> None:
        reasons = dict(zip(study.missing["trial_id"], study.missing["reason"], strict=True))
        ordered = trials.sort_values("seed")
        self._words = {
            trial_id: f"seed {seed} {reasons.get(trial_id, 'no finite value')}"
            for seed, trial_id in zip(ordered["seed"], ordered["trial_id"], strict=True)
        }

    def from_epoch(self, present: Collection[str]) -> str:
        """In words; empty if none is."""
        return "; ".join(words for trial_id, words in self._words.items() if trial_id not in present)
