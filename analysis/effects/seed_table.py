"""Collects one number per seed and cell, with the reason where one is absent."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.averages.average import NO_VALUE, AverageError, reason_at, select, values_by_epoch
from analysis.averages.average import floor_of as floor_of
from analysis.averages.estimators import kl_estimator
from analysis.averages.lengths import refusal
from analysis.loading.labels import PLAIN, Labels, cell_text
from analysis.loading.study import Study
from analysis.stats.estimate import Floats
from workers.contract.columns import COLUMNS

_BETTER = {"higher": True, "lower": False}

_EPOCHS_TO_TARGET = "epochs_to_target"
"""The only number of `convergence` of which less is better; it is not a stored column."""

NOT_SHARED = ("k", "n_z", "fingerprint", "training.batch_size", "objective.iwae_tile_bug")
"""Factors whose levels differ in the shape of their random streams, so that equal seeds share little."""


@dataclass(frozen=True, eq=False)
class SeedTable:
    """Values [seed, cell] of one measure in its unit, with the reason for every absent value."""

    name: str
    epoch: int
    values: pd.DataFrame
    """One row per seed, one column per cell (as in `names`); NaN where absent."""
    reasons: pd.DataFrame
    """Why a value is absent; an empty text where it is not."""
    diverged: pd.DataFrame
    """Whether the trial diverged before it had this value."""
    ended: pd.DataFrame
    """Whether the trial was planned and has completed or diverged."""
    factors: tuple[str, ...]
    """What varies among the cells, in the study's order."""
    cells: tuple[tuple[Any, ...], ...]
    """The levels of `factors`, one entry per column."""
    levels: Mapping[str, tuple[Any, ...]]
    """For every factor in `factors`, the levels that some cell has, in the study's order."""
    estimators: tuple[str, ...]
    """How the trials of each cell take the KL: see `estimators.kl_estimator`."""
    labels: Labels = PLAIN
    has_sampled: bool = False
    """Whether the study has cells of the decoder at objective.kl = sampled, with which K can be compared."""

    @property
    def names(self) -> list[str]:
        """The columns: each cell as it is typed, by the factors that vary."""
        return [str(name) for name in self.values.columns]

    def weights(self, level_weights: Mapping[str, Mapping[Any, float]]) -> Floats:
        """Return one weight per cell: the product over factors of its level's weight, 0 for a level that is not named."""
        places = [(self.factors.index(name), of_level) for name, of_level in level_weights.items()]
        found = [np.prod([of_level.get(cell[place], 0.0) for place, of_level in places]) for cell in self.cells]
        return np.array(found, float)


def per_seed(
    study: Study,
    value: str | pd.Series,
    at: Mapping[str, Any] | None = None,
    epoch: int | Literal["last"] = "last",
) -> SeedTable:
    """Return one number per seed and cell, for every cell planned at some levels; cells are never pooled.

    Args:
        study: the output of `load`.
        value: what `average` takes, or one number per trial: a Series with trial_id as index (see `convergence`).
        at: factor to level, or to a list of levels: only those cells.
        epoch: `last` is the last epoch that all of these cells are planned to reach; a number is that epoch, from which also
            one number per trial is then said to be.

    Raises:
        AverageError: a name, level or epoch does not exist; or the value is one per trial, and the lengths differ.
    """
    trials = select(study, at)
    name = value if isinstance(value, str) else str(value.name or "value")
    if isinstance(value, str) or value.index.equals(study.epochs.index):
        epochs, wide = values_by_epoch(study, trials, value, epoch)
        numbers, reached = wide.to_numpy(float)[:, 0], int(epochs[0])
    else:
        if epoch == "last" and trials["epochs_goal"].nunique() > 1:
            raise AverageError(refusal(study, trials, f"{name} is one number per trial, taken at its end"))
        numbers = value.reindex(trials["trial_id"]).to_numpy(float)
        reached = int(trials["epochs_goal"].max()) if epoch == "last" else epoch
    numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    factors = tuple(one for one in study.cell_factors if trials[one].nunique() > 1)
    keys = list(zip(*(trials[one].tolist() for one in factors), strict=True)) if factors else [()] * len(trials)
    rank = {one: {level: place for place, level in enumerate(study.factors[one])} for one in factors}
    cells = sorted(set(keys), key=lambda key: [rank[one][level] for one, level in zip(factors, key, strict=True)])
    # The study's own levels: those of a frame are numpy's, which print differently.
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
    columns = (trials["seed"], keys, trials["trial_id"], trials["status"], trials["epochs_goal"], numbers)
    for seed, key, trial_id, status, goal, number in zip(*columns, strict=True):
        spot = row_of[seed], place[key]
        values[spot] = number
        reasons[spot] = "" if np.isfinite(number) else reason_at(reached, goal, why.get(trial_id, NO_VALUE))
        diverged[spot] = status == "diverged" and np.isnan(number)
        # If a trial failed for another reason, nobody knows whether it would have diverged.
        ended[spot] = status in ("completed", "diverged")
    index = pd.Index(seeds, name="seed")

    def frame(array: Any) -> pd.DataFrame:
        return pd.DataFrame(array, index=index, columns=names)

    levels = {one: tuple(lv for lv in study.factors[one] if lv in set(trials[one])) for one in factors}
    of_key = dict(zip(keys, kl_estimator(trials), strict=True))
    return SeedTable(
        name,
        reached,
        frame(values),
        frame(reasons),
        frame(diverged),
        frame(ended),
        factors,
        tuple(cells),
        levels,
        tuple(of_key[key] for key in cells),
        study.labels,
        bool((study.trials["objective.kl"] == "sampled")[study.trials["decoder"].isin(trials["decoder"])].any()),
    )


def direction_of(name: str) -> bool | None:
    """Tell whether higher is better; None where neither is."""
    if name == _EPOCHS_TO_TARGET:
        return False
    return _BETTER.get(COLUMNS[name].better) if name in COLUMNS else None


def is_paired(factors: tuple[str, ...]) -> bool:
    """Tell whether an effect is paired by seed by default: it is where a contrasted factor leaves the random streams alone.

    Equal seeds share initial weights, order and noise across cells of the same K and n_z. Where K or n_z itself is
    contrasted, the streams differ in shape. Pairing would then halve the degrees of freedom without any gain, so Welch's
    interval is used.
    """
    return any(name not in NOT_SHARED and not name.startswith(("data.", "model.hidden", "model.layers")) for name in factors)
