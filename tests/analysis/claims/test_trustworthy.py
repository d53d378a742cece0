"""Studies for which verdicts were once wrong, each with the verdict that its data allow."""

import re
from dataclasses import replace

import numpy as np

from analysis.claims.judge import judge
from analysis.claims.reader import read_claims
from analysis.claims.verdict import markdown
from study.grid.design import trials_of
from study.grid.grid import parse_grid
from tests.analysis.claims.claims_files import GOOD
from tests.analysis.claims.planted_claims import (
    K1,
    K5,
    PLANTS,
    SAMPLED,
    Plant,
    better_images,
    falling,
    in_band,
    n_z,
    noise,
    units,
)
from tests.analysis.claims.verdicts import verdict


def test_pruning_within_epoch_1_refutes_nothing_about_pruning(tmp_path):
    def early(s, e):
        return 12 if e else 50

    found = verdict(Plant([K1], epochs=60, active=early).write(tmp_path / "early"), "C12")
    assert found.verdict == "not testable"
    assert "seeds 0, 1, 2, 3, 4, 5 of K = 1: fewer than 2 units are lost, so there is no half-life" in found.reason
    # One such seed among others is enough: those that have a half-life are no fair sample.
    one = Plant([K1], epochs=60, active=lambda s, e: early(s, e) if s["seed"] == 3 else falling(s, e, 12))
    found = verdict(one.write(tmp_path / "one"), "C12")
    assert found.verdict == "not testable"
    assert "seed 3 of K = 1: " in found.reason
    # All units kept is an answer: none was pruned before.
    kept = verdict(Plant([K1], epochs=60, active=lambda s, e: 50).write(tmp_path / "kept"), "C12")
    assert (kept.verdict, kept.how) == ("refuted", "shown to lie below the limit of 1 units")


def test_three_times_faster_and_three_nats_lower_is_faster(tmp_path):
    def bound(s, e):
        small = s["n_z"] == 10
        return -90 - 3 * small - 30 * np.exp(-e / (4 if small else 12))

    plant = Plant(n_z(10, 20, 50, 100), seeds=4, bound=bound)
    long = verdict(replace(plant, epochs=300).write(tmp_path / "long"), "C10")
    assert long.verdict == "confirmed", markdown(long)
    assert long.estimate < -20
    # In 40 epochs the slower curves have not converged.
    short = verdict(replace(plant, epochs=40).write(tmp_path / "short"), "C10")
    assert short.verdict == "not testable"
    assert "test_bound had not converged" in short.reason


def test_one_number_is_not_judged_three_ways(tmp_path):
    for cost in (-0.5, -0.005):
        study = Plant(
            [K5, K1, SAMPLED],
            activity=in_band,
            final=lambda s, cost=cost: {"ablation_between_elbo": cost + noise(s, 0.01), "ablation_between": -0.2},
        ).write(tmp_path / str(cost))
        found = {one.claim: one.verdict for one in judge(study) if one.claim in ("C11", "C22", "C30")}
        has_cost = cost < -0.06
        assert found["C11"] == ("refuted" if has_cost else "confirmed")
        assert found["C22"] == ("confirmed" if has_cost else "refuted")
        # The loss of L_S is equal at K = 5 and K = 1.
        assert found["C30"] == "refuted"


def test_every_image_means_every_image(tmp_path):
    plant = PLANTS["C23"][0]
    study = plant.write(tmp_path / "s")
    share = replace(plant, latent=lambda s: better_images(0.9996 if s["seed"] == 2 else 1.0))
    found = verdict(study, "C23", share.table(study))
    assert (found.verdict, found.how) == ("refuted", "not above in 1 of 6 trials; each must be above 0.999999")
    assert "9,996 of 10,000 images" in found.note
    assert f"{found.estimate:.4f}" == "0.9996"


def test_any_drop_is_not_the_drop_that_classes_predict(tmp_path):
    plant = replace(PLANTS["C27"][0], active=lambda s, e: 10 - 2 * (s["data.subset"] == "classes"))
    found = verdict(plant.write(tmp_path / "s"), "C27")
    assert found.verdict == "refuted"
    assert found.how.startswith("shown to be smaller than the margin of ")


