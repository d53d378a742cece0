"""Computes the means behind main effects and interactions, over equally weighted cells of one decoder."""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from analysis.averages.average import AverageError, average, select, values_by_epoch
from analysis.averages.crossed import crossed_part, varied_factors
from analysis.averages.lengths import planned_epochs, refusal
from analysis.averages.seed_curves import SEED
from analysis.loading.study import Study


def main_effects(study: Study, decoder: str, value: str) -> pd.DataFrame:
    """Compute the mean of every level of every factor over all crossed cells that have it, with equal weight.

    Cells that the grid lists one by one are left out, see `crossed_part`.

    Returns:
        factor, title, level, label, then the columns of `average` at the last planned epoch, and `seed_0` ...: the same
        mean over the cells for each seed, null where it lacks one of them.

    Raises:
        AverageError: the cells are not a full product, or not of one length, so that means of levels would differ by their
            cells or epochs alone.
    """
    at, names = _crossed(study, decoder, value)
    frames = []
    for name in names:
        table = _mean(study, at, value, [name], names)
        table.insert(0, "factor", name)
        table.insert(1, "title", study.labels.title_of(name))
        table = table.rename(columns={name: "level"}).astype({"level": object})
        table.insert(3, "label", [_short(study, name, level) for level in table["level"]])
        frames.append(table)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def interactions(study: Study, decoder: str, value: str) -> list[tuple[str, pd.DataFrame]]:
    """Compute the means of all pairs of levels of each pair of factors.

    Returns:
        For each pair of factors its title and a table: label, x_label, x_title, level, x_level, those of `average`,
        and `seed_0` ... as in main_effects.

    Raises:
        AverageError: as in main_effects.
    """
    at, names = _crossed(study, decoder, value)
    tables = []
    for first, second in combinations(names, 2):
        # The factor with more levels lies along the axis; the other gives the lines.
        line, along = sorted((first, second), key=lambda name: len(study.factors[name]))
        table = _mean(study, at, value, [line, along], names).rename(columns={line: "level", along: "x_level"})
        table.insert(0, "label", [study.labels.label_of(line, level) for level in table["level"]])
        table.insert(1, "x_label", [_short(study, along, level) for level in table["x_level"]])
        table.insert(2, "x_title", study.labels.title_of(along))
        tables.append((f"{study.labels.title_of(line)} by {study.labels.title_of(along)}", table))
    return tables


def _crossed(study: Study, decoder: str, value: str) -> tuple[dict[str, Any], list[str]]:
    """Return the crossed cells of a decoder and the factors that vary among them."""
    at = crossed_part(study, decoder)
    trials = select(study, at)
    if len(planned_epochs(trials)) > 1:
        raise AverageError(refusal(study, trials, f"marginal means of {value} compare cells at one epoch"))
    return at, varied_factors(study, trials)


def _mean(study: Study, at: dict[str, Any], value: str, by: list[str], names: list[str]) -> pd.DataFrame:
    pooled = [name for name in names if name not in by]
    table = average(study, value, by, at=at, pool_over=pooled)
    trials = select(study, at)
    found = values_by_epoch(study, trials, value, "last")[1].to_numpy(float)[:, 0]
    trials = trials[[*names, "seed"]].assign(found=np.where(np.isfinite(found), found, np.nan))
    cells = len(trials[names].drop_duplicates()) // len(table)
    # Like `average`: a seed that lacks a cell has no mean, which would lie nearer to the other cells.
    own = trials.groupby([*by, "seed"], sort=False)["found"].sum(min_count=cells).unstack("seed") / cells
    return table.join(own.add_prefix(SEED).rename_axis(columns=None), on=by)


def _short(study: Study, name: str, level: Any) -> str:
    """Name a level whose factor stands beside it: 50, off, 20, or the label that the user gave."""
    given = study.labels.label_of(name, level)
    if name in study.labels.levels or name == "decoder":
        return given
    return ("on" if level else "off") if isinstance(level, bool) else str(level)
