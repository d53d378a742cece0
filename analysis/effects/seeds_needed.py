"""Computes how many more seeds are needed for an interval of a given width, or to show that two cells are equal."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import stdtrit
from scipy.stats import chi2

from analysis.averages.average import select
from analysis.effects.seed_table import floor_of, per_seed
from analysis.loading.study import Study
from analysis.stats.equivalence import ENOUGH_POWER, equivalence_power
from analysis.stats.estimate import InferenceError

MOST = 1000
"""Largest number of seeds that is considered."""

ASSURANCE = 0.8
"""Probability that the interval is as narrow as wanted, and confidence of the upper limit of an sd."""


@dataclass(frozen=True)
class Progress:
    """How many of the planned seeds have ended; the target is that of the plan, whatever the results look like."""

    target: int
    """Planned seeds of the cell that has the fewest."""
    ended: int
    """Seeds whose trials have all ended."""
    planned: int
    """Seeds that are planned in any of the cells."""

    @property
    def is_final(self) -> bool:
        """Tell whether a verdict may be final."""
        return self.ended == self.planned

    @property
    def text(self) -> str:
        """Describe the progress: 'final (5 seeds)' or 'INTERIM (3 of 5 seeds)'."""
        return f"final ({self.planned} seeds)" if self.is_final else f"INTERIM ({self.ended} of {self.planned} seeds)"


def progress(study: Study, at: Mapping[str, Any] | None = None) -> Progress:
    """Count how many of the planned seeds of some cells have ended.

    Raises:
        AverageError: a name or level does not exist.
    """
    trials = select(study, at)
    open_seeds = set(trials.loc[trials["status"] == "unfinished", "seed"])
    seeds = set(trials["seed"])
    cells = trials.groupby(list(study.cell_factors), sort=False)["seed"].nunique()
    return Progress(int(cells.min()), len(seeds - open_seeds), len(seeds))


def seeds_for_interval(
    sd: float, half_width: float, *, confidence: float = 0.95, assurance: float | None = ASSURANCE, df_per_seed: int = 1
) -> int | None:
    """Return the least n for which an interval is no wider than mean -+ half_width.

        P( t(n - 1) S / sqrt(n) <= half_width ) >= assurance,   S^2 = sd^2 chi^2(n - 1) / (n - 1)

    Args:
        sd: of one seed's number: a value, or the difference of two cells.
        half_width: the wanted half-width, in the unit of sd.
        confidence: of the interval, between 0 and 1.
        assurance: probability of that width; None: S = sd, where the interval is wider about half of the time.
        df_per_seed: degrees of freedom that each seed adds: 2 for the difference of two independent cells, else 1.

    Returns:
        Seeds per cell, or None if MOST are not enough.

    Raises:
        InferenceError: sd is negative or NaN, or the width is not above 0.
    """
    if not sd >= 0 or not half_width > 0:
        raise InferenceError(
            f"seeds_for_interval: sd is {sd}, half_width {half_width}; sd must not be negative, half_width must be above 0"
        )
    n = np.arange(2, MOST + 1)
    df = df_per_seed * (n - 1)
    spread = 1.0 if assurance is None else np.sqrt(chi2.ppf(assurance, df) / df)
    return _least(n, stdtrit(df, (1 + confidence) / 2) * sd * spread / np.sqrt(n) <= half_width)


def seeds_for_equivalence(
    sd: float, margin: float, *, power: float = ENOUGH_POWER, alpha: float = 0.05, paired: bool = True, icc: float = 0.0
) -> int | None:
    """Return the least n per cell that gives two one-sided tests this power at a true difference of 0.

    The arguments are those of `equivalence_power`.

    Returns:
        Seeds per cell, or None if MOST are not enough.

    Raises:
        InferenceError: the margin is not above 0, or sd is negative or NaN.
    """
    if not sd >= 0:
        raise InferenceError(f"seeds_for_equivalence: sd is {sd}; it must not be negative")
    return fewest_seeds(lambda n: equivalence_power(sd, n, margin, alpha, paired=paired, icc=icc), power)


def fewest_seeds(chance: Callable[[int], float], power: float = ENOUGH_POWER) -> int | None:
    """Return the least n from 2 on at which a chance reaches the power, or None if MOST are not enough.

    Args:
        chance: the probability of the wanted result with n seeds; it grows with n.
        power: the wanted probability.
    """
    low, high = 2, 2
    while chance(high) < power:
        if high >= MOST:
            return None
        low, high = high, min(2 * high, MOST)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if chance(middle) >= power else (middle + 1, high)
    return high


def sd_upper(sd: float, df: float, confidence: float = ASSURANCE) -> float:
    """Return the upper confidence limit of an sd, as an sd from few seeds is too small half of the time (Browne 1995)."""
    return float(sd * np.sqrt(df / chi2.ppf(1 - confidence, df))) if df > 0 else float("nan")


def more_seeds(
    study: Study,
    value: str | pd.Series,
    *,
    half_width: float,
    margin: float,
    at: Mapping[str, Any] | None = None,
    epoch: int | Literal["last"] = "last",
    confidence: float = 0.95,
    power: float = ENOUGH_POWER,
    paired: bool = True,
    floor: float | None = None,
) -> pd.DataFrame:
    """Compute the seeds that every cell still needs, for planning the next study.

    Adding seeds to a study because of its result is optional stopping.

    Args:
        study: the output of `load`.
        value: as in `per_seed`.
        half_width: wanted for the mean of each cell, in the unit of the value.
        margin: of equivalence with another cell of the same sd and independent seeds.
        at: factor to level, or to a list of levels: use only those cells.
        epoch: as in `average`.
        confidence: of the interval, between 0 and 1.
        power: of the equivalence tests at a true difference of 0.
        paired: how equivalence will be tested; see `equivalence_power`.
        floor: least variance of one value; None: that of rounding for counts, else 0.

    Returns:
        One row per cell: cell, n, n_planned, sd, sd_upper (80%), half_width and power (both at the present n), then
        more_for_interval and more_for_equivalence at sd, and both with the suffix `_safe` at sd_upper: seeds to add to the
        present n, <NA> where n < 2 or MOST are not enough; progress.

    Raises:
        AverageError: a name, level or epoch does not exist.
    """
    table = per_seed(study, value, at, epoch)
    least = floor_of(table.name) if floor is None else floor
    rows = []
    for name in table.names:
        numbers = table.values[name].dropna().to_numpy(float)
        n = len(numbers)
        sd = float(np.sqrt(max(numbers.var(ddof=1), least))) if n > 1 else float("nan")
        upper = sd_upper(sd, n - 1)
        row = {
            "cell": name,
            "n": n,
            "n_planned": int((table.reasons[name] != "not planned").sum()),
            "sd": sd,
            "sd_upper": upper,
        }
        row["half_width"] = float(stdtrit(n - 1, (1 + confidence) / 2)) * sd / np.sqrt(n) if n > 1 else float("nan")
        row["power"] = equivalence_power(sd, n, margin, paired=paired) if n > 1 else float("nan")
        for suffix, spread in (("", sd), ("_safe", upper)):
            interval = seeds_for_interval(spread, half_width, confidence=confidence) if n > 1 else None
            equal = seeds_for_equivalence(spread, margin, power=power, paired=paired) if n > 1 else None
            row[f"more_for_interval{suffix}"] = _more(interval, n)
            row[f"more_for_equivalence{suffix}"] = _more(equal, n)
        rows.append(row)
    frame = pd.DataFrame(rows)
    whole = [name for name in frame if str(name).startswith("more_")]
    return frame.astype(dict.fromkeys(whole, "Int64")).assign(progress=progress(study, at).text)


def _more(wanted: int | None, n: int) -> int | None:
    return None if wanted is None else max(0, wanted - n)


def _least(n: Any, enough: Any) -> int | None:
    return int(n[int(np.argmax(enough))]) if enough.any() else None
