"""A verdict names what a study lacks for its claim."""

from dataclasses import replace

import numpy as np

from analysis.claims.judge import judge, stored_latent
from tests.analysis.claims.planted_claims import BN, GAUSS, K1, K5, PLANTS, SAMPLED, WU, Plant, in_band, noise
from tests.analysis.claims.verdicts import verdict

BERNOULLI_K5 = {
    "C1": ["decoder = gaussian (the study has bernoulli)", "k = 1 (the study has 5)"],
    "C2": ["decoder = gaussian (the study has bernoulli)"],
    "C3": ["k = 1 (the study has 5)"],
    "C4": ["k = 1"],
    "C5": ["batch_norm = True (the study has False)"],
    "C6": ["warmup above 0 (the study has none)"],
    "C7": ["warmup above 0"],
    "C8": ["n_z = 2 (the study has 50)", "n_z = 5 (the study has 50)", "n_z = 10 (the study has 50)"],
    "C9": ["n_z = 10", "n_z = 20", "n_z = 100"],
    "C10": ["n_z = 10", "n_z = 20", "n_z = 100"],
    "C12": ["k = 1"],
    "C13": ["k = 1"],
    "C14": ["k = 1"],
    "C15": ["k = 1"],
    "C16": ["batch_norm = True"],
    "C17": ["warmup above 0"],
    "C18": ["warmup above 0"],
    "C19": ["k = 1", "batch_norm = True", "warmup above 0"],
    "C20": ["n_z = 2", "n_z = 5"],
    "C21": ["n_z = 20", "n_z = 100"],
    "C23": ["n_z = 2"],
    "C24": ["n_z = 2"],
    "C25": ["n_z = 2"],
    "C26": ["k = 1"],
    "C27": ["data.classes = 1,2,3,4,5 (the study has all)", "data.subset = random (the study has classes)"],
    "C28": ["decoder = gaussian", "k = 1", "batch_norm = True", "warmup above 0", "n_z = 20"],
    "C29": ["k = 1", "batch_norm = True", "warmup above 0"],
    # No unit lies in the band that these claims are about.
    "C11": ["no unit's activity lies above 0.01"],
    "C22": ["no unit's activity lies above 0.01"],
    "C30": ["k = 1 (the study has 5)"],
}


def test_absent_levels_are_named(lonely):
    found = {one.claim: one for one in judge(lonely)}
    assert {name for name, one in found.items() if one.verdict == "not testable"} == set(BERNOULLI_K5)
    for name, levels in BERNOULLI_K5.items():
        assert all(level in found[name].reason for level in levels[:4]), found[name].reason
        assert np.isnan([found[name].p, found[name].p_for, found[name].estimate]).all()


def test_a_planned_level_in_no_such_cell_is_named(tmp_path):
    study = Plant([{**K1, **BN}, K5], seeds=2).write(tmp_path / "s")
    assert "a trial at decoder=bernoulli k=5 batch_norm=True" in verdict(study, "C5").reason


def test_absent_epochs_warmup_settings_and_columns_are_named(tmp_path):
    short = Plant([GAUSS, K1, K5, WU], seeds=2).write(tmp_path / "short")
    assert "300 epochs (the study is planned for 6)" in verdict(short, "C2").reason
    assert "30 epochs (the study is planned for 6)" in verdict(short, "C12").reason
    assert "22 epochs (the study is planned for 6)" in verdict(short, "C18").reason
    brief = Plant([K5, {"warmup": 4}], seeds=2, epochs=30).write(tmp_path / "brief")
    assert "a warm-up of 20 epochs or more (its longest is 4)" in verdict(brief, "C17").reason
    grey = Plant([GAUSS, K1], settings={"data.input": "grey"}).write(tmp_path / "grey")
    assert "data.input = dynamic or static or threshold (the study has grey)" in verdict(grey, "C1").reason
    without = Plant([K5, K1], activity=in_band, final=lambda s: {"ablation_between_elbo": None}).write(tmp_path / "without")
    found = verdict(without, "C22")
    assert found.verdict == "not testable"
    assert "values of ablation_between_elbo, which is null in every trial of K = 5" in found.reason


