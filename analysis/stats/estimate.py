"""Estimates means and contrasts of one number per seed with t intervals, paired or by Welch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from workers.contract.errors import UserError

Floats = NDArray[np.float64]

COUNT_FLOOR = 1 / 12
"""Least variance of a count such as active units: that of rounding to whole units (docs/statistics.md)."""


class InferenceError(UserError):
    """The numbers given do not allow the inference; the message says which, and what is allowed."""


@dataclass(frozen=True)
class Estimate:
    """A number with its uncertainty, in the unit of the values; the uncertainty is NaN where n < 2."""

    estimate: float
    low: float
    high: float
    n: int
    """Number of seeds: those with every value if paired, those of the smallest cell if not."""
    p: float
    """Two-sided p of the null hypothesis given to the function (0 by default)."""
    sd: float
    """Standard deviation of one seed's contrast if paired, else the root mean square of the cells' sds."""
    kind: str
    """The method: `t over seeds`, `paired t over seeds` or `Welch t`."""
    se: float = float("nan")
    df: float = float("nan")


def mean_interval(values: ArrayLike, confidence: float = 0.95, null: float = 0.0, *, floor: float = 0.0) -> Estimate:
    """Estimate the mean over seeds with a t interval.

        mean -+ t(confidence, n - 1) * sd / sqrt(n),   sd with divisor n - 1

    Args:
        values: one number per seed; NaN where it is absent.
        confidence: of the interval, between 0 and 1.
        null: the mean under the null hypothesis of p.
        floor: least variance of one value (COUNT_FLOOR for counts).

    Raises:
        InferenceError: a value is infinite, or the confidence is not between 0 and 1.
    """
    kept = _finite(values)
    return _estimate(kept[~np.isnan(kept)], "t over seeds", confidence, null, floor)


def contrast(a: ArrayLike, b: ArrayLike, *, paired: bool, confidence: float = 0.95, floor: float = 0.0) -> Estimate:
    """Estimate mean(b) - mean(a) over seeds; pairing is fixed before the data are seen, never chosen by them.

    Args:
        a: one number per seed; NaN where it is absent.
        b: the same for the other cell; if paired, entry i of both belongs to the same seed.
        paired: t of the differences with n - 1 degrees of freedom, over the seeds that have both; else Welch's t.
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
    """Estimate sum_j w_j mean(column_j); valid if the cells differ in variance, paired or not.

        paired   c_s = sum_j w_j x_sj,  t of the c_s,   S - 1 degrees of freedom for S seeds that have every column
        else     se^2 = sum_j v_j,  v_j = w_j^2 s_j^2 / n_j,   df = se^4 / sum_j v_j^2 / (n_j - 1)   (Welch, Satterthwaite)

    A column of weight 0 is left out, so that its absent seeds do not matter.

    Raises:
        InferenceError: the numbers of columns and weights differ, paired columns differ in length, or a value is infinite.
    """
    w = np.asarray(weights, float)
    arrays = [_finite(column) for column in columns]
    if w.ndim != 1 or len(w) != len(arrays) or not np.isfinite(w).all() or not w.any():
        raise InferenceError(
            f"linear_contrast: got {len(arrays)} columns and the weights {w.tolist()}; give one finite weight per "
            "column, at least one of them not 0"
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
    """Return the p value against `effect <= null` (direction 1) or `effect >= null` (direction -1); NaN where n < 2.

    Raises:
        InferenceError: the direction is neither 1 nor -1.
    """
    if direction not in (1, -1):
        raise InferenceError(f"one_sided: direction is {direction}; give 1 for larger than the null, -1 for smaller")
    return tail(direction * (estimate.estimate - null), estimate.se, estimate.df)


def _finite(values: ArrayLike) -> Floats:
    array: Floats = np.asarray(values, float)
    if array.ndim != 1 or np.isinf(array).any():
        raise InferenceError(
            f"values have shape {array.shape}, {int(np.isinf(array).sum())} of them infinite; give one finite number per "
            "seed, NaN where it is absent (rank_contrast takes infinite ones)"
        )
    return array


def check_confidence(confidence: float) -> None:
    """Refuse a confidence that is not between 0 and 1."""
    if not 0 < confidence < 1:
        raise InferenceError(f"confidence is {confidence}; it must lie between 0 and 1, such as 0.95")


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
    """Return P(t_df > distance / se); if se is 0, this is 0 beyond the null and 1 at it or on its other side."""
    if se == 0:
        return 0.0 if distance > 0 else 1.0
    return float(stdtr(df, -distance / se))
