"""Main effects and interactions as means over equally weighted cells of one decoder; tests nothing, draws nothing."""

from itertools import combinations
from typing import Any

import pandas as pd

from analysis.averages.average import average
from analysis.loading.study import Study


def varied_factors(study: Study, decoder: str) -> list[str]:
    """The factors that vary among the trials of one decoder, but for decoder and seed."""
    trials = study.trials[study.trials["decoder"] == decoder]
    return [name for name in study.cell_factors if name != "decoder" and trials[name].nunique() > 1]


def main_effects(study: Study, decoder: str, value: str) -> pd.DataFrame:
    """The mean of every level of every factor over all cells that have it, each cell with the same weight.

    Returns:
        factor, title, level, label, then what `average` gives at the last planned epoch.

    Raises:
        AverageError: the cells are no full product, so that means of levels would differ by their cells alone.
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
    """For each pair of factors its title and the means of all pairs of levels: x_level, x_label, level, label, and so on.

    Raises:
        AverageError: see main_effects.
    """
    names = varied_factors(study, decoder)
    tables = []
    for first, second in combinations(names, 2):
        # The longer factor along the axis, the shorter as lines.
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
    """A level where its factor is named beside it: 50, off, 20, unless the user calls it something."""
    given = study.labels.label_of(name, level)
    if name in study.labels.levels or name == "decoder":
        return given
    return ("on" if level else "off") if isinstance(level, bool) else str(level)
