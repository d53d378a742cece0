"""The fully crossed cells of a decoder, and how trials take the KL."""

import pandas as pd
import pytest

from analysis import load
from analysis.averages.average import AverageError
from analysis.averages.crossed import crossed_in_words, crossed_part
from analysis.averages.estimators import kl_estimator, kl_estimators
from analysis.averages.marginal_means import interactions, main_effects
from analysis.averages.one_factor import contrast, map_cells, usual_base
from tests.analysis.planted import SMALL, write
from workers.contract.combinations import closed_form_kl, is_closed_form
from workers.contract.settings_table import settings_from

FACTORS = {**SMALL, "batch_norm": [False, True], "n_z": [3, 5]}
BRIDGE = {**SMALL, "k": [1], "n_z": [3, 5]}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    root = tmp_path_factory.mktemp("crossed") / "s"
    write(root, FACTORS)
    return load(root)


@pytest.fixture(scope="module")
def bridged(tmp_path_factory):
    """The bridge is the first entry of the plan, so that its levels come first where nothing orders them."""
    root = tmp_path_factory.mktemp("crossed") / "s"
    write(root, BRIDGE, settings={"objective.kl": "sampled"}, excluded=lambda s: s["n_z"] == 3)
    write(root, FACTORS, entry=2)
    return load(root)


def test_a_full_product_is_left_alone(plain):
    assert crossed_part(plain, "bernoulli") == {"decoder": "bernoulli"}
    assert crossed_in_words(plain, crossed_part(plain, "bernoulli")) == ""


def test_a_factor_of_listed_cells_alone_is_fixed_at_its_base(bridged):
    at = crossed_part(bridged, "bernoulli")
    assert at == {"decoder": "bernoulli", "objective.kl": "auto"}
    assert crossed_in_words(bridged, at) == "at objective.kl = auto"
    assert bridged.factors["objective.kl"] == ("auto", "sampled")


def test_a_listed_level_of_a_crossed_factor_is_left_out(tmp_path):
    write(tmp_path / "s", {**SMALL, "n_z": [3, 5]})
    write(tmp_path / "s", {**SMALL, "k": [5], "n_z": [9]}, entry=2)
    study = load(tmp_path / "s")
    # Both grids list their levels, so that nothing tells which cells are extra.
    assert crossed_part(study, "bernoulli") == {"decoder": "bernoulli"}
    study.crossed["n_z"] = (3, 5)
    assert crossed_part(study, "bernoulli") == {"decoder": "bernoulli", "n_z": [3, 5]}
    assert crossed_in_words(study, crossed_part(study, "bernoulli")) == "at latent units n_z in {3, 5}"


def test_the_figures_of_the_factorial_are_those_without_the_bridge(plain, bridged):
    for value in ("nll", "active_units"):
        pd.testing.assert_frame_equal(main_effects(bridged, "bernoulli", value), main_effects(plain, "bernoulli", value))
        both = zip(interactions(bridged, "bernoulli", value), interactions(plain, "bernoulli", value), strict=True)
        for (title, ours), (expected, theirs) in both:
            assert title == expected
            pd.testing.assert_frame_equal(ours, theirs)


def test_an_excluded_cell_is_not_mistaken_for_a_listed_one(tmp_path):
    write(tmp_path / "s", FACTORS, excluded=lambda s: s["k"] == 5 and s["batch_norm"])
    study = load(tmp_path / "s")
    assert crossed_part(study, "bernoulli") == {"decoder": "bernoulli"}
    with pytest.raises(AverageError):
        main_effects(study, "bernoulli", "nll")


def test_the_base_cells_stay_at_auto(bridged):
    assert usual_base(bridged)["objective.kl"] == "auto"
    one = contrast(bridged, "k", "bernoulli")
    assert (one.levels, one.base["objective.kl"], one.moved) == ((1, 5), "auto", {})
    assert {cell["objective.kl"] for _, cell in map_cells(bridged, "bernoulli")} == {"auto"}
    kl = contrast(bridged, "objective.kl", "bernoulli")
    assert (kl.levels, kl.base["k"], kl.moved) == (("auto", "sampled"), 1, {"k": 5})


def test_the_base_is_auto_even_where_a_grid_lists_sampled_first(tmp_path):
    write(tmp_path / "s", {**SMALL, "objective.kl": ["sampled", "auto"]})
    study = load(tmp_path / "s")
    assert study.factors["objective.kl"] == ("sampled", "auto")
    assert usual_base(study)["objective.kl"] == "auto"


def test_the_estimator_of_each_trial_is_told_by_the_rule_of_training(bridged):
    found = kl_estimator(bridged.trials)
    for k, kl, expected in ((1, "auto", "closed form"), (5, "auto", "sampled"), (1, "sampled", "sampled")):
        chosen = (bridged.trials["k"] == k) & (bridged.trials["objective.kl"] == kl)
        assert set(found[chosen]) == {expected}
    assert kl_estimators(bridged.trials) == {"closed form", "sampled"}
    for k in (1, 5):
        for kl in ("auto", "sampled", "analytic"):
            for gradient in ("standard", "stl", "dreg"):
                one = settings_from({"k": k, "objective.kl": kl, "objective.gradient": gradient})
                assert is_closed_form(kl, k, gradient) == closed_form_kl(one)
