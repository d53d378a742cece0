"""Every claim of the paper gets its verdict in four planted studies; missing seeds and Holm's family."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.claims.judge import ALPHA, judge
from analysis.claims.verdict import Verdict, markdown, to_frame
from analysis.loading.load import load
from analysis.stats.multiplicity import holm, holm_level
from tests.analysis.claims.planted_claims import BN, GAUSS, K1, K5, PLANTS, SAMPLED, WU, Plant, noise
from tests.analysis.claims.planted_edges import EMPTY, NEGLIGIBLE
from tests.analysis.claims.verdicts import CLAIMS, verdict

# --- every claim: true, false, negligible, empty ----------------------------------------------------------------------------------------


def test_the_paper_has_thirty_claims():
    assert list(CLAIMS) == [f"C{number}" for number in range(1, 31)]
    assert set(PLANTS) == set(NEGLIGIBLE) == set(EMPTY) == set(CLAIMS)
    assert all(claim.expected and claim.where for claim in CLAIMS.values())
    # A theorem, and checks of measurement and of the pictures, are no part of the family.
    assert {name for name, claim in CLAIMS.items() if not claim.primary} == {"C2", "C4", "C24", "C25"}


@pytest.mark.parametrize("name", list(PLANTS))
@pytest.mark.parametrize("is_true", [True, False], ids=["true", "false"])
def test_a_planted_claim_gets_its_verdict(tmp_path, name, is_true):
    plant = PLANTS[name][0 if is_true else 1]
    study = plant.write(tmp_path / "s")
    found = verdict(study, name, plant.table(study))
    assert found.verdict == ("confirmed" if is_true else "refuted"), markdown(found)
    assert found.stage == "final"
    assert found.n == found.n_planned == plant.seeds
    assert found.missing == ""
    assert found.reason == ""
    assert "\n" not in markdown(found)
    assert bool(found.how) != is_true
    assert np.isfinite([found.estimate, found.margin]).all()
    if (name, is_true) in (("C4", True), ("C4", False), ("C23", False)):
        # A statement about every trial, which needs no inference.
        assert (found.side, found.family) == ("", "")
        assert np.isnan([found.p, found.low, found.high]).all()
    else:
        assert found.side == ("for" if is_true else "against")
        assert found.p <= ALPHA


@pytest.mark.parametrize("name", list(NEGLIGIBLE))
def test_an_effect_below_what_counts_never_confirms_a_difference(tmp_path, name):
    edge = NEGLIGIBLE[name]
    study = edge.plant.write(tmp_path / "s")
    found = verdict(study, name, edge.plant.table(study))
    assert found.verdict == edge.verdict, markdown(found)
    assert edge.words in (found.how if edge.verdict == "refuted" else found.reason)
    # Only equivalences, limits that allow for a trifle and checks of every trial are confirmed.
    tests = {part.test for part in CLAIMS[name].parts if part.decides}
    assert edge.verdict != "confirmed" or tests <= {"equal", "within", "uncorrelated", "always", "below"}


@pytest.mark.parametrize("name", list(EMPTY))
def test_without_values_there_is_no_verdict(tmp_path, name):
    edge = EMPTY[name]
    study = edge.plant.write(tmp_path / "s", **edge.options)
    found = verdict(study, name, edge.plant.table(study))
    assert found.verdict == edge.verdict, markdown(found)
    assert edge.words in found.reason
    assert np.isnan([found.p, found.estimate]).all() or found.verdict == "undecided"


# --- missing and diverged -----------------------------------------------------------------------------------------------


def test_a_seed_less_changes_n(tmp_path):
    plant = PLANTS["C3"][0]
    found = verdict(replace(plant, seeds=5).write(tmp_path / "s"), "C3")
    assert (found.n, found.n_planned, found.verdict) == (5, 5, "confirmed")


def test_a_diverged_trial_is_named_and_may_cost_the_verdict(tmp_path):
    plant = replace(PLANTS["C3"][0], seeds=8)
    found = verdict(plant.write(tmp_path / "one", diverged={(5, 2): 3}), "C3")
    assert (found.n, found.n_planned, found.stage) == (7, 8, "final")
    assert found.missing == "K = 5: seed 2 diverged after epoch 3"
    assert found.verdict == "confirmed"
    # The trials that are left say the same as before, but K = 5 now often fails.
    three = verdict(plant.write(tmp_path / "three", diverged={(5, seed): 3 for seed in (1, 2, 6)}), "C3")
    assert three.p < 1e-6
    assert three.verdict == "undecided"
    assert "if diverged trials are ranked as the worst" in three.reason
    # Where K = 1 fails as well as being worse, the claim stands.
    other = verdict(plant.write(tmp_path / "other", diverged={(1, seed): 3 for seed in (1, 2, 6)}), "C3")
    assert (other.verdict, other.n) == ("confirmed", 5)


@pytest.mark.parametrize("name", ["C7", "C9", "C19", "C26"])
def test_equality_does_not_survive_a_divergence(tmp_path, name):
    found = verdict(PLANTS[name][0].write(tmp_path / "s", diverged={(5, 2): 0}), name)
    assert found.verdict == "undecided"
    assert "seed 2 diverged after epoch 0" in found.missing


def test_a_running_study_is_interim(tmp_path):
    plant = PLANTS["C3"][0]
    study = plant.write(tmp_path / "s", done=lambda s: 3 if s["k"] == 1 else 99)
    found = verdict(study, "C3")
    assert (found.verdict, found.stage, found.n) == ("undecided", "interim", 0)
    assert "too few seeds have a value" in found.reason
    assert "K = 1: seeds 0, 1, 2, 3, 4, 5 unfinished (3 of 6 epochs)" in found.missing


def test_one_seed_is_undecided(tmp_path):
    found = judge(replace(PLANTS["C3"][0], seeds=1, cells=[K1, SAMPLED, K5, BN, WU]).write(tmp_path / "s"))
    assert {one.verdict for one in found} <= {"undecided", "not testable", "confirmed", "refuted"}
    assert {one.claim for one in found if one.verdict in ("confirmed", "refuted")} <= {"C4"}


def test_a_comparison_of_one_seed_has_no_interval(tmp_path):
    found = verdict(replace(PLANTS["C3"][0], seeds=1).write(tmp_path / "one"), "C3")
    (shown,) = [words for words in found.note.split("; ") if words.startswith("for comparison: nll, ")]
    assert re.fullmatch(r"for comparison: nll, K = 5 - K = 1: -?\d[\d.e-]* nats", shown)
    several = verdict(PLANTS["C3"][0].write(tmp_path / "several"), "C3")
    assert re.search(r"for comparison: nll, K = 5 - K = 1: -?\d[\d.e-]* nats \(-?\d[\d.e-]* to -?\d[\d.e-]*\)", several.note)


def test_seeds_added_later_are_said(tmp_path):
    plant = PLANTS["C3"][0]
    plant.write(tmp_path / "s")
    study = replace(plant, seeds=4, first_seed=6).write(tmp_path / "s", entry=2)
    assert verdict(study, "C3").n == 10
    assert "4 seeds were added to the plan later" in verdict(study, "C3").note
    assert "added" not in verdict(plant.write(tmp_path / "t"), "C3").note


def test_a_passed_equivalence_is_passed_and_power_is_only_quoted(tmp_path):
    wide = Plant([K5, WU], seeds=4, nll=lambda s: 90 + noise(s, 0.2, 5))
    found = verdict(wide.write(tmp_path / "s"), "C7")
    assert found.power < 0.8
    assert found.verdict == "undecided"
    assert f"power {found.power:.2f} at no difference" in found.reason
    assert found.seeds_needed > 4
    assert f"about {found.seeds_needed} seeds per cell would decide it" in found.reason
    # Three seeds whose sd is hardly below that at which the test passes: the former gate on power called this undecided.
    lucky = Plant([K5, WU], seeds=4, nll=lambda s: 90 - noise(s) + 0.14 * (s["warmup"] > 0) * (-1) ** s["seed"])
    found = verdict(lucky.write(tmp_path / "t"), "C7")
    assert found.power < 0.8
    assert found.verdict == "confirmed", markdown(found)


def test_other_margins_and_lengths_are_said(tmp_path):
    note = verdict(PLANTS["C7"][0].write(tmp_path / "s"), "C7").note
    assert "equivalent at 1 nats" in note
    assert "at 0.1 nats" in note
    assert "the warm-up takes 20 epochs here, 100 in the paper" in note
    assert "training ends at epoch 6, in the paper at epoch 300" in note
    assert "epoch 10 as epoch 2" in verdict(PLANTS["C17"][0].write(tmp_path / "t"), "C17").note


def test_a_trifle_is_not_confirmed(tmp_path):
    plant = Plant([K5, BN], nll=lambda s: 90 + 0.1 * s["batch_norm"] - noise(s) + noise(s, 0.005, 9))
    found = verdict(plant.write(tmp_path / "s"), "C5")
    assert (found.verdict, found.how) == ("refuted", "shown to be smaller than the margin of 0.3 nats")
    # The difference itself is shown; it is the estimate that is too small.
    assert found.low > 0
    assert found.p_for <= ALPHA


def test_a_difference_near_the_margin_is_undecided_with_its_reason(tmp_path):
    near = Plant([K5, BN], nll=lambda s: 90 + 0.27 * s["batch_norm"] - noise(s) + noise(s, 0.05, 9))
    found = verdict(near.write(tmp_path / "s"), "C5")
    assert (found.verdict, found.side) == ("undecided", "for")
    assert "above 0 is shown, but the estimate is smaller than the margin of 0.3 nats" in found.reason
    assert found.seeds_needed > found.n


def test_holm_is_over_the_primary_claims_that_can_be_tested(tmp_path):
    study = Plant([K1, SAMPLED, K5, BN], nll=lambda s: 90 + 0.05 * s["batch_norm"]).write(tmp_path / "s")
    found = judge(study, [*CLAIMS.values(), replace(CLAIMS["C5"], id="mine", primary=False)])
    primary = [one for one in found if one.primary and one.verdict != "not testable"]
    # A claim that one part refutes is in the family against, though another part cannot be judged.
    sides = {
        "for": {one.claim: one.p_for for one in primary if "not shown" not in one.reason},
        "against": {one.claim: one.p_against for one in primary},
    }
    assert {"C3", "C5", "C15", "C26"} <= set(sides["for"])
    assert "C30" not in sides["against"]
    for side, family in sides.items():
        expected = holm(family)
        for one in primary:
            if one.claim in family:
                np.testing.assert_equal(getattr(one, f"p_{side}_adjusted"), expected[one.claim])
    for one in primary:
        if one.side:
            family = sides[one.side]
            assert one.p == getattr(one, f"p_{one.side}_adjusted")
            assert one.family == f"Holm over {len(family)} primary claims"
            assert one.level == holm_level(family, one.claim, ALPHA)
            assert (
                one.side == ("against" if one.p_against_adjusted < one.p_for_adjusted else "for") or one.verdict == "refuted"
            )
    others = [one for one in found if not one.primary and one.side]
    assert {one.family for one in others} == {"not adjusted: not a primary claim"}
    assert {one.level for one in others} == {ALPHA}
    alone = verdict(study, "C5")
    assert alone.p_for_adjusted == alone.p_for == next(one for one in found if one.claim == "C5").p_for
    assert alone.family == "Holm over 1 primary claim"


def test_the_table_has_a_row_a_claim(lonely):
    verdicts = judge(lonely)
    table = to_frame(verdicts)
    assert list(table) == list(Verdict.__dataclass_fields__)
    assert table["claim"].tolist() == list(CLAIMS)
    assert table["verdict"].isin(["confirmed", "refuted", "undecided", "not testable"]).all()
    pd.read_csv(__import__("io").StringIO(table.to_csv(index=False)))
    assert to_frame([]).empty


def test_a_study_without_any_row_has_no_verdict(tmp_path):
    study = Plant([K1, K5, BN, WU, GAUSS], seeds=2).write(tmp_path / "s", done=lambda s: -1)
    assert load(study.path).epochs.empty
    assert {one.verdict for one in judge(study)} == {"undecided", "not testable"}
