"""Verdicts keep their error rates in simulated studies."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.claims.claim import Claim, Part
from analysis.claims.comparisons import comparisons
from analysis.claims.judge import ALPHA, Case, decide, odds_of, verdict_on
from analysis.claims.samples import Reading
from benchmarks.verdict_rates import draw, sample
from tests.analysis.claims.verdicts import CLAIMS, LAWS

DRAWS, SEEDS = 300, 5


def rate_of(claim: Claim, effects, sd, word="confirmed", seeds=SEEDS, draws=DRAWS):
    """Share of simulated data sets with a verdict; `effects` gives one for every part that decides."""
    rng = np.random.default_rng([int(claim.id[1:]), 1])
    deciding = [part for part in claim.parts if part.decides]
    hits = 0
    for _ in range(draws):
        readings = [Reading(part, draw(rng, part, effects[place], sd, seeds)) for place, part in enumerate(deciding)]
        case = Case.of(claim, readings)
        hits += decide(case, case.p, case.p_against)[0] == word
    return hits / draws


SIMULATED = [
    name
    for name, one in CLAIMS.items()
    if {part.test for part in one.parts if part.decides} <= {"greater", "less", "above", "below", "within", "equal"}
]

DIRECTIONAL = [
    name for name in SIMULATED if {part.test for part in CLAIMS[name].parts if part.decides} <= {"greater", "less"}
]


def test_what_is_simulated():
    assert set(CLAIMS) - set(SIMULATED) == {"C4", "C23", "C26", "C28"}
    assert DIRECTIONAL == ["C1", "C3", "C5", "C8", "C10", "C14", "C15", "C16", "C27", "C29", "C30"]


@pytest.mark.parametrize("name", SIMULATED)
def test_a_claim_at_the_edge_is_confirmed_in_5_percent_at_most(name):
    """The hardest null of a compound claim: one part at the edge, all others as true as can be."""
    deciding = [part for part in CLAIMS[name].parts if part.decides]
    for null in range(len(deciding)):
        effects = [
            0 if place == null else 1 if part.test in ("within", "equal") else 30 for place, part in enumerate(deciding)
        ]
        # A direction is tested at 2.5%; two one-sided tests have exactly 5%, so the simulation's own error is allowed for.
        is_equality = deciding[null].test in ("within", "equal")
        assert rate_of(CLAIMS[name], effects, 0.3, draws=DRAWS // len(deciding)) <= (0.08 if is_equality else 0.05)


@pytest.mark.parametrize("name", DIRECTIONAL)
def test_twice_the_margin_is_confirmed_in_80_percent(name):
    deciding = [part for part in CLAIMS[name].parts if part.decides]
    assert rate_of(CLAIMS[name], [2] * len(deciding), 0.5) >= 0.8


@pytest.mark.parametrize("name", ["C6", "C7", "C9", "C18", "C19", "C21"])
def test_equality_is_found_or_refuted_with_a_small_sd(name):
    claim = CLAIMS[name]
    deciding = [part for part in claim.parts if part.decides]
    assert rate_of(claim, [1] * len(deciding), 0.15, draws=60) >= 0.8
    assert rate_of(claim, [-1] * len(deciding), 0.15, "refuted", draws=60) >= 0.8
    # At a large sd five seeds say next to nothing: true or not, it stays undecided.
    assert rate_of(claim, [1] * len(deciding), 1.3, "undecided", draws=60) >= 0.85


@pytest.mark.parametrize("name", DIRECTIONAL)
def test_a_claim_true_by_its_margin_is_refuted_in_5_percent_at_most(name):
    """However many tests it consists of."""
    deciding = [part for part in CLAIMS[name].parts if part.decides]
    assert rate_of(CLAIMS[name], [max(1, part.by) for part in deciding], 0.5, "refuted") <= 0.05


def test_what_passes_its_tests_is_confirmed_whatever_power_was_observed():
    claim, rng, weak = CLAIMS["C7"], np.random.default_rng(7), 0
    for _ in range(DRAWS):
        case = Case.of(claim, [Reading(claim.parts[0], draw(rng, claim.parts[0], 1, 0.5, SEEDS))])
        (odds,) = odds_of([case])
        found = verdict_on(case, odds)
        assert (found.verdict == "confirmed") == (case.p <= ALPHA)
        weak += case.p <= ALPHA and found.power < 0.8
    assert weak > 10


def test_a_null_without_any_effect_is_not_domination():
    claim, rng, hits = CLAIMS["C28"], np.random.default_rng(28), 0
    for _ in range(DRAWS):
        samples = {name: sample(name, rng.normal(0, 0.2, SEEDS)) for name in claim.cells}
        case = Case.of(claim, [Reading(claim.parts[0], samples)])
        hits += decide(case, case.p, case.p_against)[0] == "confirmed"
    assert hits / DRAWS <= 0.05


def test_a_correlation_at_the_margin_is_not_absent():
    claim, rng = CLAIMS["C26"], np.random.default_rng(26)
    part, words = claim.parts[0], []
    for seeds in (5, 150):
        for _ in range(DRAWS // 2):
            x = rng.normal(size=(2, seeds))
            y = 0.32 * x + np.sqrt(1 - 0.32**2) * rng.normal(size=(2, seeds))
            samples = {name: sample(name, np.c_[a, b]) for name, a, b in zip(part.cells, x, y, strict=True)}
            case = Case.of(claim, [Reading(part, samples)])
            words.append(decide(case, case.p, case.p_against)[0])
    assert words.count("confirmed") / len(words) <= 0.05
    assert set(words[: DRAWS // 2]) == {"undecided"}


PARTS = [
    Part("x", "final", test, ("a", "b"), {"column": column}, margin=margin, by=by, paired=paired)
    for test in ("greater", "less", "equal")
    for column in ("nll", "active_units", "test_kl")
    for margin, by in ((0.3, 0.0), (1.0, 1.0))
    for paired in (True, False)
] + [
    Part("x", "final", "above", ("a", "b"), {"column": "nll"}, limit=0.2),
    Part("x", "final", "below", ("a", "b"), {"column": "active_units"}, limit=0.2),
    Part("x", "final", "within", ("a", "b"), {"column": "nll"}, range=(-0.3, 0.5)),
    Part("x", "pair", "uncorrelated", ("a", "b"), {"column": "nll", "with": "l_1"}, margin=0.3),
    Part("x", "final", "dominates", ("a", "b"), {"column": "nll"}, large=(("a", "b"),), small=(("b", "a"),)),
    Part("x", "final", "always", ("a", "b"), {"column": "nll"}, limit=0.2),
]


@LAWS
@given(
    st.sampled_from(PARTS),
    st.integers(2, 14),
    st.floats(-2, 2),
    st.sampled_from([0.0, 0.01, 0.3, 2.0]),
    st.sets(st.integers(0, 13), max_size=3),
    st.integers(0, 99),
)
def test_no_sample_confirms_and_refutes_at_any_level(part, seeds, shift, sd, diverged, key):
    rng = np.random.default_rng(key)
    shape = (seeds, 2 if part.test == "uncorrelated" else 1)
    values = {name: rng.normal(place * shift, sd, shape) for place, name in enumerate(part.cells)}
    if sd == 0.0:
        values = {name: np.round(one, 1) for name, one in values.items()}
    gone = np.isin(np.arange(seeds), list(diverged))
    samples = {
        name: replace(sample(name, np.where(gone[:, None] & (name == "a"), np.nan, one)), diverged=gone & (name == "a"))
        for name, one in values.items()
    }
    for test in comparisons(part, samples):
        # Confirmed at a level means p_for and its worst at most the level, and an estimate that counts.
        confirmed_from = max(test.p, test.p_worst) if test.is_enough else np.inf
        refuted_from = max(test.p_against, test.p_against_worst)
        if not np.isnan([confirmed_from, refuted_from]).any():
            # The largest level of an equivalence test is below one half, that of a direction (twice a tail) below 1.
            highest = 0.5 if test.is_equivalence else 1.0
            assert max(confirmed_from, refuted_from) >= highest, test


@LAWS
@given(st.lists(st.floats(-5, 5), min_size=3, max_size=8, unique=True), st.floats(-3, 3))
def test_a_claim_and_its_contrary_are_never_both_shown(values, shift):
    part = Part("x", "final", "greater", ("a", "b"), {"column": "nll"}, margin=0.3, paired=True)
    other = np.array(values)[::-1] + shift
    up = comparisons(part, {"a": sample("a", values), "b": sample("b", other)})[0]
    down = comparisons(replace(part, cells=("b", "a")), {"a": sample("a", values), "b": sample("b", other)})[0]
    assert up.estimate.estimate == pytest.approx(-down.estimate.estimate)
    assert not (up.p <= 0.05 and down.p <= 0.05)
    # What is confirmed has an interval on the claimed side.
    assert (up.p <= 0.05) == (up.estimate.low >= 0) or abs(up.estimate.low) < 1e-9
