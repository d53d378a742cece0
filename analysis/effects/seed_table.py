"""One number a seed and cell, with the reasons of those that are absent; judges nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.averages.average import select, values_by_epoch
from analysis.loading.labels import cell_text
from analysis.loading.study import Study
from analysis.stats.estimate import COUNT_FLOOR, Floats
from workers.contract.column import UNITS
from workers.contract.columns import COLUMNS, unit_of_column

_BETTER = {"higher": True, "lower": False}

_EPOCHS_TO_TARGET = "epochs_to_target"
"""The one number of `convergence` that is better where it is lower; no stored column."""

NOT_SHARED = ("k", "n_z", "fingerprint", "training.batch_size", "objective.iwae_tile_bug")
"""Factors across which random streams differ in shape, so that equal seeds share little."""


@dataclass(frozen=True, eq=False)
class SeedTable:
    """Values [seed, cell] of one measure, in nats per example or its own unit; what is absent says why."""

    name: str
    epoch: int
    values: pd.DataFrame
    """A row a seed, a column a cell (as in `names`), NaN where absent."""
    reasons: pd.DataFrame
    """Why a value is absent; empty text where it is not."""
    diverged: pd.DataFrame
    """Whether the trial diverged before it had this value."""
    ended: pd.DataFrame
    """Whether the trial was planned and has completed or diverged."""
    factors: tuple[str, ...]
    """What varies among the cells, in the study's order."""
    cells: tuple[tuple[Any, ...], ...]
    """The levels of `factors`, a column each."""
    levels: Mapping[str, tuple[Any, ...]]
    """Of every factor in `factors` those that some cell has, in the study's order."""

    @property
    def names(self) -> list[str]:
        """The columns: a cell as it is typed, by what varies."""
        return [str(name) for name in self.values.columns]

    def weights(self, level_weights: Mapping[str, Mapping[Any, float]]) -> Floats:
        """A weight a cell: the product over factors of its level's weight, 0 for a level that is not named."""
        places = [(self.factors.index(name), of_level) for name, of_level in level_weights.items()]
        found = [np.prod([of_level.get(cell[place], 0.0) for place, of_level in places]) for cell in self.cells]
        return np.array(found, float)


def per_seed(
    study: Study,
    value: str | pd.Series,
    at: Mapping[str, Any] | None = None,
    epoch: int | Literal["last"] = "last",
) -> SeedTable:
    """One number a seed and cell, of every cell planned at some levels; a cell is never pooled with another.

    Args:
        study: what `load` gave.
        value: what `average` takes, or a number a trial: a Series with trial_id as index (see `convergence`).
        at: factor to level, or to a list of levels: only those cells.
        epoch: as in `average`.

    Raises:
        AverageError: a name, level or epoch does not exist.
    """
    trials = select(study, at)
    name = value if isinstance(value, str) else str(value.name or "value")
    if isinstance(value, str) or value.index.equals(study.epochs.index):
        epochs, wide = values_by_epoch(study, trials, value, epoch)
        numbers, reached = wide.to_numpy(float)[:, 0], int(epochs[0])
    else:
        numbers, reached = value.reindex(trials["trial_id"]).to_numpy(float), int(trials["epochs_goal"].max())
    numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    factors = tuple(one for one in study.cell_factors if trials[one].nunique() > 1)
    keys = list(zip(*(trials[one].tolist() for one in factors), strict=True)) if factors else [()] * len(trials)
    rank = {one: {level: place for place, level in enumerate(study.factors[one])} for one in factors}
    cells = sorted(set(keys), key=lambda key: [rank[one][level] for one, level in zip(factors, key, strict=True)])
    # The study's own levels: those of a frame are numpy's, and read differently.
    cells = [tuple(study.factors[one][rank[one][level]] for one, level in zip(factors, key, strict=True)) for key in cells]
    whole = {one: trials[one].tolist()[0] for one in study.cell_factors}
    names = [cell_text(dict(zip(factors, key, strict=True)) or whole) for key in cells]
    place = {key: column for column, key in enumerate(cells)}
    seeds = [seed for seed in study.factors["seed"] if seed in set(trials["seed"])]
    row_of = {seed: row for row, seed in enumerate(seeds)}
    shape = (len(seeds), len(cells))
    values = np.full(shape, np.nan)
    reasons = np.full(shape, "not planned", object)
    diverged, ended = np.zeros(shape, bool), np.zeros(shape, bool)
    why = dict(zip(study.missing["trial_id"], study.missing["reason"], strict=True))
    columns = (trials["seed"], keys, trials["trial_id"], trials["status"], numbers)
    for seed, key, trial_id, status, number in zip(*columns, strict=True):
        spot = row_of[seed], place[key]
        values[spot] = number
        reasons[spot] = "" if np.isfinite(number) else why.get(trial_id, "no finite value")
        diverged[spot] = status == "diverged" and np.isnan(number)
        # Of one that failed for another reason it is not known whether it would have diverged.
        ended[spot] = status in ("completed", "diverged")
    index = pd.Index(seeds, name="seed")

    def frame(array: Any) -> pd.DataFrame:
        return pd.DataFrame(array, index=index, columns=names)

    levels = {one: tuple(lv for lv in study.factors[one] if lv in set(trials[one])) for one in factors}
    return SeedTable(
        name, reached, frame(values), frame(reasons), frame(diverged), frame(ended), factors, tuple(cells), levels
    )


def floor_of(name: str) -> float:
    """Least variance of a value: that of rounding for counts of units."""
    return COUNT_FLOOR if unit_of_column(name) == UNITS else 0.0


def direction_of(name: str) -> bool | None:
    """Whether higher is better; None where neither is."""
    if name == _EPOCHS_TO_TARGET:
        return False
    return _BETTER.get(COLUMNS[name].better) if name in COLUMNS else None


def is_paired(factors: tuple[str, ...]) -> bool:
    """The default of every effect: pair by seed where a contrasted factor leaves the random streams as they are.

    Equal seeds share initial weights, order and noise across cells of the same K and n_z. Where K or n_z itself is
    contrasted, the streams differ in shape: pairs would halve the degrees of freedom for nothing, so Welch.
    """
    return any(name not in NOT_SHARED and not name.startswith(("data.", "model.hidden", "model.layers")) for name in factors)
