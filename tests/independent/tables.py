"""Recomputes the tables of the report: cells, simple effects, main effects, interactions, shares of the variance, cost."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from tests.independent.comparing import Comparison
from tests.independent.stored import Stored
from tests.independent.textbook import ROUNDING, Estimate, anova, holm, mean, paired, welch

CORNERS = {(1, 1): 1, (0, 1): -1, (1, 0): -1, (0, 0): 1}
"""The four means of an interaction of two factors, as places of their levels, and their signs."""
UNPAIRED = ("k", "n_z", "training.batch_size", "model.hidden", "model.layers_above")


def floor_of(column: str) -> float:
    """The floor of the variance of one value of this column."""
    return ROUNDING if column == "active_units" else 0.0


def is_paired(factor: str) -> bool:
    """Whether the docs compare levels of this factor seed by seed."""
    return factor not in UNPAIRED and not factor.startswith("data.")


def words_of(path: Path) -> tuple[str, str, str]:
    """Split a name such as main-active-units-gaussian into table, column and decoder."""
    table, _, rest = path.stem.partition("-")
    column, _, decoder = rest.rpartition("-")
    return table, column.replace("-", "_"), decoder


def expected(found: Estimate, confidence: float = 0.95) -> dict[str, float]:
    """The columns of an effect without its adjusted p-value."""
    low, high = found.interval(confidence)
    return {"estimate": found.value, "low": low, "high": high, "p": found.p_two_sided()}


def cells(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """Means with half widths of their t intervals, how many seeds have them, and the independent-pixel baseline."""
    seen = Comparison(path.name)
    decoder = path.stem.partition("-")[2]
    names = [name for name in study.cell_factors if name in table]
    for printed in table.to_dict("records"):
        levels = {name: study.level(name, printed[name]) for name in names}
        trials = study.at({**({"decoder": decoder} if "decoder" in study.cell_factors else {}), **levels})
        wanted = {"n_planned": len(trials), "baseline": trials["baseline_bound"].dropna().unique()[0]}
        for column in ("test_bound", "nll", "active_units"):
            values = study.by_seed(trials, column).to_numpy()
            found = mean(values, floor_of(column))
            half = (found.interval()[1] - found.value) if len(values) > 1 else float("nan")
            wanted |= {column: found.value, f"{column}_half_width": half, f"{column}_n": len(values)}
        seen.row(str(levels), printed, wanted)
    return seen


def simple(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """Two levels of one factor with all others at the base cell; Holm over all rows of the table."""
    seen = Comparison(path.name)
    _, column, decoder = words_of(path)
    here = {"decoder": decoder} if "decoder" in study.cell_factors else {}
    found: list[tuple[Mapping[str, Any], dict[str, float]]] = []
    for printed in table.to_dict("records"):
        factor = str(printed["factor"])
        if factor not in study.cell_factors:
            seen.left.append(f"{factor} {printed['level']}")
            continue
        base = {**here, **({"k": 1} if factor == "objective.kl" else {})}
        one, other = (
            study.by_seed(study.cell(**{**base, factor: study.level(factor, printed[side])}), column)
            for side in ("level", "reference")
        )
        test = paired if is_paired(factor) else lambda a, b, floor: welch(a.to_numpy(), b.to_numpy(), floor)
        found.append((printed, expected(test(one, other, floor_of(column)))))
    return with_holm(seen, found, whole=not seen.left)


def with_holm(seen: Comparison, found: list[tuple[Mapping[str, Any], dict[str, float]]], whole: bool = True) -> Comparison:
    """Compare rows of effects; the adjusted p-values only where every row of the table was recomputed."""
    adjusted = holm([wanted["p"] for _, wanted in found])
    for (printed, wanted), p in zip(found, adjusted, strict=True):
        name = f"{printed['factor']} {printed['level']} against {printed['reference']}"
        seen.row(name, printed, {**wanted, **({"p_holm": p} if whole else {})})
    return seen


def pooled(study: Stored, trials: pd.DataFrame, column: str, at: Mapping[str, Any]) -> tuple[pd.Series, int]:
    """One mean per seed over all cells at these levels, of the seeds that have all of them, and how many cells there are."""
    factors = [name for name in study.cell_factors if name != "decoder"]
    for name, level in at.items():
        trials = trials[trials[name] == level]
    cells = [study.by_seed(group, column) for _, group in trials.groupby(factors)]
    return pd.concat(cells, axis=1).dropna().mean(axis=1), len(cells)


def main(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """The difference of the means over all cells at either level, with equal weight."""
    seen = Comparison(path.name)
    _, column, decoder = words_of(path)
    found = []
    for printed in table.to_dict("records"):
        factor = str(printed["factor"])
        sides = [
            pooled(study, study.crossed(decoder), column, {factor: study.level(factor, printed[side])})
            for side in ("level", "reference")
        ]
        (one, cells), (other, _) = sides
        floor = floor_of(column) / cells
        if is_paired(factor):
            found.append((printed, expected(paired(one, other, floor))))
        else:
            found.append((printed, expected(welch(one.to_numpy(), other.to_numpy(), floor))))
    return with_holm(seen, found)


def interactions(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """The difference of two differences, seed by seed; by Welch's test where the seeds of neither factor can be paired."""
    seen = Comparison(path.name)
    _, column, decoder = words_of(path)
    if "factor" not in table:
        seen.left.append("the means of a figure")
        return seen
    found = []
    for printed in table.to_dict("records"):
        names = str(printed["factor"]).split(" x ")
        levels = [
            [study.level(name, text) for name, text in zip(names, str(printed[side]).split(" x "), strict=True)]
            for side in ("reference", "level")
        ]
        means, cells = [], 1
        for i, j in CORNERS:
            values, cells = pooled(study, study.crossed(decoder), column, {names[0]: levels[i][0], names[1]: levels[j][1]})
            means.append(values)
        floor = floor_of(column) / cells
        if any(is_paired(name) for name in names):
            contrast = sum(sign * one for sign, one in zip(CORNERS.values(), means, strict=True)).dropna().to_numpy()
            found.append((printed, expected(mean(contrast, 4 * floor))))
        else:
            # Two samples: the seeds' sums over the two means that count positively, and over the two that do not.
            above, below = ((means[one] + means[other]).dropna().to_numpy() for one, other in ((0, 3), (1, 2)))
            found.append((printed, expected(welch(above, below, 2 * floor))))
    return with_holm(seen, found)


