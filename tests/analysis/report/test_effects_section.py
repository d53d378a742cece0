"""The section on effects: its tables are those of the package, as one Holm family each, and it says what they rest on."""

import numpy as np
import pandas as pd
import pytest

from analysis.effects.simple import simple_effects
from analysis.loading.load import load
from analysis.report.completeness import state_in_words
from analysis.report.computed import Computed
from analysis.report.descriptive import cells_section, study_section
from analysis.report.effects import effects_section
from tests.analysis.planted import SMALL, flat_bound, write
from tests.analysis.report.sections import FACTORIAL, table


@pytest.fixture
def root(tmp_path):
    return tmp_path / "planted"


def test_effects_are_those_of_the_package(root):
    write(root, FACTORIAL)
    study = load(root)
    section = effects_section(Computed(study))
    simple = table(section, "effects-nll-bernoulli").frame
    assert list(simple["factor"]) == ["k", "batch_norm", "warmup"]
    base = {"decoder": "bernoulli", "batch_norm": False, "warmup": 0, "n_z": 3}
    expected = simple_effects(study, "nll", "k", at=base).iloc[0]
    row = simple[simple["factor"] == "k"].iloc[0]
    # nll is -20 + k and more, turned round: K = 5 lies 4 below.
    assert row["estimate"] == pytest.approx(-4)
    assert (row["estimate"], row["low"], row["n"]) == (expected["estimate"], expected["low"], expected["n"])
    main_effects = table(section, "main-nll-bernoulli").frame.set_index("factor")["estimate"]
    assert main_effects["batch_norm"] == pytest.approx(-10)
    assert main_effects["warmup"] == pytest.approx(0, abs=1e-12)
    assert table(section, "shares-nll-bernoulli").frame["share"].sum() == pytest.approx(1)


def test_a_missing_seed_and_a_diverged_trial_are_named_beside_the_effects(root):
    write(root, SMALL, diverged={(5, 1): 2})
    section = effects_section(Computed(load(root)))
    shown = table(section, "effects-nll-bernoulli").texts.iloc[0]
    assert shown["n"] == "2 of 3"
    assert "seed 1 diverged after epoch 2 at k=5" in shown["remarks"]
    assert "k=5: 1 of 3" in shown["remarks"]


def test_an_unbalanced_factorial_has_simple_effects_and_says_why_no_more(root):
    write(root, FACTORIAL, excluded=lambda s: s["k"] == 5 and s["batch_norm"])
    section = effects_section(Computed(load(root)))
    names = [one.name for one in section.tables]
    assert "effects-nll-bernoulli" in names
    assert not any(name.startswith("main-") for name in names)
    assert "Some main effects are not shown. Bernoulli decoder: " in section.words


def holm_by_hand(p):
    """The largest of the earlier (m - rank) p, in ascending order, at most 1."""
    order = np.argsort(p, kind="stable")
    adjusted = np.minimum(np.maximum.accumulate([(len(p) - place) * p[one] for place, one in enumerate(order)]), 1)
    return [float(adjusted[list(order).index(place)]) for place in range(len(p))]


def test_a_table_of_simple_effects_is_one_family_and_says_so(root):
    def noisy(s, epoch):
        noise = np.random.default_rng([s["seed"], s["k"], s["batch_norm"], s["warmup"], s["n_z"]]).normal(0, 0.3)
        return flat_bound({**s, "seed": 0}, epoch) + noise + 0.5 * (s["warmup"] > 0) - 3 * (s["n_z"] > 2)

    write(root, {**FACTORIAL, "n_z": [2, 10, 50]}, bound=noisy)
    found = table(effects_section(Computed(load(root))), "effects-nll-bernoulli")
    assert len(found.frame) == 5
    assert found.frame["p_holm"].tolist() == pytest.approx(holm_by_hand(found.frame["p"].tolist()))
    assert "p (Holm, 5 rows)" in found.texts
    assert "Holm over the 5 rows of this table" in found.words
    assert found.texts["test"].tolist() == ["Welch t", "paired t", "paired t", "Welch t", "Welch t"]


def test_the_levels_of_interactions_are_labelled(root):
    write(root, FACTORIAL)
    shown = table(effects_section(Computed(load(root))), "interaction-effects-nll-bernoulli").texts
    assert shown["level"][0] == "K = 5 \u00d7 batch norm"
    assert shown["against"][0] == "K = 1 \u00d7 no batch norm"


