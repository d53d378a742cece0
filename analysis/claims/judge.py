"""Combines the tests of each claim's parts into a verdict, with Holm's adjustment over the primary claims."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.claims.claim import Claim, ClaimsError
from analysis.claims.comparisons import Comparison, comparisons
from analysis.claims.notes import decision_text, how_refuted, note_on, seeds_added, shown
from analysis.claims.power import power_at_no_difference, seeds_to_decide
from analysis.claims.reader import paper_claims
from analysis.claims.samples import Reader, Reading, listed
from analysis.claims.verdict import Side, Verdict, Word
from analysis.loading.figure_files import figure_files, read_figure_table
from analysis.loading.study import Study
from analysis.stats.multiplicity import holm, holm_level

ALPHA = 0.05
"""Level of every verdict: for twice the one-sided p of a direction, and the larger one-sided p of an equivalence."""


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
    added = seeds_added(study)
    return [verdict_on(case, odds, added) for case, odds in zip(cases, odds_of(cases), strict=True)]


def stored_latent(study: Study) -> pd.DataFrame | None:
    """Return the tables that `python -m analysis.latent` wrote for this study, one row per trial; None without any."""
    names = figure_files(study, "latent-trials-", ".csv")
    tables = [table for name in names if (table := read_figure_table(study, name, ("trial_id",))) is not None]
    return pd.concat(tables, ignore_index=True) if tables else None


@dataclass(frozen=True, eq=False)
class Case:
    """A claim with the tests of its parts, before any p is adjusted."""

    claim: Claim
    readings: tuple[Reading, ...]
    tests: tuple[Comparison, ...]
    """The tests that decide, for the parts that the study can judge."""
    shown: tuple[Comparison, ...]
    gaps: tuple[str, ...]
    """Why parts that decide cannot be judged, one sentence per reason."""

    @classmethod
    def of(cls, claim: Claim, readings: Sequence[Reading]) -> "Case":
        """Compare what every deciding part reads of the study."""
        deciding = [one for one in readings if one.part.decides]
        made = {id(one): comparisons(one.part, one.samples) for one in readings if one.is_testable}
        return cls(
            claim,
            tuple(readings),
            tuple(test for one in deciding for test in made.get(id(one), ())),
            tuple(test for one in readings if not one.part.decides for test in made.get(id(one), ())),
            _gaps(deciding),
        )

    @property
    def deciding(self) -> list[Reading]:
        """The readings that decide and can be judged."""
        return [one for one in self.readings if one.part.decides and one.is_testable]

    @property
    def p(self) -> float:
        """Return the largest p of its tests; NaN if some of its parts cannot be judged."""
        return float("nan") if self.gaps or not self.tests else float(np.max([test.p for test in self.tests]))

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
    def too_small(self) -> list[Comparison]:
        """The tests of directions whose estimate is smaller than the difference that counts."""
        return [test for test in self.tests if not test.is_enough]


@dataclass(frozen=True)
class Odds:
    """The adjusted p of a claim for and against it, and the levels that its raw p have to meet."""

    p_for: float
    p_against: float
    level_for: float = ALPHA
    level_against: float = ALPHA
    members_for: int = 0
    """Size of the family that p_for is adjusted over; 0 if it is not adjusted."""
    members_against: int = 0

    def family(self, side: Side) -> str:
        """Return what the p of a side is adjusted over."""
        if not side:
            return ""
        members = self.members_for if side == "for" else self.members_against
        return f"Holm over {members} primary claim{'s' * (members > 1)}" if members else "not adjusted: not a primary claim"


def odds_of(cases: Sequence[Case]) -> list[Odds]:
    """Adjust the p of the primary cases by Holm's method, those for the claims and those against them apart."""
    family = {case.claim.id: case for case in cases if case.claim.primary}
    p_for = {name: case.p for name, case in family.items() if not case.gaps}
    against = {name: case.p_against for name, case in family.items() if case.tests}
    for_holm, against_holm = holm(p_for), holm(against)
    found = []
    for case in cases:
        name = case.claim.id
        found.append(
            Odds(
                for_holm.get(name, case.p),
                against_holm.get(name, case.p_against),
                holm_level(p_for, name, ALPHA) if name in p_for else ALPHA,
                holm_level(against, name, ALPHA) if name in against else ALPHA,
                len(p_for) if name in p_for else 0,
                len(against) if name in against else 0,
            )
        )
    return found


