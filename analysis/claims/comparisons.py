"""Computes a claim's p values, for and against it, with and without diverged trials, from the values of its cells."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata, spearmanr

from analysis.claims.claim import Part
from analysis.claims.samples import Sample
from analysis.claims.trial import Floats
from analysis.claims.values import better_of, unit_of
from analysis.stats.equivalence import equivalence
from analysis.stats.estimate import Estimate, contrast, linear_contrast, mean_interval, one_sided
from analysis.stats.multiplicity import rank_contrast

MANY = 1e9
"""Degrees of freedom that stand for a normal distribution."""

FISHER = "Fisher z"

LEAST_PAIRS = 10
"""Least number of pairs for which a rank correlation has a usable interval."""


@dataclass(frozen=True)
class Comparison:
    """One of the tests that a part of a claim consists of.

    The p of a direction is twice the one-sided p, so that p <= 0.05 means that the 95% interval lies on the claimed side;
    the p of an equivalence is that of two one-sided tests. A direction has two criteria (Neuenschwander et al. 2018): it is
    confirmed if it is shown to exceed `by` and its estimate is at least `margin`, and refuted if it is shown to fall short
    of `margin`. As the estimate then lies below `margin`, both can never hold, at any level.
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
    """The smallest difference that counts, or the limit."""
    how: str = ""
    """What is shown if it speaks against the claim."""
    is_enough: bool = True
    """For a direction: whether the estimate is at least the smallest difference that counts, which a confirmation needs."""
    p_opposite: float = float("nan")
    """For a direction: p of lying on the other side of 0, also with diverged trials at the worst rank."""
    scaled: Estimate | None = None
    """The estimate in the direction of the claim and from its null (equivalences: from the middle), on the scale of the
    test; None without inference."""
    bound: float = 0.0
    """On that scale, the least estimate that counts, or the margin of an equivalence."""
    also: str = ""
    """The results at other margins, or what stands behind the number."""

    @property
    def is_equivalence(self) -> bool:
        """Tell whether it consists of two one-sided tests."""
        return self.test in ("within", "equal", "uncorrelated")


def comparisons(part: Part, samples: Mapping[str, Sample]) -> list[Comparison]:
    """Return every test of a part; the part holds if all of its tests do."""
    return [*_TESTS[part.test](part, samples)]


def _direction(part: Part, samples: Mapping[str, Sample]) -> Iterator[Comparison]:
    """Compare the first cell with every other cell."""
    sign = 1 if part.test == "greater" else -1
    first = samples[part.cells[0]]
    least = max(part.margin, part.by)
    unit = _unit(part)
    for name in part.cells[1:]:
        other = samples[name]
        for which, (a, b) in _numbers(part, first, other):
            found = contrast(b, a, paired=part.paired, floor=_floor(first, other))
            p, against = _both(found, sign, sign * part.by, sign * least)
            opposite = _twice(found, -sign)
            worst, against_worst = p, against
            if first.diverged.any() or other.diverged.any():
                worst, against_worst, other_side = (
                    _largest(
                        _twice(rank_contrast(low + sign * null, high, paired=part.paired), way)
                        for high, low in _imputed(part, (a, first), (b, other))
                    )
                    for null, way in ((part.by, sign), (least, -sign), (0.0, -sign))
                )
                opposite = float(np.maximum(opposite, other_side))
            yield Comparison(
                f"{part.name}, {first.cell} - {name}{which}",
                part.test,
                found,
                p,
                against,
                worst,
                against_worst,
                unit,
                least,
                how=_with_unit("shown to be smaller than the margin of", least, unit),
                # The same arithmetic as in p_against, so that both can never hold.
                is_enough=sign * (found.estimate - sign * least) >= 0,
                p_opposite=opposite,
                scaled=_moved(found, sign, sign * part.by),
                bound=least - part.by,
            )


def _limit(part: Part, samples: Mapping[str, Sample]) -> Iterator[Comparison]:
    """Compare every cell with the limit."""
    sign = 1 if part.test == "above" else -1
    unit = _unit(part)
    side = "below" if part.test == "above" else "above"
    for name in part.cells:
        one = samples[name]
        for which, (values,) in _numbers(part, one):
            found = mean_interval(values, floor=_floor(one))
            p, against = _both(found, sign, part.limit, part.limit)
            worst, against_worst = p, against
            if one.diverged.any():
                ends = [_signed_ranks(imputed - part.limit) for (imputed,) in _imputed(part, (values, one))]
                worst, against_worst = (_largest(_twice(rank, way) for rank in ends) for way in (sign, -sign))
            yield Comparison(
                f"{part.name}, {name}{which}",
                part.test,
                found,
                p,
                against,
                worst,
                against_worst,
                unit,
                part.limit,
                how=_with_unit(f"shown to lie {side} the limit of", part.limit, unit),
                scaled=_moved(found, sign, part.limit),
            )


