"""Computes simple effects of factors: one contrast per seed, with intervals and what is missing or has diverged."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.averages.average import AverageError, refuse_pooling, seeds_in_words, select
from analysis.effects.confounding import remark
from analysis.effects.seed_table import SeedTable, direction_of, floor_of, is_paired, per_seed
from analysis.loading.labels import cell_text
from analysis.loading.study import Study
from analysis.stats.estimate import Estimate, Floats, linear_contrast
from analysis.stats.multiplicity import clopper_pearson, holm, rank_contrast

ALPHA = 0.05
"""Level of significance at which results with and without worst-rank imputation are compared."""


@dataclass(frozen=True)
class Divergence:
    """How many of the ended trials of a cell diverged."""

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
    """Seeds that are planned for the cells."""
    missing: str
    """The seeds that lack a value, by cell and reason; empty if there are none."""
    divergence: tuple[Divergence, ...]
    """One record per cell of the contrast."""
    survives: bool
    """Whether sign and significance (at 0.05) stay if diverged trials get the worst rank; True if none diverged."""
    epoch: int
    """The epoch at which all cells are compared."""
    remark: str = ""
    """How the cells differ in more than the contrasted factors; empty if they do not."""


def effect(
    table: SeedTable,
    weights: Floats,
    *,
    paired: bool,
    confidence: float = 0.95,
    floor: float | None = None,
    higher_is_better: bool | None = None,
    contrasted: Sequence[str] = (),
) -> Effect:
    """Estimate sum_j w_j mean(cell_j) over seeds.

    If unpaired, the cells of positive weight give one sum per seed and those of negative weight another, and Welch's t
    compares the two. Cells on one side share seeds; treating them as independent would give far too narrow intervals.

    Worst-rank imputation applies `rank_contrast` to two cells, with diverged trials ranked last; if neither direction of the
    measure is better, it is done for both. A contrast of more than two cells survives only if no trial diverged, as
    differences of differences of ranks mean nothing.

    Args:
        table: the output of `per_seed`.
        weights: one per cell.
        paired: one contrast per seed with S - 1 degrees of freedom, else Welch's t, which takes both sides as independent.
        confidence: of the interval, between 0 and 1.
        floor: least variance of one value; None: that of rounding for counts, else 0.
        higher_is_better: None: as known for the measure, see `direction_of`.
        contrasted: the factors that the contrast is of, for the remark on the estimator of the KL.
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
        estimate,
        len(table.values),
        missing_text(table, names),
        tuple(divergence(table, name) for name in names),
        survives,
        table.epoch,
        remark(table, contrasted, used.tolist()),
    )


def _agrees(estimate: Estimate, imputed: Floats, paired: bool) -> bool:
    ranked = rank_contrast(imputed[:, 0], imputed[:, 1], paired=paired)
    return _verdict(estimate) == _verdict(ranked) and np.sign(estimate.estimate) == np.sign(ranked.estimate)


def _verdict(estimate: Estimate) -> int:
    return int(np.sign(estimate.estimate)) if estimate.p <= ALPHA else 0


def divergence(table: SeedTable, cell: str) -> Divergence:
    """Estimate P(diverged) of one cell over its ended trials; divergence after the requested epoch does not count."""
    ended, diverged = int(table.ended[cell].sum()), int(table.diverged[cell].sum())
    return Divergence(cell, diverged, ended, *clopper_pearson(diverged, ended))


def missing_text(table: SeedTable, cells: Iterable[str] | None = None) -> str:
    """Name the absent seeds of some cells, grouped by cell and reason."""
    found: dict[str, list[str]] = {}
    for cell in table.names if cells is None else cells:
        for seed, reason in table.reasons[cell].items():
            if reason:
                found.setdefault(f"{reason} at {cell}", []).append(str(seed))
    return "; ".join(f"{seeds_in_words(seeds)} {reason}" for reason, seeds in found.items())


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
    """Compare every level of a factor with a reference level, at given cells. These effects decide a claim.

    Args:
        study: the output of `load`.
        value: as in `per_seed`.
        factor: the factor whose levels are compared.
        at: factor to level, or to a list of levels.
        by: factors whose levels get their own effects; all factors that vary, other than `factor`, must be here or in `at`.
        reference: the level that the others are compared with; None: the first.
        paired: fixed before the data are seen. None: `is_paired`, which depends on the factor alone.
        epoch: as in `per_seed`: all cells are compared at one and the same epoch.
        confidence: of the interval, between 0 and 1.
        floor: as in `effect`.
        higher_is_better: as in `effect`.

    Returns:
        The columns of `by`, then factor, level, reference and those of `effect_row`; p_holm over all rows.

    Raises:
        AverageError: a factor varies that is not named, the reference is not a level, or a name does not exist; or the
            value is measured only at the end, and the lengths of the cells differ.
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
                    table,
                    weights,
                    paired=pair,
                    confidence=confidence,
                    floor=floor,
                    higher_is_better=higher_is_better,
                    contrasted=[factor],
                )
                rows.append({**here, "factor": factor, "level": level, "reference": levels[0], **effect_row(found)})
    if not rows:
        raise AverageError(f"{factor}: no cell at {cell_text(at or {})} has {levels[0]} and another level; choose others")
    return with_holm(rows)


def effect_row(found: Effect) -> dict[str, Any]:
    """Turn an effect into a row: estimate, low, high, n, n_planned, p, sd, kind, epoch, missing, diverged, survives, remark.

    `diverged` names the cells where trials diverged: 'k=5: 1 of 3 (0.01 to 0.91)', the 95% Clopper-Pearson interval.
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
        "epoch": found.epoch,
        "missing": found.missing,
        "diverged": diverged,
        "survives": found.survives,
        "remark": found.remark,
    }


def with_holm(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Turn rows into a frame with p_holm after p; the family is all rows."""
    adjusted = holm({str(place): row["p"] for place, row in enumerate(rows)})
    frame = pd.DataFrame(rows)
    frame.insert(list(frame).index("p") + 1, "p_holm", [adjusted[str(place)] for place in range(len(rows))])
    return frame


def _levels(table: SeedTable, factor: str, reference: Any) -> list[Any]:
    """Return the levels of a factor that the cells have, the reference first."""
    if factor not in table.factors:
        raise AverageError(f"{factor} has only one level among these trials; give two or more with at")
    levels = list(table.levels[factor])
    if reference is None:
        return levels
    if reference not in levels:
        raise AverageError(f"reference: {factor} has no level {reference} here; it has {', '.join(map(str, levels))}")
    return [reference, *(level for level in levels if level != reference)]
