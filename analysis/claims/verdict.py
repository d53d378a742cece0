"""The verdict on a claim, and how verdicts are shown as a table and as Markdown."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

Word = Literal["confirmed", "refuted", "undecided", "not testable"]

Side = Literal["for", "against", ""]


@dataclass(frozen=True)
class Verdict:
    """The verdict of a study on one claim. The numbers are those of the test whose p is shown."""

    claim: str
    verdict: Word
    how: str
    """What was shown against a refuted claim; empty for other verdicts."""
    text: str
    where: str
    figure: str
    """The figure of the paper that it belongs to; `-` if there is none."""
    stage: Literal["final", "interim"]
    """Final only if every trial planned in its cells has ended, as extending a study because of a result is not allowed."""
    primary: bool
    estimate: float = float("nan")
    low: float = float("nan")
    """With `high` the 95% interval; NaN where there is none."""
    high: float = float("nan")
    unit: str = ""
    what: str = ""
    """The quantity that is estimated."""
    n: int = 0
    """Number of seeds, in the test that has the fewest."""
    n_planned: int = 0
    p: float = float("nan")
    """The adjusted p that decided; for an undecided claim the smaller of the adjusted p for and against it."""
    side: Side = ""
    """What p speaks for; empty if there is no p."""
    family: str = ""
    """What p is adjusted over."""
    level: float = float("nan")
    """The level that the raw p of this side has to meet, given the p of the other claims (multiplicity.holm_level)."""
    p_for: float = float("nan")
    """For the claim: the largest p of its tests."""
    p_against: float = float("nan")
    """Against the claim: the smallest p of its tests, times their number."""
    p_for_adjusted: float = float("nan")
    p_against_adjusted: float = float("nan")
    margin: float = float("nan")
    """The smallest difference that counts, or the limit of the test."""
    power: float = float("nan")
    """Least power of its equivalence tests if there is no true difference, at the level that p_for has to meet; NaN if it
    has no such test."""
    seeds_needed: int | None = None
    """For an undecided claim: the seeds per cell, in all, that would decide it with probability 0.8 if the effect and
    the spread are as estimated; None if that cannot be computed or is more than effects.seeds_needed.MOST."""
    reason: str = ""
    """Why it is undecided or not testable."""
    missing: str = ""
    """Seeds without a value, by cell."""
    note: str = ""
    """Anything else that a reader has to know."""
    expected: str = ""
    """The verdict to expect from sources outside the paper."""


def to_frame(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """Turn verdicts into a frame with one row per verdict and one column per field."""
    names = list(Verdict.__dataclass_fields__)
    frame = pd.DataFrame([{name: getattr(one, name) for name in names} for one in verdicts], columns=names)
    return frame.astype({"seeds_needed": "Int64"})


def markdown(verdict: Verdict) -> str:
    """Render a verdict as one item of a Markdown list."""
    one = verdict
    stage = "" if one.verdict == "not testable" else f" ({one.stage})"
    how = f": {one.how}" if one.how else ""
    parts = [f"- **{one.claim}** {one.text} **{one.verdict.capitalize()}**{stage}{how}"]
    if one.verdict != "not testable" and not np.isnan(one.estimate):
        kind = which_p(one)
        count = f", n = {one.n}, {p_text(one.p)} ({kind})" if kind else f" in {one.n} trials"
        parts.append(f"{one.what}: {with_interval(one.estimate, one.low, one.high, one.unit)}{count}")
    parts += [words for words in (one.reason, one.note) if words]
    if one.missing:
        parts.append(f"missing: {one.missing}")
    return ". ".join(part.rstrip(".") for part in parts) + "."


def which_p(verdict: Verdict) -> str:
    """Return what p speaks for and how it is adjusted, `for, Holm over 22 primary claims`; empty if there is none."""
    return f"{verdict.side}, {verdict.family}" if verdict.side else ""


def p_text(value: float) -> str:
    """Render a p value."""
    return "p < 1e-6" if value < 1e-6 else f"p = {value:.2g}"


def with_interval(estimate: float, low: float, high: float, unit: str) -> str:
    """Render an estimate with its unit and, if there is one, its interval."""
    if np.isnan(estimate):
        return "no estimate"
    interval = "" if np.isnan(low) or np.isnan(high) else f" ({low:.4g} to {high:.4g})"
    return f"{estimate:.4g} {unit}".rstrip() + interval
