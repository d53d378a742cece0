"""Every claim of the paper gets a study in which it is true and one in which it is false; missing seeds and Holm's family."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.claims.judge import Verdict, judge, markdown, to_frame
from analysis.loading.load import load
from analysis.stats.multiplicity import holm
from tests.analysis.claims.planted_claims import BN, GAUSS, K1, K5, PLANTS, WU, Plant, noise
from tests.analysis.claims.verdicts import CLAIMS, verdict

# --- every claim, true and false ----------------------------------------------------------------------------------------


def test_the_paper_has_thirty_claims():
    assert list(CLAIMS) == [f"C{number}" for number in range(1, 31)]
    assert set(PLANTS) == set(CLAIMS)
    assert all(claim.expected and claim.where for claim in CLAIMS.values())
    # A theorem, and checks of measurement and of the pictures, are no part of the family.
    assert {name for name, claim in CLAIMS.items() if not claim.primary} == {"C2", "C4", "C11", "C24", "C25", "C30"}


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
    if name != "C4":
        assert (found.p <= 0.05) == is_true
        assert np.isfinite([found.estimate, found.margin]).all()


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
    found = judge(replace(PLANTS["C3"][0], seeds=1, cells=[K1, K5, BN, WU]).write(tmp_path / "s"))
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


def test_equality_needs_power(tmp_path):
    wide = Plant([K5, WU], seeds=4, nll=lambda s: 90 + noise(s, 0.2, 5))
    found = verdict(wide.write(tmp_path / "s"), "C7")
    assert found.power < 0.8
    assert found.verdict == "undecided"
    assert found.underpowered == ("nll, warm-up - without",)
    assert "more seeds are needed" in found.reason


def test_other_margins_and_lengths_are_said(tmp_path):
    note = verdict(PLANTS["C7"][0].write(tmp_path / "s"), "C7").note
    assert "equivalent at 1 nats" in note
    assert "at 0.1 nats" in note
    assert "the warm-up takes 20 epochs here, 100 in the paper" in note
    assert "training ends at epoch 6, in the paper at epoch 300" in note
    assert "epoch 10 as epoch 2" in verdict(PLANTS["C17"][0].write(tmp_path / "t"), "C17").note


def test_a_confirmed_trifle_is_called_one(tmp_path):
    plant = Plant([K5, BN], nll=lambda s: 90 + 0.1 * s["batch_norm"] - noise(s) + noise(s, 0.005, 9))
    found = verdict(plant.write(tmp_path / "s"), "C5")
    assert found.verdict == "confirmed"
    assert "is smaller than the margin of 0.3 nats" in found.note


def test_holm_is_over_the_primary_claims_that_can_be_tested(tmp_path):
    study = Plant([K1, K5, BN], nll=lambda s: 90 + 0.05 * s["batch_norm"]).write(tmp_path / "s")
    found = judge(study)
    family = {one.claim: one.p for one in found if one.primary and one.verdict != "not testable"}
    assert {"C3", "C5", "C15", "C22", "C26"} <= set(family)
    assert "C30" not in family
    expected = holm(family)
    got = {one.claim: one.p_holm for one in found if not np.isnan(one.p_holm)}
    assert got == {name: p for name, p in expected.items() if not np.isnan(p)}
    alone = verdict(study, "C5")
    assert alone.p_holm == alone.p == next(one for one in found if one.claim == "C5").p


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