def _within(part: Part, samples: Mapping[str, Sample]) -> Iterator[Comparison]:
    """Test whether every cell lies within a range, by two one-sided tests."""
    low, high = part.range
    unit = _unit(part)
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
            yield Comparison(
                f"{part.name}, {name}{which}",
                part.test,
                mean_interval(values, floor=_floor(one)),
                found.p,
                found.p_beyond,
                worst,
                beyond,
                unit,
                (high - low) / 2,
                how=_with_unit(f"shown to lie outside {low:g} to", high, unit),
                scaled=centred,
                bound=(high - low) / 2,
            )


def _equal(part: Part, samples: Mapping[str, Sample]) -> Iterator[Comparison]:
    """Test whether every pair of cells is equal, by two one-sided tests."""
    unit = _unit(part)
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
            also = [f"{equivalence(raw, margin).verdict} at {margin:g} {unit}".strip() for margin in part.also]
            yield Comparison(
                f"{part.name}, {one.cell} - {other.cell}{which}",
                part.test,
                raw,
                found.p,
                found.p_beyond,
                worst,
                beyond,
                unit,
                part.margin,
                how=_with_unit("shown to differ by more than the margin of", part.margin, unit),
                scaled=raw,
                bound=part.margin,
                also=", ".join(also),
            )


def _uncorrelated(part: Part, samples: Mapping[str, Sample]) -> Iterator[Comparison]:
    """Test Spearman's rho within every cell, on Fisher's scale with variance 1.06 / (n - 3) (Fieller et al. 1957)."""
    bound = float(np.arctanh(part.margin))
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
        se = fisher_se(n) if n >= LEAST_PAIRS and np.isfinite(z) else float("nan")
        half = float(ndtri(0.975)) * se
        low, high = np.tanh([z - half, z + half]).tolist()
        scaled = Estimate(z, z - half, z + half, n, float("nan"), se, FISHER, se, MANY)
        found = equivalence(scaled, bound)
        has_diverged = bool(one.diverged.any())
        yield Comparison(
            f"{part.name}, {name}",
            part.test,
            Estimate(rho, low, high, n, float("nan"), float("nan"), "Spearman", se, MANY),
            found.p,
            found.p_beyond,
            1.0 if has_diverged else found.p,
            1.0 if has_diverged else found.p_beyond,
            "rho",
            part.margin,
            how=f"shown to be larger in size than {part.margin:g}",
            scaled=scaled,
            bound=bound,
        )


def fisher_se(n: int) -> float:
    """Return the standard error of Spearman's rho on Fisher's scale from n pairs; infinite where it has none."""
    return float(np.sqrt(1.06 / (n - 3))) if n > 3 else float("inf")


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
            sizes = [f"|{pair[1]} - {pair[0]}|" for pair in (large, small)]
            yield Comparison(
                f"{part.name}, {' - '.join(sizes)}",
                part.test,
                found,
                p,
                against,
                worst,
                against_worst,
                _unit(part),
                0.0,
                how=f"{sizes[0]} is shown to be smaller than {sizes[1]}",
                scaled=found,
            )


def _always(part: Part, samples: Mapping[str, Sample]) -> Iterator[Comparison]:
    """Check every trial by itself, without inference: its estimate is the least value and has no interval."""
    nan, unit = float("nan"), _unit(part)
    for name in part.cells:
        one = samples[name]
        for which, (values,) in _numbers(part, one):
            known = np.flatnonzero(~np.isnan(values))
            least, holds, words = nan, nan, ""
            below = int((values[known] <= part.limit).sum())
            if len(known):
                place = known[np.argmin(values[known])]
                least, holds = float(values[place]), float(below > 0)
                words = f"{one.words[place]} in the least of {len(known)} trials" if one.words[place] else ""
            yield Comparison(
                f"{part.name}, {name}{which}",
                part.test,
                Estimate(least, nan, nan, len(known), nan, nan, "least of all trials"),
                holds,
                1 - holds,
                holds,
                1 - holds,
                unit,
                part.limit,
                how=_with_unit(f"not above in {below} of {len(known)} trials; each must be above", part.limit, unit),
                also=words,
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


def _moved(found: Estimate, sign: int, null: float) -> Estimate:
    """Return an estimate in a direction and from a null."""
    return replace(found, estimate=sign * (found.estimate - null))


def _with_unit(words: str, number: float, unit: str) -> str:
    # "0.8 share" and "0.3 rho" are not English.
    return f"{words} {number:g}" if unit in ("share", "rho") else f"{words} {number:g} {unit}".rstrip()


def _largest(values: Iterator[float]) -> float:
    """Return the largest value, or NaN if there is one; `max` would hide a NaN that comes second."""
    return float(np.max([*values]))


def _floor(*samples: Sample) -> float:
    return max(one.least_variance for one in samples)


def _unit(part: Part) -> str:
    return unit_of(part.value, str(part.how.get("column", "")))


def _first(sample: Sample) -> Floats:
    return sample.values[:, 0]
