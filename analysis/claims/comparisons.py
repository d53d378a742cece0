"""Computes a claim's p values, for and against it, with and without diverged trials, from the values of its cells."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import rankdata, spearmanr

from analysis.claims.claim import Part
from analysis.claims.samples import Sample
from analysis.claims.values import Floats, better_of, unit_of
from analysis.stats.equivalence import equivalence
from analysis.stats.estimate import Estimate, contrast, linear_contrast, mean_interval, one_sided
from analysis.stats.multiplicity import rank_contrast

MANY = 1e9
"""Degrees of freedom that stand for a normal distribution."""

LEAST_PAIRS = 10
"""Least number of pairs for which a rank correlation has a usable interval."""


@dataclass(frozen=True)
class Comparison:
    """One of the tests that a part of a claim consists of.

    The p of a direction is twice the one-sided p, so that p <= 0.05 means that the 95% interval lies on the claimed side;
    the p of an equivalence is that of two one-sided tests.
    """

    name: str
    test: str
    """The test of its part."""
    estimate: Estimate
    """In the unit of the value, with its 95% interval."""
    p: float
    """For the claim."""
    p_against: float
    """Against the claim: for the other side, or for a difference beyond the margin."""
    p_worst: float
    """Like p, with diverged trials at the worst rank; equal to p if none diverged."""
    p_against_worst: float
    unit: str = ""
    margin: float = float("nan")
    power: float = float("nan")
    """Power of two one-sided tests if there is no true difference; NaN for other tests."""
    also: str = ""
    """The results at other margins."""


def comparisons(part: Part, samples: Mapping[str, Sample]) -> list[Comparison]:
    """Return every test of a part; the part holds if all of its tests do."""
    return [*_TESTS[part.test](part, samples)]


def _direction(part: Part, samples: Mapping[str, Sample]) -> Iterator[Comparison]:
    """Compare the first cell with every other cell."""
    sign = 1 if part.test == "greater" else -1
    first = samples[part.cells[0]]
    least = max(part.margin, part.by)
    for name in part.cells[1:]:
        other = samples[name]
        for which, (a, b) in _numbers(part, first, other):
            found = contrast(b, a, paired=part.paired, floor=_floor(first, other))
            p, against = _both(found, sign, sign * part.by, sign * least)
            worst, against_worst = p, against
            if first.diverged.any() or other.diverged.any():
                worst = _largest(
                    _twice(rank_contrast(low + sign * part.by, high, paired=part.paired), sign)
                    for high, low in _imputed(part, (a, first), (b, other))
                )
                against_worst = _largest(
                    _twice(rank_contrast(low + sign * least, high, paired=part.paired), -sign)
                    for high, low in _imputed(part, (a, first), (b, other))
                )
            title = f"{part.name}, {first.cell} - {name}{which}"
            yield Comparison(title, part.test, found, p, against, worst, against_worst, _unit(part), part.margin)


def _limit(part: Part, samples: Mapping[str, Sample]) -> Iterator[Comparison]:
    """Compare every cell with the limit."""
    sign = 1 if part.test == "above" else -1
    for name in part.cells:
        one = samples[name]
        for which, (values,) in _numbers(part, one):
            found = mean_interval(values, floor=_floor(one))
            p, against = _both(found, sign, part.limit, part.limit)
            worst, against_worst = p, against
            if one.diverged.any():
                ends = [_signed_ranks(imputed - part.limit) for (imputed,) in _imputed(part, (values, one))]
                worst, against_worst = (_largest(_twice(rank, way) for rank in ends) for way in (sign, -sign))
            title = f"{part.name}, {name}{which}"
            yield Comparison(title, part.test, found, p, against, worst, against_worst, _unit(part), part.limit)


def _within(part: Part, samples: Mapping[str, Sample]) -> Iterator[Comparison]:
    """Test whether every cell lies within a range, by two one-sided tests."""
    low, high = part.range
    for name in part.cells:
        one = samples[name]
        for which, (values,) in _numbers(part, one):
            centred = mean_interval(values - (low + high) / 2, floor=_floor(one))
            found = equivalence(centred, (high - low) / 2)
            worst, beyond = found.p, found.p_beyond
            if one.diverged.any():
                edge, sign = (high, 1) if centred.estimate > 0 else (low, -1)
                ends = [_signed_ranks(imputed - edge) for (imputed,) in _imputed(part, (values, one))]
                worst, beyond = 1.0, _largest(one_sided(rank, sign) for rank in ends)
            raw = mean_interval(values, floor=_floor(one))
            title = f"{part.name}, {name}{which}"
            yield Comparison(
                title, part.test, raw, found.p, found.p_beyond, worst, beyond, _unit(part), (high - low) / 2, found.power
            )


def _equal(part: Part, samples: Mapping[str, Sample]) -> Iterator[Comparison]:
    """Test whether every pair of cells is equal, by two one-sided tests."""
    for one, other in combinations([samples[name] for name in part.cells], 2):
        for which, (a, b) in _numbers(part, one, other):
            raw = contrast(b, a, paired=part.paired, floor=_floor(one, other))
            found = equivalence(raw, part.margin)
            worst, beyond = found.p, found.p_beyond
            if one.diverged.any() or other.diverged.any():
                # A trial that diverged never equals one that did not, at any margin.
                sign = 1 if raw.estimate > 0 else -1
                pairs = _imputed(part, (a, one), (b, other))
                ranks = [rank_contrast(low + sign * part.margin, high, paired=part.paired) for high, low in pairs]
                worst, beyond = 1.0, _largest(one_sided(rank, sign) for rank in ranks)
            unit = _unit(part)
            also = [f"{equivalence(raw, margin).verdict} at {margin:g} {unit}".strip() for margin in part.also]
            title = f"{part.name}, {one.cell} - {other.cell}{which}"
            yield Comparison(
                title,
                part.test,
                raw,
                found.p,
                found.p_beyond,
                worst,
                beyond,
                unit,
                part.margin,
                found.power,
                ", ".join(also),
            )


def _uncorrelated(part: Part, samples: Mapping[str, Sample]) -> Iterator[Comparison]:
    """Test Spearman's rho within every cell, on Fisher's scale with variance 1.06 / (n - 3) (Fieller et al. 1957)."""
    for name in part.cells:
        one = samples[name]
        # A cell without any values has a single column.
        values = one.values if one.values.shape[1] == 2 else np.empty((0, 2))
        x, y = values[~np.isnan(values).any(axis=1)].T
        rho, n = float("nan"), len(x)
        if n >= LEAST_PAIRS and np.ptp(x) > 0 and np.ptp(y) > 0:
            rho = float(spearmanr(x, y).statistic)
        with np.errstate(divide="ignore"):
            z = float(np.arctanh(rho))
        se = float(np.sqrt(1.06 / (n - 3))) if n >= LEAST_PAIRS and np.isfinite(z) else float("nan")
        low, high = np.tanh([z - 1.96 * se, z + 1.96 * se]).tolist()
        scaled = Estimate(z, z - 1.96 * se, z + 1.96 * se, n, float("nan"), se, "Fisher z", se, MANY)
        found = equivalence(scaled, float(np.arctanh(part.margin)))
        worst = 1.0 if one.diverged.any() else found.p
        beyond = 1.0 if one.diverged.any() else found.p_beyond
        raw = Estimate(rho, low, high, n, float("nan"), float("nan"), "Spearman", se, MANY)
        yield Comparison(
            f"{part.name}, {name}", part.test, raw, found.p, found.p_beyond, worst, beyond, "rho", part.margin, found.power
        )


def _dominates(part: Part, samples: Mapping[str, Sample]) -> Iterator[Comparison]:
    """Test |large effect| - |small effect| for every pair of effects, by Welch's t; a cell shared by both counts once."""
    for large in part.large:
        for small in part.small:
            weights: dict[str, float] = {}
            for (one, other), size in ((large, 1.0), (small, -1.0)):
                difference = mean_interval(_first(samples[other])).estimate - mean_interval(_first(samples[one])).estimate
                sign = size if difference >= 0 else -size
                weights[other] = weights.get(other, 0.0) + sign
                weights[one] = weights.get(one, 0.0) - sign
            cells = [samples[name] for name in weights]
            found = linear_contrast(
                [_first(one) for one in cells], list(weights.values()), paired=False, floor=_floor(*cells)
            )
            p, against = _both(found, 1, 0.0, 0.0)
            # Differences of differences of ranks mean nothing.
            has_diverged = any(one.diverged.any() for one in cells)
            worst, against_worst = (1.0, 1.0) if has_diverged else (p, against)
            title = f"{part.name}, |{large[1]} - {large[0]}| - |{small[1]} - {small[0]}|"
            yield Comparison(title, part.test, found, p, against, worst, against_worst, _unit(part), 0.0)


