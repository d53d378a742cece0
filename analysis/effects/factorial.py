"""Main effects and interactions of a whole factorial of one decoder: secondary to simple effects; draws nothing."""

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
    """Every level of every factor against its first, averaged with equal weight over the cells of the others.

    Secondary: a marginal mean says little where factors interact. Of one decoder only.

    Returns:
        factor, level, reference, over (the cells of the average), and the columns of `effect_row`; p_holm over all rows.

    Raises:
        AverageError: the decoder varies, nothing else does, or a cell of the factorial was never planned (named).
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
    """Differences of differences, averaged with equal weight over the cells of the factors that are not in them.

        order 2:  (y_11 - y_01) - (y_10 - y_00)

    Returns:
        As `main_effects`; factor, level and reference are joined with ' x '.

    Raises:
        AverageError: as in `main_effects`, or fewer than `order` factors vary.
    """
    table = balanced(study, value, at, epoch)
    if not 2 <= order <= len(table.factors):
        raise AverageError(
            f"interactions: order {order} of {len(table.factors)} factors that vary ({', '.join(table.factors)}); it lies "
            "between 2 and their number"
        )
    return _marginal(table, list(combinations(table.factors, order)), paired, confidence, floor)


def balanced(
    study: Study, value: str | pd.Series, at: Mapping[str, Any] | None, epoch: int | Literal["last"] = "last"
) -> SeedTable:
    """`per_seed` of a whole factorial of one decoder.

    Raises:
        AverageError: the decoder varies, nothing else does, or a cell was never planned (named).
    """
    trials = select(study, at)
    if trials["decoder"].nunique() > 1:
        known = ", ".join(study.factors["decoder"])
        raise AverageError(
            f'decoders are never pooled, their nats differ in kind; fix one with at={{"decoder": ...}}: {known}'
        )
    table = per_seed(study, value, at, epoch)
    if not table.factors:
        raise AverageError(f"nothing varies at {cell_text(at or {})}; give more levels")
    wanted = list(product(*table.levels.values()))
    if lacking := [cell for cell in wanted if cell not in table.cells]:
        names = [cell_text(dict(zip(table.factors, cell, strict=True))) for cell in lacking]
        raise AverageError(
            f"not a whole factorial: {len(lacking)} of {len(wanted)} cells were never planned ({'; '.join(names[:3])}"
            f"{'; ...' * (len(names) > 3)}); choose levels that are all crossed with at, or take simple_effects"
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
            found = effect(table, table.weights(steps) / count, paired=pair, confidence=confidence, floor=floor)
            first = [table.levels[name][0] for name in names]
            words = {"factor": names, "level": key, "reference": first}
            joined = {what: " x ".join(map(str, parts)) if len(names) > 1 else parts[0] for what, parts in words.items()}
            rows.append({**joined, "over": over, **effect_row(found)})
    return with_holm(rows)
