"""Computes the means behind main effects and interactions, over equally weighted cells of one decoder."""

from itertools import combinations
from typing import Any

import pandas as pd

from analysis.averages.average import average
from analysis.loading.study import Study


def varied_factors(study: Study, decoder: str) -> list[str]:
    """Return the factors that vary among the trials of one decoder, except decoder and seed."""
    trials = study.trials[study.trials["decoder"] == decoder]
    return [name for name in study.cell_factors if name != "decoder" and trials[name].nunique() > 1]


def main_effects(study: Study, decoder: str, value: str) -> pd.DataFrame:
    """Compute the mean of every level of every factor over all cells that have it, with equal weight.

    Returns:
        factor, title, level, label, then the columns of `average` at the last planned epoch.

    Raises:
        AverageError: the cells are not a full product, so that means of levels would differ by their cells alone.
    """
    names = varied_factors(study, decoder)
    frames = []
    for name in names:
        table = _mean(study, decoder, value, [name], names)
        table.insert(0, "factor", name)
        table.insert(1, "title", study.labels.title_of(name))
        table = table.rename(columns={name: "level"}).astype({"level": object})
        table.insert(3, "label", [_short(study, name, level) for level in table["level"]])
        frames.append(table)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def interactions(study: Study, decoder: str, value: str) -> list[tuple[str, pd.DataFrame]]:
    """Compute the means of all pairs of levels of each pair of factors.

    Returns:
        For each pair of factors its title and a table: label, x_label, x_title, level, x_level, and those of `average`.

    Raises:
        AverageError: as in main_effects.
    """
    names = varied_factors(study, decoder)
    tables = []
    for first, second in combinations(names, 2):
        # The factor with more levels lies along the axis; the other gives the lines.
        line, along = sorted((first, second), key=lambda name: len(study.factors[name]))
        table = _mean(study, decoder, value, [line, along], names).rename(columns={line: "level", along: "x_level"})
        table.insert(0, "label", [study.labels.label_of(line, level) for level in table["level"]])
        table.insert(1, "x_label", [_short(study, along, level) for level in table["x_level"]])
        table.insert(2, "x_title", study.labels.title_of(along))
        tables.append((f"{study.labels.title_of(line)} by {study.labels.title_of(along)}", table))
    return tables


def _mean(study: Study, decoder: str, value: str, by: list[str], names: list[str]) -> pd.DataFrame:
    pooled = [name for name in names if name not in by]
    return average(study, value, by, at={"decoder": decoder}, pool_over=pooled)


def _short(study: Study, name: str, level: Any) -> str:
    """Name a level whose factor stands beside it: 50, off, 20, or the label that the user gave."""
    given = study.labels.label_of(name, level)
    if name in study.labels.levels or name == "decoder":
        return given
    return ("on" if level else "off") if isinstance(level, bool) else str(level)