def _always(part: Part, samples: Mapping[str, Sample]) -> Iterator[Comparison]:
    """Check every trial by itself, without inference."""
    for name in part.cells:
        values = samples[name].values[:, 0]
        known = values[~np.isnan(values)]
        least = float(known.min()) if len(known) else float("nan")
        holds = float("nan") if np.isnan(least) else float(least <= part.limit)
        found = Estimate(least, least, least, len(known), float("nan"), float("nan"), "least of all trials")
        yield Comparison(
            f"{part.name}, {name}", part.test, found, holds, 1 - holds, holds, 1 - holds, _unit(part), part.limit
        )


_TESTS = {
    "greater": _direction,
    "less": _direction,
    "above": _limit,
    "below": _limit,
    "within": _within,
    "equal": _equal,
    "uncorrelated": _uncorrelated,
    "dominates": _dominates,
    "always": _always,
}


def _numbers(part: Part, *samples: Sample) -> Iterator[tuple[str, list[Floats]]]:
    """Yield the arrays of some cells, number by number, with a name for each; classes that no cell has are left out."""
    width = min(one.values.shape[1] for one in samples)
    for place in range(width):
        columns = [one.values[:, place] for one in samples]
        if width > 1 and all(np.isnan(column).all() for column in columns):
            continue
        which = ""
        if part.value == "by_class":
            which = f", class {place}"
        elif width > 1:
            which = f", {place + 1} of {width}"
        yield which, columns


