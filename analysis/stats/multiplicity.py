"""Adjusts p values, and treats divergence and ranks, for arrays of one number per seed.

Estimates and contrasts are made in `estimate`, equivalence tests in `equivalence`; both are re-exported here.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv
from scipy.stats import rankdata

from analysis.stats.equivalence import ENOUGH_POWER as ENOUGH_POWER
from analysis.stats.equivalence import Equivalence as Equivalence
from analysis.stats.equivalence import equivalence as equivalence
from analysis.stats.equivalence import equivalence_chance as equivalence_chance
from analysis.stats.equivalence import equivalence_power as equivalence_power
from analysis.stats.equivalence import exceedance_chance as exceedance_chance
from analysis.stats.estimate import COUNT_FLOOR as COUNT_FLOOR
from analysis.stats.estimate import Estimate as Estimate
from analysis.stats.estimate import Floats as Floats
from analysis.stats.estimate import InferenceError as InferenceError
from analysis.stats.estimate import check_confidence
from analysis.stats.estimate import contrast as contrast
from analysis.stats.estimate import linear_contrast as linear_contrast
from analysis.stats.estimate import mean_interval as mean_interval
from analysis.stats.estimate import one_sided as one_sided


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Adjust p values (Holm 1979): reject at level alpha those that are at most alpha, under any dependence.

    A NaN (too few seeds to test) stays NaN and still counts as a member of the planned family.
    """
    adjusted = dict.fromkeys(p, float("nan"))
    worst = 0.0
    ordered = sorted((name for name in p if not np.isnan(p[name])), key=lambda name: p[name])
    for place, name in enumerate(ordered):
        worst = max(worst, min(1.0, (len(p) - place) * p[name]))
        adjusted[name] = worst
    return adjusted


def holm_level(p: Mapping[str, float], name: str, alpha: float) -> float:
    """Return the level that the raw p of one member has to meet, given the p of all others: its rejection is p <= level.

        alpha / (m - R),   R the largest r with q_j <= alpha / (m - j + 1) for all j <= r,   q the sorted p of the others

    It agrees with `holm`: holm(p)[name] <= alpha exactly if p[name] is at most this level.

    Args:
        p: the family of m members; a NaN still counts as a member.
        name: one of them.
        alpha: level of the family.
    """
    others = sorted(value for other, value in p.items() if other != name and not np.isnan(value))
    rejected = 0
    while rejected < len(others) and others[rejected] <= alpha / (len(p) - rejected):
        rejected += 1
    return alpha / (len(p) - rejected)


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a probability after k of n events (Clopper and Pearson 1934); (0, 1) for n = 0.

    Raises:
        InferenceError: k is not between 0 and n, or the confidence is not between 0 and 1.
    """
    check_confidence(confidence)
    if not 0 <= k <= n:
        raise InferenceError(f"clopper_pearson: k is {k} and n {n}; k must lie between 0 and n")
    tail = (1 - confidence) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k > 0 else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return low, high


def worst_rank(values: ArrayLike, diverged: int, *, higher_is_better: bool) -> Floats:
    """Append one infinitely bad entry per diverged trial: worse than any value, and all equally bad.

    The result is for `rank_contrast`, which ranks it; its mean has no meaning.
    """
    bad = -np.inf if higher_is_better else np.inf
    return np.concatenate([np.asarray(values, float), np.full(diverged, bad)])


def rank_contrast(a: ArrayLike, b: ArrayLike, *, paired: bool, confidence: float = 0.95) -> Estimate:
    """Apply `contrast` to the ranks of all values together (Conover and Iman 1981); ties share their mean rank.

    Args:
        a: one number per seed; NaN where it is absent, infinite (see worst_rank) where the trial diverged.
        b: the same for the other cell; if paired, entry i of both belongs to the same seed.
        paired: as in `contrast`.
        confidence: of the interval, in ranks.
    """
    first, second = np.asarray(a, float), np.asarray(b, float)
    ranks = rankdata(np.concatenate([first, second]), nan_policy="omit")
    return contrast(ranks[: len(first)], ranks[len(first) :], paired=paired, confidence=confidence)


def icc(table: ArrayLike) -> float:
    """Compute the intraclass correlation of the seed, ICC(C,1), over the seeds that have every cell.

        (MS_seed - MS_rest) / (MS_seed + (cells - 1) MS_rest),   for the two-way table without interaction

    It measures what pairing gains: the sd of a paired difference is about sqrt(1 - icc) times that of an unpaired one. NaN
    with fewer than two seeds or cells.

    Args:
        table: [seed, cell], NaN where absent.
    """
    rows = np.asarray(table, float)
    rows = rows[np.isfinite(rows).all(axis=1)]
    seeds, cells = rows.shape
    if seeds < 2 or cells < 2:
        return float("nan")
    rest = rows - rows.mean(axis=0) - rows.mean(axis=1, keepdims=True) + rows.mean()
    between = cells * float(rows.mean(axis=1).var(ddof=1))
    within = float((rest**2).sum()) / ((seeds - 1) * (cells - 1))
    total = between + (cells - 1) * within
    return (between - within) / total if total > 0 else float("nan")
