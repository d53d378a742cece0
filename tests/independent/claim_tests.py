"""The tests that a part of a claim consists of (docs/formats.md, "Tests"), and the seeds that would decide them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from tests.independent.claim_values import Part, Values
from tests.independent.textbook import Estimate, chance_beyond, chance_equal, equal_within, mean, paired, welch

PAIRS = 10
"""Fewer pairs give a rank correlation no interval."""
POWER = 0.8
MOST = 1000


class Between(NamedTuple):
    """A value with an interval that is not symmetric, or without one."""

    value: float
    low: float
    high: float
    n: int

    def interval(self) -> tuple[float, float]:
        """Return its ends."""
        return self.low, self.high


@dataclass(frozen=True)
class Test:
    """One test: for the claim, against it, and what a refutation by it says."""

    name: str
    kind: str
    shown: Estimate | Between
    """What the table shows."""
    p_for: float
    p_against: float
    margin: float
    """What the table gives as margin."""
    says: str
    """How its refutation begins."""
    toward: Estimate | None = None
    """The estimate in the claimed direction from its null, or from the middle of the range; none where nothing is inferred."""
    least: float = 0.0
    """The least `toward` that counts, or half the range."""
    p_opposite: float = 1.0

    @property
    def is_range(self) -> bool:
        """Whether it consists of two one-sided tests."""
        return self.kind in ("within", "equal", "uncorrelated")

    @property
    def is_enough(self) -> bool:
        """Whether the estimate of a direction is at least the margin."""
        return self.kind not in ("greater", "less") or self.toward.value >= self.least

    @property
    def agrees(self) -> bool:
        """Whether the estimate lies on the side of the claim."""
        if self.toward is None:
            return self.p_for == 0
        return abs(self.toward.value) < self.least if self.is_range else self.toward.value >= self.least

    def with_seeds(self, n: int) -> tuple[float, float, float]:
        """The estimate, and its standard error and degrees of freedom with n seeds per cell and the same spread."""
        if self.kind == "uncorrelated":
            return self.toward.value, (1.06 / (n - 3)) ** 0.5 if n >= PAIRS else np.inf, 1e6
        now = self.toward
        return now.value, now.se * (now.n / n) ** 0.5, now.df * (n - 1) / (now.n - 1)

    def chance_for(self, n: int, level: float) -> float:
        """The probability that n seeds pass this test, if the truth is as estimated."""
        if self.toward is None:
            return 1.0
        value, se, df = self.with_seeds(n)
        if not np.isfinite(se):
            return 0.0
        if self.is_range:
            return chance_equal(value, se, df, self.least, level)
        return chance_beyond(value, self.least, se, df, level / 2)

    def chance_against(self, n: int, level: float) -> float:
        """The probability that n seeds refute the claim by this test, if the truth is as estimated."""
        if self.toward is None:
            return 1.0
        value, se, df = self.with_seeds(n)
        if not np.isfinite(se):
            return 0.0
        if self.is_range:
            return chance_beyond(abs(value) - self.least, 0.0, se, df, level)
        return chance_beyond(self.least - value, 0.0, se, df, level / 2)


def moved(found: Estimate, sign: int, null: float) -> Estimate:
    """An estimate in a direction, from a null."""
    return found._replace(value=sign * (found.value - null))


def twice(p: float) -> float:
    """The p-value of a direction, so that 0.05 means that the 95% interval lies on one side."""
    return float(np.minimum(1.0, 2 * p))


def columns(part: Part, *cells: Values) -> Iterator[tuple[str, list[pd.Series]]]:
    """The numbers of cells, one by one, each with its name."""
    width = min(cell.numbers.shape[1] for cell in cells)
    for place in range(width):
        numbers = [cell.numbers[place] for cell in cells]
        if width > 1 and all(one.isna().all() for one in numbers):
            continue
        which = f", class {place}" if part["value"] == "by_class" else f", {place + 1} of {width}" if width > 1 else ""
        yield which, [one.dropna() for one in numbers]


def difference(part: Part, one: pd.Series, other: pd.Series, floor: float) -> Estimate:
    """The difference of two cells, paired or not as the part says."""
    return paired(one, other, floor) if part["paired"] else welch(one.to_numpy(), other.to_numpy(), floor)


def of_direction(part: Part, cells: Mapping[str, Values]) -> Iterator[Test]:
    """The first cell against every other: the difference is shown, and its estimate is at least the margin."""
    sign = 1 if part["test"] == "greater" else -1
    by, first = part.get("by", 0), part["cells"][0]
    margin = max(part["margin"], by)
    for name in part["cells"][1:]:
        for which, (one, other) in columns(part, cells[first], cells[name]):
            found = difference(part, one, other, max(cells[first].floor, cells[name].floor))
            toward = moved(found, sign, 0)
            yield Test(
                f"{part['name']}, {first} - {name}{which}", part["test"], found,
                twice(toward.p_above(by)), twice(toward.p_below(margin)), margin,
                f"shown to be smaller than the margin of {margin:g}", moved(toward, 1, by), margin - by,
                twice(toward.p_below(0)),
            )  # fmt: skip


def of_limit(part: Part, cells: Mapping[str, Values]) -> Iterator[Test]:
    """Every cell above, or below, a limit."""
    sign, side, limit = (1, "below", part["limit"]) if part["test"] == "above" else (-1, "above", part["limit"])
    for name in part["cells"]:
        for which, (one,) in columns(part, cells[name]):
            found = mean(one.to_numpy(), cells[name].floor)
            toward = moved(found, sign, limit)
            says = f"shown to lie {side} the limit of {limit:g}"
            yield Test(
                f"{part['name']}, {name}{which}", part["test"], found, twice(toward.p_above(0)), twice(toward.p_below(0)),
                limit, says, toward,
            )  # fmt: skip


def beyond(found: Estimate, margin: float) -> float:
    """The one-sided p-value of a size above the margin."""
    return found.p_above(margin) if found.value > 0 else found.p_below(-margin)


def of_range(part: Part, cells: Mapping[str, Values]) -> Iterator[Test]:
    """Every cell within a range."""
    low, high = part["range"]
    half = (high - low) / 2
    for name in part["cells"]:
        for which, (one,) in columns(part, cells[name]):
            found = mean(one.to_numpy(), cells[name].floor)
            toward = moved(found, 1, (low + high) / 2)
            says = f"shown to lie outside {low:g} to {high:g}"
            yield Test(
                f"{part['name']}, {name}{which}", "within", found, equal_within(toward, half), beyond(toward, half), half,
                says, toward, half,
            )  # fmt: skip


def of_equality(part: Part, cells: Mapping[str, Values]) -> Iterator[Test]:
    """Every pair of cells within a margin of each other."""
    margin = part["margin"]
    for first, second in combinations(part["cells"], 2):
        for which, (one, other) in columns(part, cells[first], cells[second]):
            found = difference(part, one, other, max(cells[first].floor, cells[second].floor))
            yield Test(
                f"{part['name']}, {first} - {second}{which}", "equal", found, equal_within(found, margin),
                beyond(found, margin), margin, f"shown to differ by more than the margin of {margin:g}", found, margin,
            )  # fmt: skip


def of_correlation(part: Part, cells: Mapping[str, Values]) -> Iterator[Test]:
    """Spearman's rho within every cell; on Fisher's scale its variance is 1.06 / (n - 3) (Fieller et al. 1957)."""
    margin, nan = float(np.arctanh(part["margin"])), float("nan")
    for name in part["cells"]:
        both = cells[name].numbers.dropna()
        n = len(both)
        varies = n >= PAIRS and (both.nunique() > 1).all()
        rho = float(stats.spearmanr(both[0], both[1]).statistic) if varies else nan
        found = Estimate(float(np.arctanh(rho)), (1.06 / (n - 3)) ** 0.5 if varies else nan, 1e9, n)
        ends = [float(np.tanh(found.value + sign * stats.norm.ppf(0.975) * found.se)) for sign in (-1, 1)]
        yield Test(
            f"{part['name']}, {name}", "uncorrelated", Between(rho, *ends, n), equal_within(found, margin),
            beyond(found, margin), part["margin"], f"shown to be larger in size than {part['margin']:g}", found, margin,
        )  # fmt: skip


def of_every_trial(part: Part, cells: Mapping[str, Values]) -> Iterator[Test]:
    """Every single trial above a limit, without inference."""
    nan = float("nan")
    for name in part["cells"]:
        for which, (one,) in columns(part, cells[name]):
            below = int((one <= part["limit"]).sum())
            yield Test(
                f"{part['name']}, {name}{which}", "always", Between(float(one.min()), nan, nan, len(one)),
                float(below > 0), float(below == 0), part["limit"],
                f"not above in {below} of {len(one)} trials; each must be above {part['limit']:g}",
            )  # fmt: skip


def of_sizes(part: Part, cells: Mapping[str, Values]) -> Iterator[Test]:
    """Every effect in `large` larger in size than every effect in `small`: Welch on the weighted cells."""
    means = {name: cell.numbers[0].mean() for name, cell in cells.items()}
    floor = max(cell.floor for cell in cells.values())
    for large in part["large"]:
        for small in part["small"]:
            weights: dict[str, float] = {}
            for (one, other), size in ((large, 1), (small, -1)):
                sign = size if means[other] >= means[one] else -size
                weights[other] = weights.get(other, 0) + sign
                weights[one] = weights.get(one, 0) - sign
            used = {name: cells[name].numbers[0].dropna() for name, weight in weights.items() if weight}
            v = {name: weights[name] ** 2 * max(one.var(), floor) / len(one) for name, one in used.items()}
            df = sum(v.values()) ** 2 / sum(v[name] ** 2 / (len(one) - 1) for name, one in used.items())
            value = sum(weights[name] * one.mean() for name, one in used.items())
            found = Estimate(float(value), float(sum(v.values()) ** 0.5), float(df), min(map(len, used.values())))
            sizes = [f"|{other} - {one}|" for one, other in (large, small)]
            says = f"{sizes[0]} is shown to be smaller than {sizes[1]}"
            yield Test(
                f"{part['name']}, {' - '.join(sizes)}", "dominates", found, twice(found.p_above(0)), twice(found.p_below(0)),
                0.0, says, found,
            )  # fmt: skip


TESTS: Mapping[str, Callable[[Part, Mapping[str, Values]], Iterator[Test]]] = {
    "greater": of_direction,
    "less": of_direction,
    "above": of_limit,
    "below": of_limit,
    "within": of_range,
    "equal": of_equality,
    "uncorrelated": of_correlation,
    "always": of_every_trial,
    "dominates": of_sizes,
}


def chance_of_decision(tests: list[Test], n: int, level_for: float, level_against: float) -> float:
    """The probability that n seeds per cell decide a claim: all tests pass, or the likeliest contrary one refutes it."""
    contrary = [one for one in tests if not one.agrees]
    if not contrary:
        return float(np.prod([one.chance_for(n, level_for) for one in tests]))
    return max(one.chance_against(n, level_against / len(tests)) for one in contrary)


def seeds_to_decide(tests: list[Test], level_for: float, level_against: float) -> int | None:
    """The fewest seeds per cell, in all and more than the present ones, with which a claim is decided with probability 0.8."""
    low = min(one.shown.n for one in tests)
    high = MOST
    if chance_of_decision(tests, high, level_for, level_against) < POWER:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if chance_of_decision(tests, middle, level_for, level_against) >= POWER:
            high = middle
        else:
            low = middle
    return high