def shares(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """Sums of squares of the balanced ANOVA as shares of their total (eta^2)."""
    seen = Comparison(path.name)
    _, column, decoder = words_of(path)
    factors = [name for name in study.cell_factors if name != "decoder" and study.crossed(decoder)[name].nunique() > 1]
    rows = []
    for levels, group in study.crossed(decoder).groupby(factors):
        values = study.by_seed(group, column)
        rows += [{**dict(zip(factors, levels, strict=True)), "seed": seed, column: value} for seed, value in values.items()]
    found = anova(pd.DataFrame(rows), factors, column)
    for printed in table.to_dict("records"):
        df, ss = found[str(printed["term"])]
        seen.row(str(printed["term"]), printed, {"df": df, "share": ss / found["total"][1]})
        seen.row(str(printed["term"]), {"ss": printed["ss"] / found["total"][1]}, {"ss": ss / found["total"][1]})
    return seen


def cost(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """Trials, rows and seconds of the stream."""
    seen = Comparison(path.name)
    rows = study.epochs.reset_index()
    for printed in table.to_dict("records"):
        mine = rows
        for name in ("decoder", "k", "batch_norm"):
            mine = mine[mine[name] == study.level(name, printed[name])]
        wanted = {"trials": mine["trial_id"].nunique(), "epochs": len(mine), "seconds": mine["seconds"].sum()}
        seen.row(str(printed), printed, {**wanted, "seconds_an_epoch": mine["seconds"].sum() / len(mine)})
    return seen


TABLES: Mapping[str, Callable[[Stored, Path, pd.DataFrame], Comparison]] = {
    "cells": cells,
    "effects": simple,
    "main": main,
    "interactions": interactions,
    "shares": shares,
    "cost": cost,
}
