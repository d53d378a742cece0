"""Puts the seeds' own values into a table of means, where there are too few seeds for an interval to be drawn."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.averages.active_units import count_active
from analysis.averages.activity_map import FLOOR, matrices
from analysis.averages.average import select, values_by_epoch
from analysis.averages.one_factor import Cells
from analysis.loading.study import Study

FEW = 4
"""Means of fewer seeds are drawn with the seeds themselves: the t interval of two seeds is 12.7 standard errors wide on
either side, and can be wider than everything else in a figure."""

SEED = "seed_"
"""How the names of the seeds' columns begin."""


def with_seeds(
    study: Study,
    table: pd.DataFrame,
    cells: Cells,
    value: str | Mapping[str, pd.Series],
    *,
    threshold: float | None = None,
    layer: int | None = None,
) -> pd.DataFrame:
    """Return a table of means with what is drawn around each mean: its interval, or the seeds where n is below FEW.

    Args:
        study: the output of `load`.
        table: label, epoch, mean, low, high, n: the output of `one_factor.curves`, `cell_curves` or `pruning`.
        cells: the cell of every label in the table.
        value: a column of `study.epochs`; or one value per row of it, by label.
        threshold: see `average`.
        layer: see `average`.

    Returns:
        The table without low and high where n is below FEW; `seed_0` ... (one column per seed, null where n is FEW or more);
        and, for active_units, `units`: how many units there are to count.
    """
    frames = []
    for label, cell in cells:
        trials = select(study, cell)
        values = value if isinstance(value, str) else value[label]
        if isinstance(values, str) and (threshold is not None or layer is not None):
            limit = study.threshold if threshold is None else threshold
            counts = count_active(study, limit, layer=layer, trial_ids=trials["trial_id"].tolist())
            values = counts.reindex(study.epochs.index)
        epochs, found = values_by_epoch(study, trials, values, "every")
        own = found.to_numpy(float).T
        frame = pd.DataFrame(np.where(np.isfinite(own), own, np.nan), columns=_columns(trials))
        frame.insert(0, "label", label)
        frame.insert(1, "epoch", epochs)
        if value == "active_units":
            sizes = [sum(size) if layer is None else size[layer - 1] for size in trials["layer_sizes"]]
            frame["units"] = max(sizes)
        frames.append(frame)
    return _joined(table, pd.concat(frames, ignore_index=True), "epoch")


def ranked_with_seeds(study: Study, table: pd.DataFrame, cells: Cells, column: str) -> pd.DataFrame:
    """Return a table of `ranked_units.ranked` with the seeds' own sorted units where n is below FEW; see with_seeds."""
    frames = []
    for label, cell in cells:
        trials = select(study, cell)
        rows = table[table["label"] == label]
        stored = matrices(study, trials["trial_id"].tolist(), column)
        own = np.full((len(rows), len(trials)), np.nan)
        for place, trial_id in enumerate(trials["trial_id"]):
            epochs, vectors = stored.get(trial_id, (np.zeros(0, np.int64), np.zeros((0, 0), np.float32)))
            for at in np.flatnonzero(epochs == rows["epoch"].iloc[0]):
                found = np.sort(vectors[at].astype(float))[::-1]
                own[: len(found), place] = np.maximum(found, FLOOR) if column.startswith("activity") else found
        frame = pd.DataFrame(own, columns=_columns(trials))
        frame.insert(0, "label", label)
        frame.insert(1, "rank", rows["rank"].to_numpy())
        frames.append(frame)
    return _joined(table, pd.concat(frames, ignore_index=True), "rank")


def _columns(trials: pd.DataFrame) -> list[str]:
    return [f"{SEED}{seed}" for seed in trials["seed"]]


def _joined(table: pd.DataFrame, seeds: pd.DataFrame, key: str) -> pd.DataFrame:
    """Add the seeds to the means of the same label and place, each where it is drawn."""
    whole = table.merge(seeds, on=["label", key], how="left", validate="one_to_one")
    return interval_or_seeds(whole)


def interval_or_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with both, without low and high where n is below FEW, and without `seed_0` ... elsewhere."""
    table = table.copy()
    is_few = table["n"] < FEW
    table.loc[is_few, ["low", "high"]] = np.nan
    table.loc[~is_few, seed_columns(table)] = np.nan
    return table


def seed_columns(table: pd.DataFrame) -> list[str]:
    """Return the names of the columns that hold the values of single seeds."""
    return [name for name in map(str, table) if name.startswith(SEED)]
