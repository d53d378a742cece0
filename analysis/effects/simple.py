"""Effects of the factors of a study: one contrast a seed, its interval, what is missing and what diverged; draws nothing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.averages.average import AverageError, refuse_pooling, select
from analysis.effects.seed_table import SeedTable, direction_of, floor_of, is_paired, per_seed
from analysis.loading.labels import cell_text
from analysis.loading.study import Study
from analysis.stats.estimate import Estimate, Floats, linear_contrast
from analysis.stats.multiplicity import clopper_pearson, holm, rank_contrast

ALPHA = 0.05
"""Level at which a verdict is compared with the one after worst-rank imputation."""


@dataclass(frozen=True)
class Divergence:
    """How many trials of a cell diverged, of those that have ended."""

    cell: str
    diverged: int
    ended: int
    low: float
    """With `high` the exact 95% interval of P(diverged)."""
    high: float


@dataclass(frozen=True)
class Effect:
    """A contrast of cells over seeds, conditional on convergence."""

    estimate: Estimate
    n_planned: int
    """Seeds that the cells were planned with."""
    missing: str
    """The seeds that lack a value, by cell and reason; empty if none."""
    divergence: tuple[Divergence, ...]
    """A record a cell of the contrast."""
    survives: bool
    """Whether sign and significance (at 0.05) stay when diverged trials get the worst rank. True where none diverged."""


def effect(
    table: SeedTable,
    weights: Floats,
    *,
    paired: bool,
    confidence: float = 0.95,
    floor: float | None = None,
    higher_is_better: bool | None = None,
) -> Effect:
    """sum_j w_j mean(cell_j) over seeds.

    Unpaired, the cells of positive weight give one sum a seed and those of negative weight another, and Welch's t compares
    the two: cells of one side share seeds, and taken as independent they would promise far too much.

    Worst-rank imputation: `rank_contrast` of two cells with diverged trials behind every other; where the measure has no
    better direction, in both. A contrast of more than two cells survives only if none diverged: a rank is no number of
    which differences of differences mean anything.

    Args:
        table: what `per_seed` gave.
        weights: one a cell.
        paired: one contrast a seed with S - 1 degrees of freedom, else Welch, which takes both sides as independent.
        confidence: of the interval.
        floor: least variance of one value; None: that of rounding for counts, else 0.
        higher_is_better: None: what is known of the measure.
    """
    used = np.flatnonzero(weights)
    floor = floor_of(table.name) if floor is None else floor
    columns = table.values.to_numpy(float)[:, used]
    if paired:
        estimate = linear_contrast(list(columns.T), weights[used], paired=True, confidence=confidence, floor=floor)
    else:
        sides = [weights[used] * (np.sign(weights[used]) == sign) for sign in (-1, 1)]
        sums = [columns[:, side != 0] @ side[side != 0] for side in sides if side.any()]
        least = floor * max(float(side @ side) for side in sides)
        estimate = linear_contrast(sums, np.ones(len(sums)), paired=False, confidence=confidence, floor=least)
    diverged = table.diverged.to_numpy(bool)[:, used]
    survives = not diverged.any()
    if not survives and sorted(np.sign(weights[used])) == [-1, 1]:
        better = direction_of(table.name) if higher_is_better is None else higher_is_better
        bad = (-np.inf, np.inf) if better is None else (-np.inf if better else np.inf,)
        order = np.argsort(weights[used])
        survives = all(_agrees(estimate, np.where(diverged, worst, columns)[:, order], paired) for worst in bad)
    names = [table.names[place] for place in used]
    return Effect(
        estimate, len(table.values), missing_text(table, names), tuple(divergence(table, name) for name in names), survives
    )


def _agrees(estimate: Estimate, imputed: Floats, paired: bool) -> bool:
    ranked = rank_contrast(imputed[:, 0], imputed[:, 1], paired=paired)
    return _verdict(estimate) == _verdict(ranked) and np.sign(estimate.estimate) == np.sign(ranked.estimate)


def _verdict(estimate: Estimate) -> int:
    return int(np.sign(estimate.estimate)) if estimate.p <= ALPHA else 0


def divergence(table: SeedTable, cell: str) -> Divergence:
    """P(diverged) of one cell, over its trials that have ended; a trial that diverged after the epoch asked for has not."""
    ended, diverged = int(table.ended[cell].sum()), int(table.diverged[cell].sum())
    return Divergence(cell, diverged, ended, *clopper_pearson(diverged, ended))


def missing_text(table: SeedTable, cells: Iterable[str] | None = None) -> str:
    """The absent seeds of some cells, those with the same cell and reason together."""
    found: dict[str, list[str]] = {}
    for cell in table.names if cells is None else cells:
        for seed, reason in table.reasons[cell].items():
            if reason:
                found.setdefault(f"{reason} at {cell}", []).append(str(seed))
    return "; ".join(f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)} {reason}" for reason, seeds in found.items())


def simple_effects(
    study: Study,
    value: str | pd.Series,
    factor: str,
    *,
    at: Mapping[str, Any] | None = None,
    by: Sequence[str] = (),
    reference: Any = None,
    paired: bool | None = None,
    epoch: int | Literal["last"] = "last",
    confidence: float = 0.95,
    floor: float | None = None,
    higher_is_better: bool | None = None,
) -> pd.DataFrame:
    """Every level of a factor against a reference level, at stated cells: these decide a claim.

    Args:
        study: what `load` gave.
        value: what `per_seed` takes.
        factor: whose levels are compared.
        at: factor to level, or to a list of levels.
        by: factors whose levels get their own effects; whatever varies must be the factor, in `by` or fixed in `at`.
        reference: the level that the others are compared with; None: the first.
        paired: fixed before the data are seen. None: `is_paired`, which looks at the factor alone.
        epoch: as in `average`.
        confidence: of the interval, between 0 and 1.
        floor: as in `effect`.
        higher_is_better: as in `effect`.

    Returns:
        The columns of `by`, then factor, level, reference and those of `effect_row`; p_holm over all rows.

    Raises:
        AverageError: a factor varies unasked, the reference is no level, or a name does not exist.
    """
    trials = select(study, at)
    varied = [name for name in study.cell_factors if trials[name].nunique() > 1]
    refuse_pooling(study, [factor, *by], (), varied)
    table = per_seed(study, value, at, epoch)
    levels = _levels(table, factor, reference)
    pair = is_paired((factor,)) if paired is None else paired
    places = {name: table.levels.get(name) or (trials[name].tolist()[0],) for name in by}
    rows = []
    for key in product(*places.values()):
        here = dict(zip(by, key, strict=True))
        fixed = {name: {level: 1.0} for name, level in here.items() if name in table.factors}
        for level in levels[1:]:
            weights = table.weights({**fixed, factor: {level: 1.0, levels[0]: -1.0}})
            if np.count_nonzero(weights) == 2:
                found = effect(
                    table, weights, paired=pair, confidence=confidence, floor=floor, higher_is_better=higher_is_better
                )
                rows.append({**here, "factor": factor, "level": level, "reference": levels[0], **effect_row(found)})
    if not rows:
        raise AverageError(f"{factor}: no cell at {cell_text(at or {})} has both a level and {levels[0]}; choose others")
    return with_holm(rows)


def effect_row(found: Effect) -> dict[str, Any]:
    """An effect as a row: estimate, low, high, n, n_planned, p, sd, kind, missing, diverged, survives.

    `diverged` names the cells where trials did: 'k=5: 1 of 3 (0.01 to 0.91)', the 95% Clopper-Pearson interval.
    """
    e = found.estimate
    diverged = "; ".join(
        f"{d.cell}: {d.diverged} of {d.ended} ({d.low:.2f} to {d.high:.2f})" for d in found.divergence if d.diverged
    )
    return {
        "estimate": e.estimate,
        "low": e.low,
        "high": e.high,
        "n": e.n,
        "n_planned": found.n_planned,
        "p": e.p,
        "sd": e.sd,
        "kind": e.kind,
        "missing": found.missing,
        "diverged": diverged,
        "survives": found.survives,
    }


def with_holm(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a frame, with p_holm after p: the family is all of them."""
    adjusted = holm({str(place): row["p"] for place, row in enumerate(rows)})
    frame = pd.DataFrame(rows)
    frame.insert(list(frame).index("p") + 1, "p_holm", [adjusted[str(place)] for place in range(len(rows))])
    return frame


def _levels(table: SeedTable, factor: str, reference: Any) -> list[Any]:
    """The levels of a factor that the cells have, the reference first."""
    if factor not in table.factors:
        raise AverageError(f"{factor} has one level among these trials; give two or more with at")
    levels = list(table.levels[factor])
    if reference is None:
        return levels
    if reference not in levels:
        raise AverageError(f"reference: {factor} has no level {reference} here; it has {', '.join(map(str, levels))}")
    return [reference, *(level for level in levels if level != reference)]
