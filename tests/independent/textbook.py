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
    """A mean or a difference with its standard error and degrees of freedom."""

    value: float
    se: float
    df: float

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
    return Estimate(float(np.mean(values)), float(np.sqrt(variance / n)), n - 1)


def paired(one: pd.Series, other: pd.Series, floor: float = 0.0) -> Estimate:
    """Student on the differences of the seeds that both have; the floor is that of one value of each."""
    return mean((one - other).dropna().to_numpy(), 2 * floor)


def welch(one: np.ndarray, other: np.ndarray, floor: float = 0.0) -> Estimate:
    """Welch 1947: the sum of both squared errors, with Satterthwaite's degrees of freedom."""
    a, b = (max(np.var(x, ddof=1), floor) / len(x) for x in (one, other))
    df = (a + b) ** 2 / (a**2 / (len(one) - 1) + b**2 / (len(other) - 1)) if a + b else len(one) + len(other) - 2
    return Estimate(float(np.mean(one) - np.mean(other)), float(np.sqrt(a + b)), float(df))


def holm(p: Sequence[float]) -> list[float]:
    """Holm 1979: the i-th smallest of m is multiplied by m - i + 1, and none is below the one before it."""
    order, adjusted, largest = np.argsort(p, kind="stable"), [0.0] * len(p), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - place) * p[index]))
        adjusted[index] = largest
    return adjusted


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