# --- like with like -----------------------------------------------------------------------------------------------------


def test_k_is_not_confounded_with_the_estimator_of_the_kl(tmp_path):
    # The sampled KL costs 2 nats, and K = 5 gains nothing.
    plant = Plant(
        [K5, K1, SAMPLED], final=lambda s: {"l_5": -87 - 2 * (s["objective.kl"] == "auto") * (s["k"] == 1) + noise(s)}
    )
    found = verdict(plant.write(tmp_path / "s"), "C3")
    assert found.verdict == "refuted", markdown(found)
    assert "the same against the closed form, K = 5 - K = 1 in closed form: 2.0" in found.note
    # Without the bridge there is no verdict, but the line that gives one.
    found = verdict(Plant([K5, K1]).write(tmp_path / "t"), "C3")
    assert found.verdict == "not testable"
    (line,) = re.findall(r"- (\{.*?\})", found.reason)
    grid = parse_grid(
        "study: s\nfactors:\n  decoder: [bernoulli]\n  k: [1, 5]\n  batch_norm: [false]\n  warmup: [0]\n  n_z: [50]\n"
        f"  seed: [0]\ncells:\n  - {line}\n"
    )
    kinds = {(one.settings.k, one.settings.objective.kl) for one in trials_of(grid, "0" * 64)}
    assert kinds == {(1, "auto"), (5, "auto"), (1, "sampled")}


def test_a_study_that_samples_everywhere_needs_no_bridge(tmp_path):
    plant = replace(PLANTS["C3"][0], cells=[K5, K1])
    for number, settings in enumerate(({"objective.kl": "sampled"}, {"objective.gradient": "stl"})):
        found = verdict(replace(plant, settings=settings).write(tmp_path / str(number)), "C3")
        assert found.verdict == "confirmed", markdown(found)
        assert "not shown: the same against the closed form" in found.note


def test_cells_of_different_lengths_are_not_compared(tmp_path):
    plant = replace(PLANTS["C15"][0], cells=[SAMPLED], epochs=30)
    plant.write(tmp_path / "s")
    study = replace(plant, cells=[{**K5, "objective.kl": "auto"}], epochs=3).write(tmp_path / "s", entry=2)
    found = verdict(study, "C15")
    assert found.verdict == "not testable", markdown(found)
    assert "cells of one length (K = 5 ends at epoch 3, K = 1 ends at epoch 30)" in found.reason
    assert "--set training.epochs=30" in found.reason
    # A statement about every single trial compares none.
    replace(PLANTS["C4"][0], cells=[K1], epochs=30).write(tmp_path / "t")
    every = replace(PLANTS["C4"][0], cells=[K5], epochs=3).write(tmp_path / "t", entry=2)
    assert verdict(every, "C4").verdict == "confirmed"


# --- what is told -------------------------------------------------------------------------------------------------------


def test_a_file_of_ones_own_is_not_told_of_the_paper(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    study = Plant(n_z(20, 50)).write(tmp_path / "s")
    (own,) = judge(study, read_claims(path))
    assert "paper" not in markdown(own)
    path.write_text("paper: {epochs: 60}\n" + GOOD)
    (own,) = judge(study, read_claims(path))
    assert "training ends at epoch 6, in the paper at epoch 60" in own.note


def test_a_check_of_every_trial_has_no_interval(tmp_path):
    found = verdict(PLANTS["C4"][0].write(tmp_path / "s"), "C4")
    assert np.isnan([found.low, found.high, found.p]).all()
    assert re.search(r"smallest step from L_1 to L_S, K = \d: [\d.]+ nats in 6 trials\.", markdown(found))


def test_a_return_rate_drops_only_the_seeds_without_pruning(tmp_path):
    plant = Plant(
        [K5, K1],
        epochs=80,
        activity=lambda s, e: units(50 if s["seed"] == 4 else falling(s, e, 12), s["n_z"]),
    )
    found = verdict(plant.write(tmp_path / "s"), "C13")
    assert (found.verdict, found.n) == ("confirmed", 5)
    assert "K = 5: seed 4 without a value (no unit was pruned before the last epoch)" in found.missing