def _imputed(part: Part, *arrays: tuple[Floats, Sample]) -> Iterator[list[Floats]]:
    """Yield the arrays with diverged trials infinitely bad: at one end, or at each end if neither is better."""
    better = better_of(part.value, str(part.how.get("column", "")))
    for end in (-np.inf, np.inf) if better is None else (-np.inf if better else np.inf,):
        yield [np.where(one.diverged, end, values) for values, one in arrays]


def _signed_ranks(deviations: Floats) -> Estimate:
    """Estimate the mean signed rank (Wilcoxon) with a t interval (Conover and Iman 1981); infinite deviations rank last."""
    known = deviations[~np.isnan(deviations)]
    return mean_interval(np.sign(known) * rankdata(np.abs(known)))


def _both(found: Estimate, sign: int, null: float, contrary: float) -> tuple[float, float]:
    """Return the p for lying beyond `null` in a direction, and the p for falling short of `contrary`."""
    return _twice(found, sign, null), _twice(found, -sign, contrary)


def _twice(found: Estimate, sign: int, null: float = 0.0) -> float:
    return float(np.minimum(1.0, 2 * one_sided(found, sign, null)))


def _largest(values: Iterator[float]) -> float:
    """Return the largest value, or NaN if there is one; `max` would hide a NaN that comes second."""
    return float(np.max([*values]))


def _floor(*samples: Sample) -> float:
    return max(one.least_variance for one in samples)


def _unit(part: Part) -> str:
    return unit_of(part.value, str(part.how.get("column", "")))


def _first(sample: Sample) -> Floats:
    return sample.values[:, 0]