def test_nothing_is_said_of_pruning_where_there_is_none(tmp_path):
    found = {one.claim: one for one in judge(Plant([K1, SAMPLED, K5, BN], epochs=30).write(tmp_path / "s"))}
    for name in ("C12", "C14"):
        assert found[name].verdict == "not testable"
        assert "fewer than 2 units are lost, so there is no half-life" in found[name].reason
    assert found["C13"].verdict == "not testable"
    assert "seeds 0, 1, 2, 3, 4, 5 of K = 5: no unit was pruned before the last epoch" in found["C13"].reason
    # The third part of C16 is not about pruning.
    assert found["C16"].how == "shown to be smaller than the margin of 1 units"
    assert "fewer than 2 units are lost" in found["C16"].reason
    # That all units are kept is an answer, as none can have been pruned before.
    kept = verdict(Plant([K1], epochs=30, active=lambda s, e: 50).write(tmp_path / "kept"), "C12")
    assert (kept.verdict, kept.how) == ("refuted", "shown to lie below the limit of 1 units")
    assert kept.what.startswith("units lost")
    # No return in a few epochs of a few units is no evidence of a rate below a thousandth.
    few = Plant([K1, K5], epochs=30, active=lambda s, e: 11 - (e > 10)).write(tmp_path / "few")
    assert verdict(few, "C13").verdict == "undecided"
    # Without any active unit there is no share of them.
    dead = Plant([K5, WU], epochs=30, active=lambda s, e: 0).write(tmp_path / "dead")
    assert "seeds 0, 1, 2, 3, 4, 5 of warm-up: no unit is active in epochs 1 to 5" in verdict(dead, "C17").reason


def test_latent_claims_say_what_to_run(tmp_path):
    plant = PLANTS["C23"][0]
    study = plant.write(tmp_path / "s")
    for name in ("C23", "C24", "C25"):
        found = verdict(study, name)
        assert found.verdict == "not testable"
        assert f"run python -m analysis.latent {study.path}" in found.reason
    assert stored_latent(study) is None
    # A class that 2 units reconstruct better refutes "every" without any picture.
    refuted = verdict(PLANTS["C23"][1].write(tmp_path / "odd"), "C23")
    assert refuted.verdict == "refuted"
    assert refuted.what.endswith("class 3")
    assert "analysis.latent" in refuted.reason


def test_the_stored_table_of_latent_pictures_is_found(tmp_path):
    plant = PLANTS["C25"][0]
    study = plant.write(tmp_path / "s")
    (study.path / "figures").mkdir()
    plant.table(study).to_csv(study.path / "figures" / "latent-trials-bernoulli.csv", index=False)
    assert verdict(study, "C25", stored_latent(study)).verdict == "confirmed"


def test_a_factor_that_the_claim_does_not_name_is_at_its_default(tmp_path):
    gain = {"iwae": 2, "vae": -30}
    cells = [{**k, "objective.bound": bound} for k in (SAMPLED, K5) for bound in gain]
    plant = Plant(cells, final=lambda s: {"l_5": -87 + gain[s["objective.bound"]] * (s["k"] == 5) + noise(s)})
    assert verdict(plant.write(tmp_path / "both"), "C3").verdict == "confirmed"
    odd = [{**k, "training.beta2": beta2} for k in (SAMPLED, K5) for beta2 in (0.99, 0.999)]
    found = verdict(replace(plant, cells=odd, final=lambda s: {}).write(tmp_path / "odd"), "C3")
    assert found.verdict == "not testable"
    assert "a level of training.beta2, which varies but is not fixed by the claim" in found.reason


def test_decoders_are_never_pooled(tmp_path):
    true = PLANTS["C3"][0]
    alone = verdict(true.write(tmp_path / "one"), "C3")
    both = verdict(replace(true, cells=[*true.cells, GAUSS]).write(tmp_path / "two"), "C3")
    assert (both.estimate, both.n, both.p) == (alone.estimate, alone.n, alone.p)
    # Seeds that only another cell was planned with are none of this claim's.
    more = replace(true, cells=[GAUSS], seeds=2, first_seed=6).write(tmp_path / "two", entry=2)
    assert more.factors["seed"] == tuple(range(8))
    assert (verdict(more, "C3").missing, verdict(more, "C3").n_planned) == ("", 6)
