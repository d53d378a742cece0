"""Intervals, tests, Holm's adjustment and the balanced ANOVA, each as a textbook writes it, with numpy and scipy."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

ROUNDING = 1 / 12
"""Variance of the rounding of one count, uniform over one unit: the floor of docs/statistics.md."""


class Estimate(NamedTuple):
    """A mean or a difference with its standard error, degrees of freedom, least number of seeds and sd of one seed's value."""

    value: float
    se: float
    df: float
    n: int = 0
    sd: float = float("nan")

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """The two-sided t interval."""
        half = stats.t.ppf((1 + confidence) / 2, self.df) * self.se
        return self.value - half, self.value + half

    def p_two_sided(self) -> float:
        """The p-value of no difference."""
        return self.p_above(0) if self.se == 0 else float(2 * stats.t.sf(abs(self.value) / self.se, self.df))

    def p_above(self, limit: float) -> float:
        """The one-sided p-value of a true value at or below the limit."""
        if self.se == 0:
            return 0.0 if self.value > limit else 1.0
        return float(stats.t.sf((self.value - limit) / self.se, self.df))

    def p_below(self, limit: float) -> float:
        """The one-sided p-value of a true value at or above the limit."""
        return Estimate(-self.value, self.se, self.df).p_above(-limit)


def mean(values: np.ndarray, floor: float = 0.0) -> Estimate:
    """Student: mean, sd / sqrt(n), n - 1."""
    n = len(values)
    variance = max(np.var(values, ddof=1), floor) if n > 1 else np.nan
    sd = float(np.sqrt(variance))
    return Estimate(float(np.mean(values)) if n else np.nan, sd / np.sqrt(n) if n else np.nan, n - 1, n, sd)


def paired(one: pd.Series, other: pd.Series, floor: float = 0.0) -> Estimate:
    """Student on the differences of the seeds that both have; the floor is that of one value of each."""
    return mean((one - other).dropna().to_numpy(), 2 * floor)


def welch(one: np.ndarray, other: np.ndarray, floor: float = 0.0) -> Estimate:
    """Welch 1947: the sum of both squared errors, with Satterthwaite's degrees of freedom."""
    if min(len(one), len(other)) < 2:
        value = float(np.mean(one) - np.mean(other)) if len(one) and len(other) else np.nan
        return Estimate(value, np.nan, np.nan, min(len(one), len(other)))
    variances = [max(np.var(x, ddof=1), floor) for x in (one, other)]
    a, b = (variance / len(x) for variance, x in zip(variances, (one, other), strict=True))
    df = (a + b) ** 2 / (a**2 / (len(one) - 1) + b**2 / (len(other) - 1)) if a + b else len(one) + len(other) - 2
    sd = float(np.sqrt(np.mean(variances)))
    return Estimate(float(np.mean(one) - np.mean(other)), float(np.sqrt(a + b)), float(df), min(len(one), len(other)), sd)


def holm(p: Sequence[float]) -> list[float]:
    """Holm 1979: the i-th smallest of m is multiplied by m - i + 1, and none is below the one before it.

    One that could not be computed stays so, and counts among the m.
    """
    order, adjusted, largest = np.argsort(p, kind="stable"), [float("nan")] * len(p), 0.0
    for place, index in enumerate(order):
        if np.isnan(p[index]):
            break
        largest = max(largest, min(1.0, (len(p) - place) * p[index]))
        adjusted[index] = largest
    return adjusted


def holm_level(p: Sequence[float], place: int, alpha: float) -> float:
    """The largest p-value with which Holm's method would still reject this member, the others being as they are."""
    tried = [alpha / members for members in range(1, len(p) + 1)]
    return next(one for one in tried if holm([*p[:place], one, *p[place + 1 :]])[place] <= alpha * (1 + 1e-12))


def equal_within(found: Estimate, margin: float) -> float:
    """Schuirmann 1987: the larger p-value of two one-sided tests of a value within the margin on either side of 0."""
    return float(np.max([found.p_above(-margin), found.p_below(margin)]))


def spread_of_se(df: float) -> tuple[np.ndarray, np.ndarray]:
    """Values of S / se with S^2 = se^2 chi^2_df / df, and weights that integrate over their density (trapezoids)."""
    x = np.linspace(stats.chi2.ppf(1e-9, df) ** 0.5, stats.chi2.ppf(1 - 1e-12, df) ** 0.5, 4001)
    weights = 2 * x * stats.chi2.pdf(x**2, df)
    weights[~np.isfinite(weights)] = 0
    return x / np.sqrt(df), weights / weights.sum()


def chance_equal(value: float, se: float, df: float, margin: float, alpha: float) -> float:
    """The probability that both one-sided tests reject if this is the true value."""
    if se == 0:
        return float(abs(value) < margin)
    spread, weights = spread_of_se(df)
    room = margin - stats.t.ppf(1 - alpha, df) * se * spread
    inside = stats.norm.cdf((room - value) / se) - stats.norm.cdf((-room - value) / se)
    return float(weights @ np.maximum(inside, 0))


def chance_beyond(value: float, least: float, se: float, df: float, alpha: float) -> float:
    """The probability that an estimate is significantly above 0 and at least `least` if this is the true value."""
    if se == 0:
        return float(value > 0 and value >= least)
    spread, weights = spread_of_se(df)
    needed = np.maximum(least, stats.t.ppf(1 - alpha, df) * se * spread)
    return float(weights @ stats.norm.sf((needed - value) / se))


def icc(table: np.ndarray) -> float:
    """ICC(C,1) of rows of one seed each (McGraw and Wong 1996): (MS_rows - MS_error) / (MS_rows + (k - 1) MS_error)."""
    n, k = table.shape
    grand = table.mean()
    rows = k * ((table.mean(axis=1) - grand) ** 2).sum()
    columns = n * ((table.mean(axis=0) - grand) ** 2).sum()
    error = (((table - grand) ** 2).sum() - rows - columns) / ((n - 1) * (k - 1))
    between = rows / (n - 1)
    return float((between - error) / (between + (k - 1) * error))


def anova(table: pd.DataFrame, factors: Sequence[str], value: str) -> dict[str, tuple[int, float]]:
    """Degrees of freedom and sums of squares of a balanced design with the seed as block; `total` is their sum.

    The sum of squares of a term is that of its cell means about the grand mean less those of all terms within it.
    """
    grand = table[value].mean()
    found: dict[str, tuple[int, float]] = {}
    parts: dict[frozenset[str], float] = {frozenset(): 0.0}
    for order in range(1, len(factors) + 1):
        for term in combinations(factors, order):
            means = table.groupby(list(term))[value].transform("mean")
            inside = sum(ss for names, ss in parts.items() if names < set(term))
            parts[frozenset(term)] = float(((means - grand) ** 2).sum()) - inside
            found[" x ".join(term)] = (int(np.prod([table[name].nunique() - 1 for name in term])), parts[frozenset(term)])
    total = float(((table[value] - grand) ** 2).sum())
    seed = float(((table.groupby("seed")[value].transform("mean") - grand) ** 2).sum())
    found["seed"] = (table["seed"].nunique() - 1, seed)
    found["rest"] = (len(table) - 1 - sum(df for df, _ in found.values()), total - sum(ss for _, ss in found.values()))
    return {**found, "total": (len(table) - 1, total)}
