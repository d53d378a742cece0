"""Computes main effects and interactions over the full factorial of one decoder; they are secondary to simple effects."""

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from math import prod
from typing import Any, Literal

import pandas as pd

from analysis.averages.average import AverageError, select
from analysis.effects.seed_table import SeedTable, is_paired, per_seed
from analysis.effects.simple import effect, effect_row, with_holm
from analysis.loading.labels import cell_text
from analysis.loading.study import Study


def main_effects(
    study: Study,
    value: str | pd.Series,
    *,
    at: Mapping[str, Any] | None = None,
    paired: bool | None = None,
    epoch: int | Literal["last"] = "last",
    confidence: float = 0.95,
    floor: float | None = None,
) -> pd.DataFrame:
    """Compare every level of every factor with the first, averaged with equal weight over the cells of the others.

    These effects are secondary, as a marginal mean means little where factors interact. They are for one decoder only.

    Returns:
        factor, level, reference, over (the levels averaged over), and the columns of `effect_row`; p_holm over all rows.

    Raises:
        AverageError: the decoder varies, or no factor varies, or a cell of the factorial was never planned.
    """
    table = balanced(study, value, at, epoch)
    return _marginal(table, [(name,) for name in table.factors], paired, confidence, floor)


def interactions(
    study: Study,
    value: str | pd.Series,
    *,
    at: Mapping[str, Any] | None = None,
    order: int = 2,
    paired: bool | None = None,
    epoch: int | Literal["last"] = "last",
    confidence: float = 0.95,
    floor: float | None = None,
) -> pd.DataFrame:
    """Compute differences of differences, averaged with equal weight over the cells of all other factors.

        order 2:  (y_11 - y_01) - (y_10 - y_00)

    Returns:
        As in `main_effects`, with factors, levels and references joined by ' x '.

    Raises:
        AverageError: as in `main_effects`, or fewer than `order` factors vary.
    """
    table = balanced(study, value, at, epoch)
    if not 2 <= order <= len(table.factors):
        raise AverageError(
            f"interactions: order is {order}; it must lie between 2 and the number of factors that vary, "
            f"{len(table.factors)} ({', '.join(table.factors)})"
        )
    return _marginal(table, list(combinations(table.factors, order)), paired, confidence, floor)


def balanced(
    study: Study, value: str | pd.Series, at: Mapping[str, Any] | None, epoch: int | Literal["last"] = "last"
) -> SeedTable:
    """Return `per_seed` for a full factorial of one decoder.

    Raises:
        AverageError: the decoder varies, or no factor varies, or a cell was never planned.
    """
    trials = select(study, at)
    if trials["decoder"].nunique() > 1:
        known = ", ".join(study.factors["decoder"])
        raise AverageError(
            f'decoders are never pooled, as their nats are not comparable; fix one with at={{"decoder": ...}}: {known}'
        )
    table = per_seed(study, value, at, epoch)
    if not table.factors:
        raise AverageError(f"no factor varies at {cell_text(at or {})}; give more levels")
    wanted = list(product(*table.levels.values()))
    if lacking := [cell for cell in wanted if cell not in table.cells]:
        names = [cell_text(dict(zip(table.factors, cell, strict=True))) for cell in lacking]
        raise AverageError(
            f"not a full factorial: {len(lacking)} of {len(wanted)} cells were never planned ({'; '.join(names[:3])}"
            f"{'; ...' * (len(names) > 3)}); use at to choose levels that are fully crossed, or use simple_effects"
        )
    return table


def _marginal(
    table: SeedTable,
    terms: Sequence[tuple[str, ...]],
    paired: bool | None,
    confidence: float,
    floor: float | None,
) -> pd.DataFrame:
    rows = []
    for names in terms:
        others = [name for name in table.factors if name not in names]
        count = prod(len(table.levels[name]) for name in others)
        over = ", ".join(f"{name} in {{{', '.join(map(str, table.levels[name]))}}}" for name in others)
        pair = is_paired(names) if paired is None else paired
        for key in product(*(table.levels[name][1:] for name in names)):
            steps = {name: {level: 1.0, table.levels[name][0]: -1.0} for name, level in zip(names, key, strict=True)}
            weights = table.weights(steps) / count
            found = effect(table, weights, paired=pair, confidence=confidence, floor=floor, contrasted=names)
            first = [table.levels[name][0] for name in names]
            words = {"factor": names, "level": key, "reference": first}
            joined = {what: " x ".join(map(str, parts)) if len(names) > 1 else parts[0] for what, parts in words.items()}
            rows.append({**joined, "over": over, **effect_row(found)})
    return with_holm(rows)
