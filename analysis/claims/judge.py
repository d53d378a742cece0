"""Combines the tests of each claim's parts into a verdict, with Holm's adjustment over the primary claims."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from analysis.claims.claim import LONGEST, Claim, ClaimsError
from analysis.claims.comparisons import Comparison, comparisons
from analysis.claims.reader import paper_claims
from analysis.claims.samples import LATENT, Reader, Reading
from analysis.claims.values import EARLY_SHARE, VALUES
from analysis.loading.figure_files import figure_files, read_figure_table
from analysis.loading.study import Study
from analysis.stats.curves import EARLY
from analysis.stats.equivalence import ENOUGH_POWER
from analysis.stats.multiplicity import holm
from workers.contract.errors import RecordError
from workers.store.open import open_store
from workers.store.plan_log import read_plan

Word = Literal["confirmed", "refuted", "undecided", "not testable"]

ALPHA = 0.05
"""Level of every verdict: for twice the one-sided p of a direction, and the larger one-sided p of an equivalence."""

PAPER_EPOCHS, PAPER_WARMUP = 300, 100


@dataclass(frozen=True)
class Verdict:
    """The verdict of a study on one claim. The numbers are those of its weakest test, or, if refuted, of the clearest."""

    claim: str
    verdict: Word
    text: str
    where: str
    figure: str
    """The figure of the paper that it belongs to; `-` if there is none."""
    stage: Literal["final", "interim"]
    """Final only if every trial planned in its cells has ended, as extending a study because of a result is not allowed."""
    primary: bool
    estimate: float = float("nan")
    low: float = float("nan")
    """With `high` the 95% interval."""
    high: float = float("nan")
    unit: str = ""
    what: str = ""
    """The quantity that is estimated."""
    n: int = 0
    """Number of seeds, in the test that has the fewest."""
    n_planned: int = 0
    p: float = float("nan")
    """For the claim: the largest p of its tests."""
    p_holm: float = float("nan")
    """Adjusted over the primary claims that were judged together; NaN for other claims."""
    p_against: float = float("nan")
    """Against the claim: the smallest p of its tests, times their number."""
    margin: float = float("nan")
    """The smallest difference that counts, or the limit of the test."""
    power: float = float("nan")
    """Least power of its equivalence tests if there is no true difference; NaN if it has no such test."""
    underpowered: tuple[str, ...] = ()
    """The equivalence tests whose power is below 0.8."""
    reason: str = ""
    """Why it is undecided or not testable."""
    missing: str = ""
    """Seeds without a value, by cell."""
    note: str = ""
    """Anything else that a reader has to know."""
    expected: str = ""
    """The verdict to expect from sources outside the paper."""


def judge(study: Study, claims: Sequence[Claim] | None = None, latent: pd.DataFrame | None = None) -> list[Verdict]:
    """Return one verdict per claim, in the order of the claims; nothing is pooled over cells, decoders or epochs.

    Holm's method runs over the primary claims that the study can test, so judge all claims together.

    Args:
        study: the output of `load`; the study may still be running.
        claims: None: those of the paper.
        latent: the table of `python -m analysis.latent`, one row per trial (see `stored_latent`); without it the claims
            about the latent space are not testable.

    Raises:
        ClaimsError: two claims have the same id.
    """
    reader = Reader(study, latent)
    wanted = paper_claims() if claims is None else claims
    if twice := {one.id for one in wanted if [other.id for other in wanted].count(one.id) > 1}:
        raise ClaimsError([f"claim {name} is given twice; give one of them another id" for name in sorted(twice)])
    cases = [Case.of(claim, [reader.read(claim, part) for part in claim.parts]) for claim in wanted]
    family = {case.claim.id: case for case in cases if case.claim.primary}
    p_holm = holm({name: case.p for name, case in family.items() if not case.lacks})
    against_holm = holm({name: case.p_against for name, case in family.items() if case.tests})
    added = _seeds_added(study)
    return [_verdict(case, p_holm, against_holm, added) for case in cases]


def stored_latent(study: Study) -> pd.DataFrame | None:
    """Return the tables that `python -m analysis.latent` wrote for this study, one row per trial; None without any."""
    names = figure_files(study, "latent-trials-", ".csv")
    tables = [table for name in names if (table := read_figure_table(study, name, ("trial_id",))) is not None]
    return pd.concat(tables, ignore_index=True) if tables else None


def to_frame(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """Turn verdicts into a frame with one row per verdict and one column per field."""
    names = list(Verdict.__dataclass_fields__)
    frame = pd.DataFrame([{name: getattr(one, name) for name in names} for one in verdicts], columns=names)
    return frame.assign(underpowered=["; ".join(names) for names in frame["underpowered"]])


def markdown(verdict: Verdict) -> str:
    """Render a verdict as one item of a Markdown list."""
    one = verdict
    stage = "" if one.verdict == "not testable" else f" ({one.stage})"
    parts = [f"- **{one.claim}** {one.text} **{one.verdict.capitalize()}**{stage}"]
    if one.verdict != "not testable" and not np.isnan(one.estimate):
        p = f", {_p(one.p)}" if not np.isnan(one.p) else ""
        if one.verdict == "refuted" and not np.isnan(one.p_against):
            p = f", {_p(one.p_against)} against the claim and {_p(one.p)} for it" if not np.isnan(one.p) else p
        p += f" ({_p(one.p_holm)} after Holm)" if not np.isnan(one.p_holm) else ""
        parts.append(f"{one.what}: {_with_interval(one.estimate, one.low, one.high, one.unit)}, n = {one.n}{p}")
    parts += [words for words in (one.reason, one.note) if words]
    if one.missing:
        parts.append(f"missing: {one.missing}")
    return ". ".join(part.rstrip(".") for part in parts) + "."


@dataclass(frozen=True, eq=False)
class Case:
    """A claim with the tests of its parts, before any p is adjusted."""

    claim: Claim
    readings: tuple[Reading, ...]
    tests: tuple[Comparison, ...]
    """The tests that decide, for the parts that the study can judge."""
    shown: tuple[Comparison, ...]
    lacks: tuple[str, ...]
    """What the study lacks for the parts that decide."""

    @classmethod
    def of(cls, claim: Claim, readings: Sequence[Reading]) -> "Case":
        """Compare what every deciding part reads of the study."""
        deciding = [one for one in readings if one.part.decides]
        made = {id(one): comparisons(one.part, one.samples) for one in readings if not one.lacks}
        return cls(
            claim,
            tuple(readings),
            tuple(test for one in deciding for test in made.get(id(one), ())),
            tuple(test for one in readings if not one.part.decides for test in made.get(id(one), ())),
            tuple(dict.fromkeys(need for one in deciding for need in one.lacks)),
        )

    @property
    def deciding(self) -> list[Reading]:
        """The readings that decide and lack nothing."""
        return [one for one in self.readings if one.part.decides and not one.lacks]

    @property
    def p(self) -> float:
        """Return the largest p of its tests; NaN if some of its parts cannot be judged."""
        return float("nan") if self.lacks or not self.tests else float(np.max([test.p for test in self.tests]))

    @property
    def p_worst(self) -> float:
        """As p, with diverged trials at the worst rank."""
        return float("nan") if not self.tests else float(np.max([test.p_worst for test in self.tests]))

    @property
    def p_against(self) -> float:
        """Return the smallest p against the claim, times the number of tests (Bonferroni), as one test is enough."""
        return _smallest([test.p_against for test in self.tests])

    @property
    def p_against_worst(self) -> float:
        """As p_against, with diverged trials at the worst rank."""
        return _smallest([test.p_against_worst for test in self.tests])

    @property
    def underpowered(self) -> tuple[str, ...]:
        """The comparisons that would hardly see what they look for."""
        return tuple(test.name for test in self.tests if test.power < ENOUGH_POWER)


def _verdict(case: Case, p_holm: Mapping[str, float], against_holm: Mapping[str, float], added: str) -> Verdict:
    claim = case.claim
    p = p_holm.get(claim.id, case.p)
    against = against_holm.get(claim.id, case.p_against)
    word, reason = decide(case, p, against)
    is_final = all(one.is_final for one in case.deciding) and bool(case.deciding)
    empty = Verdict(
        claim.id,
        word,
        claim.text,
        claim.where,
        claim.figure,
        "final" if is_final else "interim",
        claim.primary,
        reason=reason,
        expected=claim.expected,
    )
    if word == "not testable":
        return replace(empty, note=_listed([_shown(test) for test in (*case.tests, *case.shown)], 2))
    test = _telling(case.tests, word)
    is_theorem = all(other.test == "always" for other in case.tests)
    powers = [other.power for other in case.tests if not np.isnan(other.power)]
    samples = [sample for one in case.deciding for sample in one.samples.values()]
    return replace(
        empty,
        estimate=test.estimate.estimate,
        low=test.estimate.low,
        high=test.estimate.high,
        unit=test.unit,
        what=test.name,
        n=min(other.estimate.n for other in case.tests),
        n_planned=min(sample.planned for sample in samples),
        p=float("nan") if is_theorem else case.p,
        p_holm=p_holm.get(claim.id, float("nan")),
        p_against=float("nan") if is_theorem else case.p_against,
        margin=test.margin,
        power=min(powers, default=float("nan")),
        underpowered=case.underpowered,
        missing="; ".join(dict.fromkeys(f"{sample.cell}: {sample.missing}" for sample in samples if sample.missing)),
        note=_note(case, word, test, added),
    )


def decide(case: Case, p: float, against: float) -> tuple[Word, str]:
    """Return the verdict and, unless it is clear, the reason."""
    if case.tests and against <= ALPHA and case.p_against_worst <= ALPHA and not (not case.lacks and p <= ALPHA):
        return "refuted", f"one part is enough; other parts need {_listed(case.lacks)}" if case.lacks else ""
    if case.lacks:
        return "not testable", f"the claim needs {_listed(case.lacks)}"
    if p <= ALPHA and case.p_worst > ALPHA:
        return "undecided", "it would be confirmed, but not if diverged trials are ranked as the worst"
    if p <= ALPHA and case.underpowered:
        return "undecided", f"the power of {_listed(case.underpowered)} is below {ENOUGH_POWER:g}: more seeds are needed"
    if p <= ALPHA:
        return "confirmed", ""
    if against <= ALPHA:
        return "undecided", "it would be refuted, but not if diverged trials are ranked as the worst"
    if np.isnan(case.p):
        thin = [test.name for test in case.tests if np.isnan(test.p)]
        return "undecided", f"too few seeds have a value for {_listed(thin)}"
    if case.underpowered:
        return "undecided", f"the power of {_listed(case.underpowered)} is below {ENOUGH_POWER:g}: more seeds are needed"
    if case.p <= ALPHA or case.p_against <= ALPHA:
        alone = "confirmed" if case.p <= ALPHA else "refuted"
        return "undecided", f"on its own it would be {alone}, but not after Holm's adjustment over the primary claims"
    return "undecided", "the interval is compatible with the claim and with its contrary"


def _telling(tests: Sequence[Comparison], word: Word) -> Comparison:
    """Return the test whose numbers represent the claim."""
    if word == "refuted":
        return min(tests, key=lambda test: 2.0 if np.isnan(test.p_against) else test.p_against)
    return max(tests, key=lambda test: 2.0 if np.isnan(test.p) else test.p)


def _note(case: Case, word: Word, test: Comparison, added: str) -> str:
    claim, first = case.claim, case.deciding[0]
    words = []
    if word == "confirmed":
        small = [one for one in case.tests if one.test in ("greater", "less") and abs(one.estimate.estimate) < one.margin]
        words += [f"{one.name} is smaller than the margin of {one.margin:g} {one.unit}".rstrip() for one in small]
    warmup = max(one.warmup for one in case.deciding)
    if any(levels.get("warmup") == LONGEST for levels in claim.cells.values()) and warmup not in (0, PAPER_WARMUP):
        early = f", epoch 10 as epoch {max(1, round(EARLY_SHARE * warmup))}" if claim.warmup > 1 else ""
        words.append(
            f"the warm-up takes {warmup} epochs here, {PAPER_WARMUP} in the paper: the paper's epoch {PAPER_WARMUP} is read "
            f"as epoch {warmup}{early}"
        )
    if first.goal != PAPER_EPOCHS:
        words.append(f"training ends at epoch {first.goal}, in the paper at epoch {PAPER_EPOCHS}")
    if any(one.part.value in ("lost", "half_life", "largest_drop", "kept") for one in case.deciding):
        words.append(f"the early peak is the largest number of active units in epochs {EARLY[0]} to {EARLY[1]}")
    words += [f"{other.name}: {other.also}" for other in case.tests if other.also and (len(case.tests) < 3 or other is test)]
    words += [_shown(other) for other in case.shown]
    words += [
        f"not shown: {one.part.name}, which needs {_listed(one.lacks)}"
        for one in case.readings
        if one.lacks and not one.part.decides
    ]
    if any(VALUES[one.part.value].needs_latent for one in case.deciding):
        words.append(f"the values come from the table written by {LATENT}")
    return "; ".join([*words, *([added] if added else [])])


def _shown(test: Comparison) -> str:
    found = test.estimate
    return f"for comparison: {test.name}: {_with_interval(found.estimate, found.low, found.high, test.unit)}"


def _seeds_added(study: Study) -> str:
    """Return a warning if later entries of the plan added seeds; empty if none did."""
    try:
        footers = read_plan(open_store(study.url)).footers
    except RecordError:
        # The study was loaded without this file, and its report says so.
        return ""
    first = set(footers[0]["factors"].get("seed", ())) if footers else set()
    later = [seed for footer in footers for seed in footer["factors"].get("seed", ()) if seed not in first]
    if not later:
        return ""
    return f"{len(set(later))} seeds were added to the plan later; if a result was the reason, p means nothing"


def _smallest(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return min(1.0, len(values) * min(known)) if known else float("nan")


def _listed(words: Sequence[str], most: int = 4) -> str:
    return "; ".join(words[:most]) + (f"; and {len(words) - most} more" if len(words) > most else "")


def _p(value: float) -> str:
    return "p < 1e-6" if value < 1e-6 else f"p = {value:.2g}"


def _with_interval(estimate: float, low: float, high: float, unit: str) -> str:
    """Render an estimate with its unit and, if there is one, its interval."""
    if np.isnan(estimate):
        return "no estimate"
    interval = "" if np.isnan(low) or np.isnan(high) else f" ({low:.4g} to {high:.4g})"
    return f"{estimate:.4g} {unit}".rstrip() + interval