def test_interactions_are_left_out_where_one_factor_varies(root):
    write(root, SMALL)
    section = effects_section(Computed(load(root)))
    assert {one.name for one in section.tables} == {
        *("effects-nll-bernoulli", "main-nll-bernoulli", "shares-nll-bernoulli"),
        *("effects-active-units-bernoulli", "main-active-units-bernoulli", "shares-active-units-bernoulli", "icc"),
    }
    assert "order" not in section.words
    assert "not shown" not in section.words


def test_a_bridge_cell_does_not_spoil_the_factorial_and_gives_the_row_that_compares_like_with_like(root):
    write(root, FACTORIAL)
    whole = table(effects_section(Computed(load(root))), "main-nll-bernoulli").frame
    one = {**SMALL, "k": [1], "n_z": [3]}
    write(root, one, settings={"objective.kl": "sampled"}, bound=lambda s, e: flat_bound(s, e) + 3, entry=2)
    section = effects_section(Computed(load(root)))
    simple = table(section, "effects-nll-bernoulli")
    shown = simple.texts.set_index("factor")
    # nll falls by 4 from K = 1 to K = 5, of which 3 come from the estimator.
    assert simple.frame["estimate"].tolist() == pytest.approx([-4, -1, -10, 0, -3])
    assert "the difference is not of K alone" in shown.loc["importance samples K", "remarks"]
    assert shown.loc["importance samples K (both sampled)", "remarks"] == ""
    assert shown.loc["objective.kl", ["level", "against"]].tolist() == ["sampled", "auto"]
    assert shown.loc["objective.kl", "remarks"] == "at K = 1, as the study has no such cells at K = 5"
    main = table(section, "main-nll-bernoulli")
    pd.testing.assert_frame_equal(main.frame.drop(columns="remark"), whole.drop(columns="remark"))
    assert "objective.kl = auto" in main.title
    assert "crossed cells at objective.kl = auto" in main.words


def test_cells_of_different_length_are_not_compared_in_silence(root):
    """K = 1 gains 1 nat per epoch for 30 epochs, K = 5 for 3: at the same epoch they are equal."""
    write(root, {**SMALL, "k": [1], "warmup": [0, 2]}, epochs=30, bound=lambda s, e: e - 50.0 + s["seed"] / 9)
    write(root, {**SMALL, "k": [5], "warmup": [0, 2]}, epochs=3, bound=lambda s, e: e - 50.0 + s["seed"] / 9, entry=2)
    study = load(root)
    for words in (state_in_words(study), effects_section(Computed(study)).words):
        assert "k=1 to epoch 30, k=5 to epoch 3" in words
    assert "planned for 3 to 30 epochs" in study_section(Computed(study)).words
    cells = table(cells_section(Computed(study)), "cells-bernoulli").texts
    assert cells["epoch"].tolist() == ["30", "30", "3", "3"]
    section = effects_section(Computed(study))
    nll = table(section, "effects-nll-bernoulli").frame
    assert nll["factor"].tolist() == ["warmup"]
    assert "nll by importance samples K: nll is measured only at the end of a trial" in section.words
    assert "--set training.epochs=30" in section.words
    units = table(section, "effects-active-units-bernoulli").texts
    assert units["epoch"].tolist() == ["3", "3"]
    assert not [one for one in section.tables if one.name == "main-nll-bernoulli"]
    # The negative control: where lengths are equal, nothing is said of them.
    write(root.parent / "even", {**SMALL, "warmup": [0, 2]})
    even = load(root.parent / "even")
    assert "length" not in state_in_words(even) + effects_section(Computed(even)).words
    assert "epoch" not in table(cells_section(Computed(even)), "cells-bernoulli").texts


def test_a_cell_whose_seeds_differ_in_length_has_no_mean_and_says_why(root):
    write(root, {**SMALL, "seed": [0, 1]}, epochs=4)
    write(root, {**SMALL, "k": [5], "seed": [2]}, epochs=6, entry=2)
    shown = table(cells_section(Computed(load(root))), "cells-bernoulli").texts
    assert shown["n"].tolist() == ["2 of 2", "0 of 3"]
    assert "seeds are planned to different epochs: seed=0 or 1 to epoch 4, seed=2 to epoch 6" in shown["missing"][1]


def test_the_words_say_what_intervals_are_over(root):
    write(root, SMALL)
    study = load(root)
    assert "over seeds alone" in effects_section(Computed(study)).words
    assert "over seeds alone" in cells_section(Computed(study)).words
