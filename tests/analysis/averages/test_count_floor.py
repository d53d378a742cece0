"""Means of counts of units have the variance of rounding at least."""

import numpy as np
import pytest
from scipy import stats

from analysis import average, load
from analysis.averages.cell_table import cell_table
from analysis.averages.marginal_means import main_effects as marginal_means
from analysis.averages.pruning import pruning
from tests.analysis.planted import SMALL, write

HALF = float(stats.t.ppf(0.975, 2)) * np.sqrt(1 / 12 / 3)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Every trial has two active units at every epoch."""
    root = tmp_path_factory.mktemp("floor") / "s"
    write(root, {**SMALL, "warmup": [0, 2]})
    return load(root)


def half(table):
    return ((table["high"] - table["low"]) / 2).tolist()


@pytest.mark.parametrize("how", [{}, {"threshold": 0.01}, {"layer": 1}, {"epoch": "every"}], ids=str)
def test_counts_that_agree_are_as_sure_as_rounding_lets_them_be(study, how):
    table = average(study, "active_units", at={"k": 1, "warmup": 0}, **how)
    assert half(table) == pytest.approx([HALF] * len(table))


def test_pooled_counts_have_the_floor_of_a_mean_of_cells(study):
    table = average(study, "active_units", [], pool_over=["k", "warmup"])
    assert half(table) == pytest.approx([HALF / 2])
    means = marginal_means(study, "bernoulli", "active_units")
    assert half(means) == pytest.approx([HALF / np.sqrt(2)] * 4)


def test_tables_and_counts_of_switches_have_it_too(study):
    assert cell_table(study, "bernoulli")["active_units_half_width"].tolist() == pytest.approx([HALF] * 4)
    table = pruning(study, [("K = 1", {"k": 1, "warmup": 0})], "switched_off")
    assert half(table) == pytest.approx([HALF] * 5)


def test_what_is_no_count_has_no_floor(tmp_path):
    write(tmp_path / "s", bound=lambda s, e: 1.0)
    assert half(average(load(tmp_path / "s"), "test_bound", ["k"])) == [0, 0]


def test_counts_that_vary_more_are_left_alone(tmp_path):
    write(tmp_path / "s", {**SMALL, "n_z": [9]}, activity=lambda s, e: np.where(np.arange(9) < 3 * s["seed"], 0.9, 0.0))
    table = average(load(tmp_path / "s"), "active_units", ["k"])
    low, high = stats.t.interval(0.95, 2, 3, stats.sem([0, 3, 6]))
    assert table[["low", "high"]].to_numpy() == pytest.approx(np.array([[low, high]] * 2))
