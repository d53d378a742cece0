"""Whether a difference is smaller than a margin, larger, or neither, and with what power; knows no study and no file."""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincinv, ndtr, stdtrit

from analysis.stats.estimate import Estimate, InferenceError, tail

ENOUGH_POWER = 0.8
"""Below this power at a true difference of 0 a failed equivalence test says nothing."""


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests of |true difference| < margin (Schuirmann 1987), in the units of the estimate."""

    margin: float
    p: float
    """The larger of the two one-sided p: small shows equivalence."""
    low: float
    """With `high` the interval of confidence 1 - 2 alpha: equivalent exactly if it lies within the margins."""
    high: float
    power: float
    """Of these tests if the true difference were 0, the seed's sd being the one observed."""
    verdict: str
    """equivalent; different: the interval lies wholly beyond a margin; undecided: neither, whatever the power."""
    p_beyond: float
    """One-sided, of |true difference| <= margin: small shows a difference larger than the margin."""

    @property
    def is_underpowered(self) -> bool:
        """Whether more seeds are needed before a failure to show equivalence means anything."""
        return not self.power >= ENOUGH_POWER


def equivalence(estimate: Estimate, margin: float, alpha: float = 0.05) -> Equivalence:
    """Whether a difference is shown to be smaller than a margin, larger than it, or neither.

    Args:
        estimate: a difference, with its standard error and degrees of freedom.
        margin: stated beforehand, above 0, in the units of the estimate.
        alpha: level of each of the two tests.

    Raises:
        InferenceError: the margin is not above 0, or alpha is not between 0 and 0.5.
    """
    _check_test(margin, alpha)
    d, se, df = estimate.estimate, estimate.se, estimate.df
    p = _largest(tail(d + margin, se, df), tail(margin - d, se, df))
    # The wrong side of the null cannot reject at a level below 0.5, so that the smaller p is a test of the same level.
    beyond = _largest(tail(d - margin, se, df) if d > 0 else tail(-d - margin, se, df))
    half = float(stdtrit(df, 1 - alpha)) * se
    verdict = "equivalent" if p <= alpha else "different" if beyond <= alpha else "undecided"
    return Equivalence(margin, p, d - half, d + half, _tost_power(se, df, margin, alpha), verdict, beyond)


def equivalence_power(
    sd: float, n: int, margin: float, alpha: float = 0.05, *, paired: bool = True, icc: float = 0.0
) -> float:
    """Power of the two one-sided tests at a true difference of 0 between two cells, exact for normal values.

        E over S of  [2 Phi((margin - t S) / se) - 1]+,   S^2 = se^2 chi^2_df / df,   t = t(1 - alpha, df)

    Five independent seeds a cell, margin 0.3 nats, sd 0.1, 0.2, 0.4: 0.970, 0.349, 0.026 by one contrast a seed (paired, its
    4 degrees of freedom), 0.991, 0.392, 0.009 by Welch.

    Args:
        sd: of one value a seed, equal in both cells.
        n: seeds a cell.
        margin: stated beforehand, in the units of sd.
        alpha: level of each of the two tests.
        paired: se = sd sqrt(2 (1 - icc) / n), n - 1 degrees of freedom; else se = sd sqrt(2 / n) and Welch's degrees, which
            are fewer than 2 (n - 1) as the two sds of the sample differ.
        icc: correlation of the two cells over seeds; 0 where their streams differ in shape. Only if paired.

    Raises:
        InferenceError: the margin is not above 0, alpha not between 0 and 0.5, or an icc is given to unpaired cells.
    """
    _check_test(margin, alpha)
    if not -1 <= icc <= 1 or (icc != 0 and not paired):
        raise InferenceError(f"icc is {icc}, paired {paired}; it lies between -1 and 1, and only pairs have one")
    if n < 2 or not sd >= 0:
        return 0.0
    if not paired:
        return _welch_power(sd, n, margin, alpha)
    return _tost_power(float(sd * np.sqrt(2 * (1 - icc) / n)), n - 1, margin, alpha)


def _check_test(margin: float, alpha: float) -> None:
    if not 0 < margin < np.inf or not 0 < alpha < 0.5:
        raise InferenceError(f"margin {margin} and alpha {alpha}: the margin is above 0, alpha between 0 and 0.5")


def _largest(*p: float) -> float:
    """As `max`, which hides a NaN that comes second."""
    return float(np.max(p))


def _tost_power(se: float, df: float, margin: float, alpha: float) -> float:
    if np.isnan(se):
        return float("nan")
    if se == 0:
        return 1.0
    # Midpoints of equal probability: exact to about 1e-4, which no plan of seeds can tell.
    spread = np.sqrt(2 * gammaincinv(df / 2, (np.arange(500) + 0.5) / 500) / df)
    reach = margin / se - stdtrit(df, 1 - alpha) * spread
    return float(np.maximum(2 * ndtr(reach) - 1, 0).mean())


def _welch_power(sd: float, n: int, margin: float, alpha: float) -> float:
    """As `_tost_power`, with both cells' variances drawn and Welch's degrees of freedom of each draw."""
    if sd == 0:
        return 1.0
    variances = 2 * gammaincinv((n - 1) / 2, (np.arange(64) + 0.5) / 64) / (n - 1)
    a, b = np.meshgrid(variances, variances)
    df = (n - 1) * (a + b) ** 2 / (a**2 + b**2)
    reach = margin / (sd * np.sqrt(2 / n)) - stdtrit(df, 1 - alpha) * np.sqrt((a + b) / 2)
    return float(np.maximum(2 * ndtr(reach) - 1, 0).mean())
