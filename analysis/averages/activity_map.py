"""Computes the log-activity map of one seed of a cell, epoch by unit (the paper's figure 3.3)."""

from collections.abc import Collection, Mapping, Sequence
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


def activity_map(study: Study, cell: Mapping[str, Any], seed: int | None = None, layer: int = 1) -> pd.DataFrame:
    """Compute the log-activity of every unit of one seed in every epoch.

        log10(max(A, FLOOR))

    The index of a unit means nothing across seeds, and its rank at an early epoch tells little about its end. Units of
    different seeds therefore have no common order, and a map is of one seed. Its units are sorted by their activity at
    epoch SORTED_AT, the most active first, as in the paper.

    Args:
        study: the output of `load`.
        cell: a level for every factor that varies, except the seed.
        seed: which one; None: the one that `map_seed` finds.
        layer: the stochastic layer, from 1, which is next to the data.

    Returns:
        epoch, unit (its rank at SORTED_AT, from 1), log10_activity, kl (nats, kl_per_unit in the same order), seed,
        n_planned (seeds of the cell), threshold; no rows until the seed has epoch SORTED_AT.

    Raises:
        AverageError: the levels in `cell` leave more than one cell, or it has no such seed.
    """
    trials = _trials_of(study, cell)
    seed = map_seed(study, [("", cell)]) if seed is None else seed
    if seed is not None and seed not in trials["seed"].tolist():
        known = ", ".join(map(str, sorted(trials["seed"])))
        raise AverageError(f"activity_map: the cell has no seed {seed}; its seeds are {known}")
    trial_ids = trials["trial_id"][trials["seed"] == seed].tolist()
    found = matrices(study, trial_ids)
    for trial_id, (epochs, values) in found.items():
        sizes = study.layer_sizes()[trial_id]
        units = slice(sum(sizes[: layer - 1]), sum(sizes[:layer]))
        at = np.flatnonzero(epochs == SORTED_AT)
        if len(at):
            order = np.argsort(-values[at[0], units], kind="stable")
            log = np.log10(np.maximum(values[:, units][:, order].astype(float), FLOOR))
            kl = matrices(study, trial_ids, "kl_per_unit")[trial_id][1][:, units][:, order].astype(float)
            return pd.DataFrame(
                {
                    "epoch": epochs.repeat(log.shape[1]),
                    "unit": np.tile(np.arange(1, log.shape[1] + 1), len(epochs)),
                    "log10_activity": log.ravel(),
                    "kl": kl.ravel(),
                    "seed": seed,
                    "n_planned": len(trials),
                    "threshold": study.threshold,
                }
            )
    return pd.DataFrame(columns=["epoch", "unit", "log10_activity", "kl", "seed", "n_planned", "threshold"])


def map_seed(study: Study, cells: Sequence[tuple[str, Mapping[str, Any]]]) -> int | None:
    """Return the seed whose maps of some cells can be compared: the lowest one that completed in all of them.

    Without one it is the lowest seed that has epoch SORTED_AT in all of them, then the lowest that has it in any of them;
    None if there is none.
    """
    trials = [_trials_of(study, cell) for _, cell in cells]
    started = set(study.epochs["trial_id"][study.epochs["epoch"] == SORTED_AT])
    completed = [set(rows["seed"][rows["status"] == "completed"]) for rows in trials]
    begun = [set(rows["seed"][rows["trial_id"].isin(started)]) for rows in trials]
    ranks = [set.intersection(*completed) & set.intersection(*begun), set.intersection(*begun), set.union(*begun)]
    return next((int(min(seeds)) for seeds in ranks if seeds), None)


def passed_over(study: Study, cells: Sequence[tuple[str, Mapping[str, Any]]], seed: int) -> str:
    """Name the lower seeds that the maps of some cells do not show, and why; empty if there are none."""
    reasons = dict(zip(study.missing["trial_id"], study.missing["reason"], strict=True))
    said = []
    for label, cell in cells:
        trials = _trials_of(study, cell).sort_values("seed")
        for trial_id, other in zip(trials["trial_id"], trials["seed"], strict=True):
            if trial_id in reasons and other <= seed:
                said.append(f"{label}: seed {other} {reasons[trial_id]}")
    return "; ".join(said)


def _trials_of(study: Study, cell: Mapping[str, Any]) -> pd.DataFrame:
    trials = select(study, cell)
    if trials["seed"].duplicated().any():
        raise AverageError("activity_map takes one cell, but several match; give a level for every factor that varies")
    return trials


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
