"""Cells of different length: every mean names its epoch, and none mixes lengths."""

import numpy as np
import pandas as pd
import pytest

from analysis import average, load
from analysis.averages.average import AverageError
from analysis.averages.cell_table import cell_table
from analysis.averages.lengths import lengths_in_words
from analysis.averages.marginal_means import main_effects as marginal_means
from analysis.averages.ranked_units import ranked
from tests.analysis.planted import SMALL, write

LONG, SHORT = 8, 3


def climbing(s, epoch):
    return epoch - 50.0 + s["seed"] / 10


def shrinking(s, epoch):
    return np.full(s["n_z"], 0.9 - 0.1 * epoch)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """K = 1 is planned to epoch 8, K = 5 to epoch 3; both have the same curves."""
    root = tmp_path_factory.mktemp("lengths") / "s"
    write(root, {**SMALL, "k": [1]}, epochs=LONG, bound=climbing, activity=shrinking)
    write(root, {**SMALL, "k": [5]}, epochs=SHORT, bound=climbing, activity=shrinking, entry=2)
    return load(root)


@pytest.fixture(scope="module")
def ragged(tmp_path_factory):
    """One cell, whose seed 2 is planned to epoch 8 and the others to epoch 3."""
    root = tmp_path_factory.mktemp("ragged") / "s"
    write(root, {**SMALL, "k": [1], "seed": [0, 1]}, epochs=SHORT, bound=climbing)
    write(root, {**SMALL, "k": [1], "seed": [2]}, epochs=LONG, bound=climbing, entry=2)
    return load(root)


def test_each_row_names_its_own_last_epoch(study):
    table = average(study, "test_bound", ["k"])
    assert table["epoch"].tolist() == [LONG, SHORT]
    assert table["mean"].tolist() == pytest.approx([LONG - 49.9, SHORT - 49.9])
    assert table["missing"].tolist() == ["", ""]
    assert average(study, "nll", ["k"])["epoch"].tolist() == [LONG, SHORT]


def test_beyond_its_end_a_cell_is_missing_for_that_reason(study):
    curve = average(study, "test_bound", ["k"], epoch="every").set_index(["k", "epoch"])
    assert curve.loc[5, "n"].tolist() == [3] * (SHORT + 1) + [0] * (LONG - SHORT)
    assert curve.loc[(5, SHORT), "missing"] == ""
    assert curve.loc[(5, SHORT + 1), "missing"] == "seeds 0, 1, 2 planned to epoch 3"
    assert set(curve.loc[1, "missing"]) == {""}
    assert average(study, "test_bound", ["k"], epoch=5)["missing"].tolist() == ["", "seeds 0, 1, 2 planned to epoch 3"]


def test_a_trial_that_did_not_reach_its_end_keeps_its_own_reason(tmp_path):
    write(tmp_path / "s", {**SMALL, "k": [1]}, epochs=LONG)
    write(tmp_path / "s", {**SMALL, "k": [5]}, epochs=SHORT, entry=2, diverged={(5, 1): 2})
    row = average(load(tmp_path / "s"), "test_bound", ["k"], epoch=5).set_index("k").loc[5]
    assert row["missing"] == "seeds 0, 2 planned to epoch 3; seed 1 diverged after epoch 2"


def test_a_row_that_mixes_lengths_is_refused_with_the_lengths_and_the_remedy(study, ragged):
    for value in ("test_bound", "nll"):
        with pytest.raises(AverageError, match=r"k=1 to epoch 8, k=5 to epoch 3.*--set training\.epochs=8"):
            average(study, value, [], pool_over=["k"])
        with pytest.raises(AverageError, match=r"seed=0 or 1 to epoch 3, seed=2 to epoch 8"):
            average(ragged, value, ["k"])
    # At one epoch all of them can be averaged.
    assert average(study, "test_bound", [], pool_over=["k"], epoch=SHORT)["n"].tolist() == [3]
    assert average(ragged, "test_bound", [], epoch=SHORT)["n"].tolist() == [3]
    curve = average(ragged, "test_bound", [], epoch="every").set_index("epoch")
    assert curve.loc[4, ["n", "missing"]].tolist() == [1, "seeds 0, 1 planned to epoch 3"]


def test_lengths_that_no_factor_tells_apart_are_counted(ragged):
    trials = ragged.trials.assign(seed=0)
    assert lengths_in_words(ragged, trials) == "2 trials to epoch 3, 1 trial to epoch 8"


def test_the_table_of_cells_has_the_epoch_of_each(study):
    table = cell_table(study, "bernoulli")
    assert table["epoch"].tolist() == [LONG, SHORT]
    assert table["verdict"].tolist() == ["below", "below"]


def test_ranked_units_are_those_of_one_epoch(study):
    table = ranked(study, [("K = 1", {"k": 1}), ("K = 5", {"k": 5})])
    assert table["epoch"].unique().tolist() == [SHORT]
    assert table["mean"].tolist() == pytest.approx([0.6] * 6)


def test_marginal_means_of_different_epochs_are_refused(study):
    with pytest.raises(AverageError, match="marginal means of active_units compare cells at one epoch"):
        marginal_means(study, "bernoulli", "active_units")


def test_equal_lengths_change_nothing(tmp_path):
    write(tmp_path / "s", bound=climbing)
    study = load(tmp_path / "s")
    last, fourth = (average(study, "test_bound", ["k"], epoch=epoch) for epoch in ("last", 4))
    pd.testing.assert_frame_equal(last, fourth)
