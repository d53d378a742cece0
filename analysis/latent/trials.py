"""Chooses the trials that the pictures of the latent space show, and stacks the tables of their numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.averages.one_factor import contrast, usual_base
from analysis.latent.numbers import Encoded, Ints, class_table, image_table, trial_row, trial_table
from analysis.latent.pictures import Panel
from analysis.loading.labels import in_words
from analysis.loading.study import LoadError, Study

Measure = Callable[[Mapping[str, Any]], Panel]
"""Measures the trial of a row of `study.trials`."""


@dataclass(frozen=True, eq=False)
class Cells:
    """The trials of one decoder at the base cell of the n_z contrast (figures 4.1 to 4.3 of the paper)."""

    decoder: str
    base: Mapping[str, Any]
    """The level of every factor except n_z and seed."""
    few: int
    """The smallest n_z."""
    usual: int
    """The n_z that the others are compared with: 50, or the largest one."""
    seed: int
    """The seed that is drawn."""
    trials: pd.DataFrame
    """Rows of `study.trials` that have completed, for all seeds and every n_z."""


def cells_of(study: Study, decoder: str, seed: int | None = None) -> Cells:
    """Choose the trials; `seed` None: the first seed that has completed at both the smallest and the usual n_z.

    Raises:
        LoadError: no seed has completed in these cells, or not this one.
    """
    base, levels = _levels(study, decoder)
    few, usual = min(levels), 50 if 50 in levels else max(levels)
    at_base = np.logical_and.reduce([study.trials[name] == level for name, level in base.items()])
    trials = study.trials[at_base & (study.trials["status"] == "completed")]
    ready = [set(trials[trials["n_z"] == n]["seed"]) for n in (few, usual)]
    seeds = [int(one) for one in study.factors["seed"] if one in ready[0] & ready[1]]
    cell = f"{in_words(base)}, n_z = {' and '.join(map(str, dict.fromkeys((few, usual))))}"
    if not seeds:
        raise LoadError(f"{study.path}: no seed has completed at {cell}; run the study to its end first")
    if seed is not None and seed not in seeds:
        raise LoadError(f"{study.path}: seed {seed} has not completed at {cell}; choose one of {', '.join(map(str, seeds))}")
    return Cells(decoder, base, few, usual, seeds[0] if seed is None else seed, trials)


def _levels(study: Study, decoder: str) -> tuple[dict[str, Any], tuple[int, ...]]:
    one = contrast(study, "n_z", decoder)
    if one is not None:
        return dict(one.base), one.levels
    usual = usual_base(study, "n_z", decoder)
    cells = study.trials[study.trials["decoder"] == decoder].drop_duplicates([*usual, "n_z"])
    moved = np.sum([cells[name].to_numpy() != level for name, level in usual.items()], axis=0)
    nearest = cells.iloc[int(np.argmin(moved))]
    return {name: nearest[name] for name in usual}, (int(nearest["n_z"]),)


@dataclass(frozen=True, eq=False)
class Numbers:
    """The measurements of the trials of some cells."""

    per_trial: pd.DataFrame
    """`trial_row` of each trial, by n_z and seed."""
    per_class: pd.DataFrame
    """`class_table` of each trial."""
    per_image: pd.DataFrame
    """`image_table` of the trials that are drawn."""
    panels: list[Panel]
    """Panels of the trials that are drawn, the smallest n_z first."""


def measure_all(cells: Cells, classes: Ints | None, measure: Measure) -> Numbers:
    """Measure every trial, and compare it with the trial of the usual n_z with the same seed."""
    panels: dict[int, Panel] = {}
    images: dict[int, pd.DataFrame] = {}
    per_class, rows = [], []
    for seed, mine in cells.trials.groupby("seed", sort=False):
        reference: Encoded | None = None
        # The usual n_z first, as the others are compared with it.
        for row in sorted(mine.to_dict("records"), key=lambda row: bool(row["n_z"] != cells.usual)):
            panel = measure({str(name): value for name, value in row.items()})
            encoded = panel.encoded
            image = image_table(encoded, classes, reference)
            per_class.append(class_table(encoded, image, reference))
            rows.append(trial_row(encoded, image, per_class[-1], reference, panel.numbers))
            if seed == cells.seed and row["n_z"] in (cells.few, cells.usual):
                panels[row["n_z"]], images[row["n_z"]] = panel, image
            if row["n_z"] == cells.usual:
                reference = encoded
    drawn = list(dict.fromkeys((cells.few, cells.usual)))
    return Numbers(
        per_trial=trial_table(rows).sort_values(["n_z", "seed"], kind="stable", ignore_index=True),
        per_class=_below(per_class).sort_values(["n_z", "seed", "class"], kind="stable", ignore_index=True),
        per_image=_below([images[n_z] for n_z in drawn]),
        panels=[panels[n_z] for n_z in drawn],
    )


def _below(tables: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True)
