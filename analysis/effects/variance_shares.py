"""Computes the share of variance that each factor and interaction accounts for, exactly, and by other models."""

import warnings
from collections.abc import Mapping
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from analysis.averages.average import AverageError
from analysis.effects.confounding import remark
from analysis.effects.factorial import balanced
from analysis.effects.seed_table import SeedTable
from analysis.effects.simple import missing_text
from analysis.loading.study import Study
from analysis.stats.estimate import Floats


def variance_shares(
    study: Study, value: str | pd.Series, *, at: Mapping[str, Any] | None = None, epoch: int | Literal["last"] = "last"
) -> pd.DataFrame:
    """Compute the exact eta^2 of the balanced ANOVA of one decoder, over the seeds that have every cell.

        SS_T = N / prod_{f in T} L_f * sum of (effect_T)^2,   share_T = SS_T / sum over all T, seed and rest

    The seed is a block; `rest` is its interaction with the cells. The shares describe the levels of this study only: eta^2
    depends on the levels chosen, and is biased upwards where seeds are few.

    Returns:
        term (factors joined by ' x ', then seed and rest), order, df, ss (squared units of the value), share, n (seeds),
        n_planned, missing, epoch, remark (where levels of the term's factors take the KL differently).

    Raises:
        AverageError: as in `balanced`, or no seed has every cell.
    """
    table = balanced(study, value, at, epoch)
    array = _complete(table)
    shape = array.shape
    centre = array - array.mean()
    total = float((centre**2).sum())
    seed_ss = float((centre.mean(axis=tuple(range(len(shape) - 1))) ** 2).sum() * np.prod(shape[:-1]))
    rows: list[dict[str, Any]] = []
    for order in range(1, len(table.factors) + 1):
        for places in combinations(range(len(table.factors)), order):
            effect = _effect(centre, places)
            df = int(np.prod([shape[place] - 1 for place in places]))
            ss = float((effect**2).sum() * array.size / effect.size)
            names = [table.factors[place] for place in places]
            words = {"term": " x ".join(names), "remark": remark(table, names)}
            rows.append({**words, "order": order, "df": df, "ss": ss})
    seeds, cells = shape[-1], array.size // shape[-1]
    rest = max(0.0, total - seed_ss - sum(row["ss"] for row in rows))
    rows.append({"term": "seed", "remark": "", "order": 0, "df": seeds - 1, "ss": seed_ss})
    rows.append({"term": "rest", "remark": "", "order": 0, "df": (seeds - 1) * (cells - 1), "ss": rest})
    frame = pd.DataFrame(rows)
    frame["share"] = frame["ss"] / total if total > 0 else np.nan
    frame = frame.assign(n=seeds, n_planned=len(table.values), missing=missing_text(table), epoch=table.epoch)
    return frame[[*[name for name in frame if name != "remark"], "remark"]]


