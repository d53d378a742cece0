"""Means and contrasts of one number a seed with their t intervals, paired or Welch; knows no study and no file."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from workers.contract.errors import UserError

Floats = NDArray[np.float64]

COUNT_FLOOR = 1 / 12
"""Least variance of a count such as active units: what rounding to whole units alone would leave (docs/statistics.md)."""


class InferenceError(UserError):
    """Numbers that allow no such inference were handed over; the text says which, and what is allowed."""


@dataclass(frozen=True)
class Estimate:
    """A number with its uncertainty, in the units of the values; NaN where n < 2 leaves none."""

    estimate: float
    low: float
    high: float
    n: int
    """Seeds: those with every value if paired, those of the smallest cell if not."""
    p: float
    """Two-sided, of the null hypothesis that the function was told (0 unless said)."""
    sd: float
    """Of one seed's number: of its contrast if paired, the root mean square over the cells if not."""
    kind: str
    """How it was made: `t over seeds`, `paired t over seeds`, `Welch t`."""
    se: float = float("nan")
    df: float = float("nan")


def mean_interval(values: ArrayLike, confidence: float = 0.95, null: float = 0.0, *, floor: float = 0.0) -> Estimate:
    """Mean over seeds with a t interval:  mean -+ t(confidence, n - 1) * sd / sqrt(n),   sd with divisor n - 1.

    Args:
        values: one number a seed; NaN where it is absent.
        confidence: of the interval, between 0 and 1.
        null: the mean that p is about.
        floor: least variance of one value (COUNT_FLOOR for counts).

    Raises:
        InferenceError: a value is infinite, or the confidence is no probability.
    """
    kept = _finite(values)
    return _estimate(kept[~np.isnan(kept)], "t over seeds", confidence, null, floor)


def contrast(a: ArrayLike, b: ArrayLike, *, paired: bool, confidence: float = 0.95, floor: float = 0.0) -> Estimate:
    """mean(b) - mean(a) over seeds; whether it is paired is fixed before the data are seen, never chosen by them.

    Args:
        a: one number a seed; NaN where it is absent.
        b: the same of the other cell; if paired, entry i of both is the same seed.
        paired: t of the differences, n - 1 degrees of freedom, over the seeds that have both; else Welch's t.
        confidence: of the interval, between 0 and 1.
        floor: least variance of one value (COUNT_FLOOR for counts).

    Raises:
        InferenceError: a value is infinite, or paired arrays have different lengths.
    """
    return linear_contrast([a, b], [-1.0, 1.0], paired=paired, confidence=confidence, floor=floor)


def linear_contrast(
    columns: Sequence[ArrayLike],
    weights: ArrayLike,
    *,
    paired: bool,
    confidence: float = 0.95,
    null: float = 0.0,
    floor: float = 0.0,
) -> Estimate:
    """sum_j w_j mean(column_j): valid when the cells differ in variance, paired or not.

        paired   c_s = sum_j w_j x_sj,  t of the c_s,   S - 1 degrees of freedom, S the seeds that have every column
        else     se^2 = sum_j v_j,  v_j = w_j^2 s_j^2 / n_j,   df = se^4 / sum_j v_j^2 / (n_j - 1)   (Welch, Satterthwaite)

    A column of weight 0 is left out: its absent seeds cost nothing.

    Raises:
        InferenceError: numbers of columns and weights differ, paired columns differ in length, or a value is infinite.
    """
    w = np.asarray(weights, float)
    arrays = [_finite(column) for column in columns]
    if w.ndim != 1 or len(w) != len(arrays) or not np.isfinite(w).all() or not w.any():
        raise InferenceError(
            f"linear_contrast: got {len(arrays)} columns and the weights {w.tolist()}; give a finite weight a column, "
            "one of them other than 0"
        )
    used = [(weight, array) for weight, array in zip(w, arrays, strict=True) if weight != 0]
    if not paired:
        return _welch(used, confidence, null, floor)
    lengths = {len(array) for _, array in used}
    if len(lengths) > 1:
        raise InferenceError(
            f"linear_contrast: paired columns have lengths {sorted(lengths)}; align them by seed, NaN where one is absent"
        )
    each = np.sum([weight * array for weight, array in used], axis=0)
    spread = floor * float(sum(weight**2 for weight, _ in used))
    return _estimate(each[~np.isnan(each)], "paired t over seeds", confidence, null, spread)


def one_sided(estimate: Estimate, direction: int, null: float = 0.0) -> float:
    """P value against `effect <= null` (direction 1) or `effect >= null` (direction -1); NaN where n < 2.

    Raises:
        InferenceError: the direction is neither 1 nor -1.
    """
    if direction not in (1, -1):
        raise InferenceError(f"one_sided: direction is {direction}; 1 asks for larger than the null, -1 for smaller")
    return tail(direction * (estimate.estimate - null), estimate.se, estimate.df)


def _finite(values: ArrayLike) -> Floats:
    array: Floats = np.asarray(values, float)
    if array.ndim != 1 or np.isinf(array).any():
        raise InferenceError(
            f"values of shape {array.shape}, {int(np.isinf(array).sum())} infinite; give a finite number a seed, NaN where "
            "it is absent (rank_contrast takes infinite ones)"
        )
    return array


def check_confidence(confidence: float) -> None:
    """Refuse what is no probability."""
    if not 0 < confidence < 1:
        raise InferenceError(f"confidence is {confidence}; it lies between 0 and 1, such as 0.95")


def _estimate(values: Floats, kind: str, confidence: float, null: float, floor: float) -> Estimate:
    n = len(values)
    mean = float(values.mean()) if n else float("nan")
    if n < 2:
        return _with_interval(mean, float("nan"), float("nan"), n, float("nan"), kind, confidence, null)
    sd = float(np.sqrt(max(values.var(ddof=1), floor)))
    return _with_interval(mean, sd / float(np.sqrt(n)), n - 1.0, n, sd, kind, confidence, null)


def _welch(used: Sequence[tuple[float, Floats]], confidence: float, null: float, floor: float) -> Estimate:
    kept = [(weight, array[~np.isnan(array)]) for weight, array in used]
    n = np.array([len(array) for _, array in kept])
    mean = float(sum(weight * (array.mean() if len(array) else np.nan) for weight, array in kept))
    if n.min() < 2:
        return _with_interval(mean, float("nan"), float("nan"), int(n.min()), float("nan"), "Welch t", confidence, null)
    variances = np.array([max(array.var(ddof=1), floor) for _, array in kept])
    parts = np.array([weight**2 for weight, _ in kept]) * variances / n
    squares = float((parts**2 / (n - 1)).sum())
    df = float(parts.sum() ** 2 / squares) if squares > 0 else float((n - 1).sum())
    sd = float(np.sqrt(variances.mean()))
    return _with_interval(mean, float(np.sqrt(parts.sum())), df, int(n.min()), sd, "Welch t", confidence, null)


def _with_interval(
    mean: float, se: float, df: float, n: int, sd: float, kind: str, confidence: float, null: float
) -> Estimate:
    check_confidence(confidence)
    half = float(stdtrit(df, (1 + confidence) / 2)) * se
    p = float("nan") if np.isnan(se) else min(1.0, 2 * tail(abs(mean - null), se, df))
    return Estimate(mean, mean - half, mean + half, n, p, sd, kind, se, df)


def tail(distance: float, se: float, df: float) -> float:
    """P(t_df > distance / se); without spread, 0 beyond the null and 1 at it or on its other side."""
    if se == 0:
        return 0.0 if distance > 0 else 1.0
    return float(stdtr(df, -distance / se))