def verdict_on(case: Case, odds: Odds, added: str = "") -> Verdict:
    """Return the verdict on a case; `added` is a warning about seeds that were added later."""
    claim = case.claim
    word, reason = decide(case, odds.p_for, odds.p_against)
    is_final = all(one.is_final for one in case.deciding) and bool(case.deciding)
    empty = Verdict(
        claim.id,
        word,
        "",
        claim.text,
        claim.where,
        claim.figure,
        "final" if is_final else "interim",
        claim.primary,
        reason=reason,
        expected=claim.expected,
    )
    if word == "not testable":
        return replace(empty, note=listed([shown(test) for test in (*case.tests, *case.shown)], 2))
    side = _side(word, odds)
    test = _telling(case.tests, side)
    has_p = test.scaled is not None and side != ""
    p = odds.p_against if side == "against" else odds.p_for
    power = power_at_no_difference(case.tests, odds.level_for)
    seeds = None
    if word == "undecided" and _is_open(case, odds):
        seeds = seeds_to_decide(case.tests, odds.level_for, odds.level_against)
        n = min(other.estimate.n for other in case.tests)
        # What is still undecided needs more than the present seeds.
        seeds = None if seeds is None else max(seeds, n + 1)
        reason = "; ".join([reason, *decision_text(power, seeds)])
    samples = [sample for one in case.deciding for sample in one.samples.values()]
    is_theorem = all(other.scaled is None for other in case.tests)
    return replace(
        empty,
        how=how_refuted(test, len(case.tests), odds.level_against) if word == "refuted" else "",
        estimate=test.estimate.estimate,
        low=test.estimate.low,
        high=test.estimate.high,
        unit=test.unit,
        what=test.name,
        n=min(other.estimate.n for other in case.tests),
        n_planned=min(sample.planned for sample in samples),
        p=p if has_p else float("nan"),
        side=side if has_p else "",
        family=odds.family(side) if has_p else "",
        level=(odds.level_against if side == "against" else odds.level_for) if has_p else float("nan"),
        p_for=float("nan") if is_theorem else case.p,
        p_against=float("nan") if is_theorem else case.p_against,
        p_for_adjusted=float("nan") if is_theorem else odds.p_for,
        p_against_adjusted=float("nan") if is_theorem else odds.p_against,
        margin=test.margin,
        power=power,
        seeds_needed=seeds,
        reason=reason,
        missing="; ".join(dict.fromkeys(f"{sample.cell}: {sample.missing}" for sample in samples if sample.missing)),
        note=note_on(claim, case.readings, (case.tests, case.shown), test, added),
    )


def decide(case: Case, p: float, against: float) -> tuple[Word, str]:
    """Return the verdict and, unless it is clear, the reason.

    Confirmed and refuted exclude each other: a test that speaks against the claim at any level has an estimate on the other
    side of its boundary, so that neither its p nor its estimate confirms it.

    Args:
        case: the claim with its tests.
        p: the adjusted p for the claim.
        against: the adjusted p against it.
    """
    if case.tests and against <= ALPHA and case.p_against_worst <= ALPHA:
        return "refuted", f"one part is enough; not shown: {listed(case.gaps)}" if case.gaps else ""
    if case.gaps:
        return "not testable", listed(case.gaps)
    if p <= ALPHA and case.too_small:
        return "undecided", listed([_smaller_than_counts(test) for test in case.too_small], 2)
    if p <= ALPHA and case.p_worst > ALPHA:
        return "undecided", "it would be confirmed, but not if diverged trials are ranked as the worst"
    if p <= ALPHA:
        return "confirmed", ""
    if against <= ALPHA:
        return "undecided", "it would be refuted, but not if diverged trials are ranked as the worst"
    if np.isnan(case.p):
        thin = [test.name for test in case.tests if np.isnan(test.p)]
        return "undecided", f"too few seeds have a value for {listed(thin)}"
    if case.p_against <= ALPHA or (case.p <= ALPHA and not case.too_small):
        alone = "refuted" if case.p_against <= ALPHA else "confirmed"
        return "undecided", f"on its own it would be {alone}, but not after Holm's adjustment over the primary claims"
    if case.p <= ALPHA:
        return "undecided", listed([_smaller_than_counts(test) for test in case.too_small], 2)
    return "undecided", "the interval is compatible with the claim and with its contrary"


def _is_open(case: Case, odds: Odds) -> bool:
    """Tell whether more seeds of the same kind would decide, and no diverged trial stands against it."""
    is_held_back = (odds.p_for <= ALPHA and not case.too_small) or odds.p_against <= ALPHA
    return not is_held_back and not np.isnan(case.p)


def _smaller_than_counts(test: Comparison) -> str:
    side, sign = ("above", 1) if test.test == "greater" else ("below", -1)
    null = sign * (test.margin - test.bound) + 0.0
    words = (
        f"{test.name}: {side} {null:g} is shown, but the estimate is smaller than the margin of {test.margin:g} {test.unit}"
    )
    return words.rstrip()


def _gaps(deciding: Sequence[Reading]) -> tuple[str, ...]:
    needs = list(dict.fromkeys(need for one in deciding for need in one.lacks))
    undefined = dict.fromkeys(words for one in deciding for words in one.undefined)
    return (*([f"the claim needs {listed(needs)}"] if needs else ()), *undefined)


def _side(word: Word, odds: Odds) -> Side:
    """Return the side whose p is shown: that which decided, else the one with the smaller adjusted p."""
    if word in ("confirmed", "refuted"):
        return "for" if word == "confirmed" else "against"
    known: dict[Side, float] = {"for": odds.p_for, "against": odds.p_against}
    sides = [side for side, p in known.items() if not np.isnan(p)]
    return min(sides, key=lambda side: known[side], default="")


def _telling(tests: Sequence[Comparison], side: Side) -> Comparison:
    """Return the test whose p is that of the claim on this side."""
    if side == "against":
        return min(tests, key=lambda test: 2.0 if np.isnan(test.p_against) else test.p_against)
    return max(tests, key=lambda test: 2.0 if np.isnan(test.p) else test.p)


def _smallest(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return min(1.0, len(values) * min(known)) if known else float("nan")