def secondary(
    study: Study,
    value: str | pd.Series,
    *,
    at: Mapping[str, Any] | None = None,
    epoch: int | Literal["last"] = "last",
    model: Literal["hc3", "mixed"] = "hc3",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Estimate the main effects by one model of all trials, to be reported beside `main_effects`, never instead of it.

    hc3: one mean per cell, with standard errors that allow one variance per cell (MacKinnon and White 1985) but ignore the
    seed. mixed: one mean per cell, a random intercept per seed (REML) and one variance; it also uses incomplete seeds.

    Returns:
        factor, level, reference, estimate, low, high, p (by the normal distribution, which is too narrow for few seeds),
        n (trials), epoch, model, converged (whether REML converged), remark.

    Raises:
        AverageError: as in `balanced`, or a cell has fewer than two values.
    """
    # The import takes two seconds and is needed only here.
    from statsmodels.regression.linear_model import OLS
    from statsmodels.regression.mixed_linear_model import MixedLM

    table = balanced(study, value, at, epoch)
    values = table.values.to_numpy(float)
    if (few := np.isfinite(values).sum(axis=0) < 2).any():
        raise AverageError(
            f"{table.names[int(few.argmax())]} has fewer than two values; wait for more, or leave it out with at"
        )
    row, column = np.nonzero(np.isfinite(values))
    y, cells = values[row, column], np.eye(values.shape[1])[column]
    with warnings.catch_warnings():
        # An estimated variance of 0 between seeds is a valid result on the border, not worth a warning.
        warnings.simplefilter("ignore")
        fit = OLS(y, cells).fit(cov_type="HC3") if model == "hc3" else MixedLM(y, cells, groups=row).fit(reml=True)
        means, covariance = np.asarray(fit.params)[: cells.shape[1]], np.asarray(fit.cov_params())
    converged = bool(getattr(fit, "converged", True))
    covariance = covariance[: cells.shape[1], : cells.shape[1]]
    rows = []
    for name in table.factors:
        first, *others = table.levels[name]
        count = values.shape[1] / len(table.levels[name])
        for level in others:
            weights = table.weights({name: {level: 1.0, first: -1.0}}) / count
            found = _normal(float(weights @ means), float(np.sqrt(weights @ covariance @ weights)), confidence)
            rows.append(
                {
                    "factor": name,
                    "level": level,
                    "reference": first,
                    **found,
                    "n": len(y),
                    "epoch": table.epoch,
                    "model": model,
                    "converged": converged,
                    "remark": remark(table, [name]),
                }
            )
    return pd.DataFrame(rows)


def importance(
    study: Study, value: str, decoder: str, *, at: Mapping[str, Any] | None = None, trees: int = 64, seed: int = 0
) -> pd.DataFrame:
    """Compute Optuna's fANOVA (a random forest over the trials) beside the exact shares of the variance between cells.

    Optuna's default, PED-ANOVA, is not used: in a balanced factorial it gives a factor with eight times the effect of
    another the same importance. Where the columns differ, the exact shares are right.

    Returns:
        factor, fanova (sums to 1), share (of the main effects' sum of squares), share_of_cells (of the variance between
        cells, interactions included), n (seeds behind the exact shares), epoch, remark.

    Raises:
        AverageError: as in `balanced`, or no seed has every cell.
    """
    # The import takes one second and is needed only here.
    import optuna
    from optuna.importance import FanovaImportanceEvaluator

    fixed = {**(at or {}), "decoder": decoder}
    table = balanced(study, value, fixed)
    exact = variance_shares(study, value, at=fixed).set_index("term")
    choices = {
        name: optuna.distributions.CategoricalDistribution([str(level) for level in table.levels[name]])
        for name in table.factors
    }
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        search = optuna.create_study()
        for place, cell in enumerate(table.cells):
            names = {name: str(one) for name, one in zip(table.factors, cell, strict=True)}
            for number in table.values.iloc[:, place].dropna():
                search.add_trial(optuna.create_trial(params=names, distributions=dict(choices), value=float(number)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            evaluator = FanovaImportanceEvaluator(n_trees=trees, seed=seed)
            found = optuna.importance.get_param_importances(search, evaluator=evaluator, normalize=True)
    finally:
        optuna.logging.set_verbosity(level)
    main_rows = exact.loc[list(table.factors)]
    main = main_rows["ss"]
    between = exact.loc[exact["order"] > 0, "ss"].sum()
    return pd.DataFrame(
        {
            "factor": list(table.factors),
            "fanova": [found.get(name, 0.0) for name in table.factors],
            "share": (main / main.sum()).to_numpy(),
            "share_of_cells": (main / between).to_numpy(),
            "n": int(exact["n"].iloc[0]),
            "epoch": table.epoch,
            "remark": main_rows["remark"].to_numpy(),
        }
    )


def _complete(table: SeedTable) -> Floats:
    """Return values [level of each factor ..., seed] for the seeds that have every cell."""
    rows = table.values.to_numpy(float)
    kept = rows[np.isfinite(rows).all(axis=1)]
    if not len(kept):
        raise AverageError(f"no seed has every cell ({missing_text(table)}); wait for them, or leave cells out with at")
    # Cells are sorted by the positions of their levels, the last factor varying fastest.
    array: Floats = kept.T.reshape(*(len(levels) for levels in table.levels.values()), len(kept))
    return array


def _effect(centre: Floats, places: tuple[int, ...]) -> Floats:
    """Return the part of a table that is due to some axes together, without that of their subsets."""
    part: Floats = centre.mean(axis=tuple(axis for axis in range(centre.ndim) if axis not in places), keepdims=True)
    for axis in places:
        part = part - part.mean(axis=axis, keepdims=True)
    return part


def _normal(estimate: float, se: float, confidence: float) -> dict[str, float]:
    half = float(ndtri((1 + confidence) / 2)) * se
    p = float(2 * ndtr(-abs(estimate) / se)) if se > 0 else float(estimate == 0)
    return {"estimate": estimate, "low": estimate - half, "high": estimate + half, "p": p}
