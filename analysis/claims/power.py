"""Computes the power of a claim's tests at the level that they have to meet, and the seeds that would decide the claim."""

from collections.abc import Sequence

import numpy as np

from analysis.claims.comparisons import FISHER, LEAST_PAIRS, Comparison, fisher_se
from analysis.effects.seeds_needed import fewest_seeds
from analysis.stats.equivalence import equivalence_chance, exceedance_chance
from analysis.stats.estimate import Estimate


def power_at_no_difference(tests: Sequence[Comparison], level: float) -> float:
    """Return the least power of the equivalence tests among some tests at a true difference of 0; NaN without any."""
    scaled = [(test, test.scaled) for test in tests if test.is_equivalence and test.scaled is not None]
    found = [equivalence_chance(0.0, one.se, one.df, test.bound, level) for test, one in scaled]
    known = [power for power in found if not np.isnan(power)]
    return min(known, default=float("nan"))


def seeds_to_decide(tests: Sequence[Comparison], level_for: float, level_against: float) -> int | None:
    """Return the seeds per cell, in all, with which a claim would be decided with probability 0.8.

    The true effects and sds are taken to be the estimated ones. If all estimates lie on the side of the claim, all tests
    have to pass (their probabilities are multiplied); else it is enough that one of the other tests refutes it.

    Args:
        tests: all tests that decide.
        level_for: the level that each p for the claim has to meet.
        level_against: the level that the smallest p against it, times the number of tests, has to meet.

    Returns:
        None if an estimate is absent or MOST seeds are not enough.
    """
    if not tests or any(test.scaled is not None and np.isnan(test.scaled.se) for test in tests):
        return None
    contrary = [test for test in tests if not _agrees(test)]
    if not contrary:
        return fewest_seeds(lambda n: float(np.prod([_chance_for(test, n, level_for) for test in tests])))
    found = [fewest_seeds(lambda n, one=test: _chance_against(one, n, level_against / len(tests))) for test in contrary]  # type: ignore[misc]
    return min((seeds for seeds in found if seeds is not None), default=None)


def _agrees(test: Comparison) -> bool:
    """Tell whether the estimate lies on the side of the claim."""
    if test.scaled is None:
        return bool(test.p == 0)
    return abs(test.scaled.estimate) < test.bound if test.is_equivalence else test.scaled.estimate >= test.bound


def _chance_for(test: Comparison, n: int, level: float) -> float:
    """Return the probability that n seeds confirm a test if the truth is as estimated."""
    if test.scaled is None:
        return 1.0
    se, df = _with_seeds(test.scaled, n)
    if test.is_equivalence:
        return equivalence_chance(test.scaled.estimate, se, df, test.bound, level)
    return exceedance_chance(test.scaled.estimate, test.bound, se, df, level / 2)


def _chance_against(test: Comparison, n: int, level: float) -> float:
    """Return the probability that n seeds refute a test if the truth is as estimated."""
    if test.scaled is None:
        return 1.0
    se, df = _with_seeds(test.scaled, n)
    if test.is_equivalence:
        return exceedance_chance(abs(test.scaled.estimate) - test.bound, 0.0, se, df, level)
    return exceedance_chance(test.bound - test.scaled.estimate, 0.0, se, df, level / 2)


def _with_seeds(found: Estimate, n: int) -> tuple[float, float]:
    """Return the standard error and the degrees of freedom with n seeds per cell and the same sds."""
    if found.kind == FISHER:
        return (fisher_se(n) if n >= LEAST_PAIRS else float("inf")), found.df
    return found.se * float(np.sqrt(found.n / n)), found.df * (n - 1) / (found.n - 1)
