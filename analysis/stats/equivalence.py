"""Tests whether a difference is smaller or larger than a margin, and computes the power of tests of effects."""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincinv, ndtr, stdtrit

from analysis.stats.estimate import Estimate, Floats, InferenceError, tail

ENOUGH_POWER = 0.8
"""The power for which seeds are planned. It never turns a passed test into a failed one."""


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests of |true difference| < margin (Schuirmann 1987), in the units of the estimate."""

    margin: float
    p: float
    """The larger of the two one-sided p values; a small one shows equivalence."""
    low: float
    """With `high` the interval of confidence 1 - 2 alpha; equivalent exactly if it lies within the margins."""
    high: float
    power: float
    """Power of these tests if the true difference is 0 and the sd over seeds is the observed one."""
    verdict: str
    """equivalent | different (the interval lies wholly beyond a margin) | undecided (neither, whatever the power)."""
    p_beyond: float
    """One-sided p against |true difference| <= margin; a small one shows a difference larger than the margin."""


def equivalence(estimate: Estimate, margin: float, alpha: float = 0.05) -> Equivalence:
    """Test whether a difference is smaller than a margin, larger than it, or neither can be shown.

    Args:
        estimate: a difference, with its standard error and degrees of freedom.
        margin: fixed beforehand, above 0, in the unit of the estimate.
        alpha: level of each of the two tests.

    Raises:
        InferenceError: the margin is not above 0, or alpha is not between 0 and 0.5.
    """
    _check_test(margin, alpha)
    d, se, df = estimate.estimate, estimate.se, estimate.df
    p = _largest(tail(d + margin, se, df), tail(margin - d, se, df))
    # The wrong side of the null cannot reject at a level below 0.5, so the smaller p is a test of the same level.
    beyond = _largest(tail(d - margin, se, df) if d > 0 else tail(-d - margin, se, df))
    half = float(stdtrit(df, 1 - alpha)) * se
    verdict = "equivalent" if p <= alpha else "different" if beyond <= alpha else "undecided"
    return Equivalence(margin, p, d - half, d + half, equivalence_chance(0.0, se, df, margin, alpha), verdict, beyond)


def equivalence_power(
    sd: float, n: int, margin: float, alpha: float = 0.05, *, paired: bool = True, icc: float = 0.0
) -> float:
    """Compute the power of the two one-sided tests at a true difference of 0 between two cells, for normal values.

        E over S of  [2 Phi((margin - t S) / se) - 1]+,   S^2 = se^2 chi^2_df / df,   t = t(1 - alpha, df)

    With five independent seeds per cell, a margin of 0.3 nats and an sd of 0.1, 0.2 or 0.4 it is 0.970, 0.349 or 0.026 for
    one contrast per seed (paired, 4 degrees of freedom), and 0.991, 0.392 or 0.009 for Welch's test.

    Args:
        sd: of one value per seed, equal in both cells.
        n: seeds per cell.
        margin: fixed beforehand, in the unit of sd.
        alpha: level of each of the two tests.
        paired: se = sd sqrt(2 (1 - icc) / n) with n - 1 degrees of freedom; else se = sd sqrt(2 / n) with Welch's degrees of
            freedom, which are fewer than 2 (n - 1) as the two sample sds differ.
        icc: correlation of the two cells over seeds; 0 where their random streams differ in shape. Only if paired.

    Raises:
        InferenceError: the margin is not above 0, alpha is not between 0 and 0.5, or an icc is given for unpaired cells.
    """
    _check_test(margin, alpha)
    if not -1 <= icc <= 1 or (icc != 0 and not paired):
        raise InferenceError(f"icc is {icc}, paired is {paired}; icc lies between -1 and 1, and is 0 if unpaired")
    if n < 2 or not sd >= 0:
        return 0.0
    if not paired:
        return _welch_power(sd, n, margin, alpha)
    return equivalence_chance(0.0, float(sd * np.sqrt(2 * (1 - icc) / n)), n - 1, margin, alpha)


def equivalence_chance(difference: float, se: float, df: float, margin: float, alpha: float) -> float:
    """Compute the probability that the two one-sided tests show |true difference| < margin.

        E over S of  [Phi(r - d / se) - Phi(-r - d / se)]+,   r = (margin - t S) / se,   S^2 = se^2 chi^2_df / df

    Args:
        difference: the true one, in the unit of the margin.
        se: true standard error of the estimate.
        df: degrees of freedom of the estimated one.
        margin: above 0.
        alpha: level of each of the two tests; t = t(1 - alpha, df).
    """
    if se == 0:
        return float(abs(difference) < margin)
    reach, shift = margin / se - _critical(df, alpha), difference / se
    return float(np.maximum(ndtr(reach - shift) - ndtr(-reach - shift), 0).mean())


def exceedance_chance(distance: float, least: float, se: float, df: float, alpha: float) -> float:
    """Compute the probability that an estimate lies beyond its null significantly and is at least `least`.

        E over S of  Phi((distance - max(least, t S)) / se),   S^2 = se^2 chi^2_df / df

    Args:
        distance: the true value minus the null, in the direction of the test.
        least: the same for the least estimate that counts; 0 if only significance counts.
        se: true standard error of the estimate.
        df: degrees of freedom of the estimated one.
        alpha: one-sided level; t = t(1 - alpha, df).
    """
    if se == 0:
        return float(distance > 0 and distance >= least)
    return float(ndtr(distance / se - np.maximum(least / se, _critical(df, alpha))).mean())


def _check_test(margin: float, alpha: float) -> None:
    if not 0 < margin < np.inf or not 0 < alpha < 0.5:
        raise InferenceError(f"margin is {margin} and alpha {alpha}; the margin must be above 0, alpha between 0 and 0.5")


def _largest(*p: float) -> float:
    """Return the largest value, or NaN if there is one; `max` would hide a NaN that comes second."""
    return float(np.max(p))


def _critical(df: float, alpha: float) -> Floats:
    """Return t S / se at midpoints of equal probability: exact to about 1e-4, far finer than any plan of seeds needs."""
    spread: Floats = np.sqrt(2 * gammaincinv(df / 2, (np.arange(500) + 0.5) / 500) / df)
    return float(stdtrit(df, 1 - alpha)) * spread


def _welch_power(sd: float, n: int, margin: float, alpha: float) -> float:
    """Compute the power with both sample variances integrated out and Welch's degrees of freedom for each pair."""
    if sd == 0:
        return 1.0
    variances = 2 * gammaincinv((n - 1) / 2, (np.arange(64) + 0.5) / 64) / (n - 1)
    a, b = np.meshgrid(variances, variances)
    df = (n - 1) * (a + b) ** 2 / (a**2 + b**2)
    reach = margin / (sd * np.sqrt(2 / n)) - stdtrit(df, 1 - alpha) * np.sqrt((a + b) / 2)
    return float(np.maximum(2 * ndtr(reach) - 1, 0).mean())
