"""Ranked units, switching with hysteresis, marginal means: laws and planted truth, and the numbers in the artists."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from analysis import load
from analysis.averages.average import AverageError
from analysis.averages.marginal_means import interactions, main_effects
from analysis.averages.pruning import pruning, switches
from analysis.averages.ranked_units import ranked
from analysis.figures import curves as figures
from analysis.figures import effects, units
from tests.analysis.planted import SMALL, write

LAWS = settings(max_examples=60, deadline=None, derandomize=True, database=None)
histories = st.integers(1, 5).flatmap(
    lambda units: st.lists(st.lists(st.floats(0, 1), min_size=units, max_size=units), min_size=1, max_size=12)
)


@LAWS
@given(histories)
def test_switching_is_what_a_unit_by_unit_count_gives(history):
    activity = np.array(history)
    found = switches(activity)
    on, off, back = np.zeros(len(activity), int), np.zeros(len(activity), int), np.zeros(len(activity), int)
    for unit in activity.T:
        state = was_on = False
        for epoch, value in enumerate(unit):
            if value > 0.1 and not state:
                back[epoch:] += was_on
                state = was_on = True
            elif value < 0.01 and state:
                off[epoch:] += 1
                state = False
            on[epoch] += state
    assert found["on"].tolist() == on.tolist()
    assert found["switched_off"].tolist() == off.tolist()
    assert found["came_back"].tolist() == back.tolist()
    assert (found["came_back"] <= found["switched_off"]).all()


def test_between_the_thresholds_nothing_happens():
    history = np.array([[0.0], [0.05], [0.2], [0.05], [0.02], [0.005], [0.05], [0.15]])
    found = switches(history)
    assert found["on"].tolist() == [0, 0, 1, 1, 1, 0, 0, 1]
    assert found["switched_off"].tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
    assert found["came_back"].tolist() == [0, 0, 0, 0, 0, 0, 0, 1]


def blinking(s, epoch):
    """Unit 0 is on in even epochs alone; unit 1 dies after epoch 1 in seed 0 and never otherwise; unit 2 is never on."""
    return np.array([0.9 if epoch % 2 == 0 else 0.001, 0.001 if s["seed"] == 0 and epoch > 1 else 0.5, 0.05])


def test_planted_switches_come_back(tmp_path):
    write(tmp_path / "s", {**SMALL, "k": [1]}, activity=blinking)
    study = load(tmp_path / "s")
    off = pruning(study, [("one", {"k": 1})], "switched_off")
    assert off["mean"].tolist() == pytest.approx([0, 1, 1 + 1 / 3, 2 + 1 / 3, 2 + 1 / 3])
    back = pruning(study, [("one", {"k": 1})], "came_back")
    assert back["mean"].tolist() == [0, 0, 1, 1, 2]
    assert set(back["n"]) == {3}
    axes = figures.reactivated_curves(back, Figure().add_subplot())
    line = next(line for line in axes.lines if line.get_label() == "one")
    assert list(line.get_ydata()) == [0, 0, 1, 1, 2]


def test_ranked_units_are_sorted_within_each_seed_and_averaged_as_logarithms(tmp_path):
    write(tmp_path / "s", activity=lambda s, e: np.roll([0.4 * (1 + (s["seed"] == 1)), 0.001, 0.02], s["seed"]))
    study = load(tmp_path / "s")
    table = ranked(study, [("a", {"k": 1}), ("b", {"k": 5})])
    assert table["rank"].tolist() == [1, 2, 3] * 2
    assert table["mean"][:3].tolist() == pytest.approx([0.4 * 2 ** (1 / 3), 0.02, 0.001], rel=1e-5)
    assert table["low"][0] < table["mean"][0] < table["high"][0]
    kl = ranked(study, [("a", {"k": 1})], "kl_per_unit")
    assert kl["mean"].tolist() == pytest.approx([0.4 * 4 / 3, 0.02, 0.001], rel=1e-5)
    with pytest.raises(AverageError, match="takes single cells"):
        ranked(study, [("both", {})])
    axes = units.activity_spectrum(table, Figure().add_subplot(), thresholds=(0.01, 0.1))
    drawn = [line for line in axes.lines if line.get_label() in ("a", "b")]
    np.testing.assert_allclose(drawn[0].get_ydata(), table["mean"][:3])
    assert [line.get_ydata()[0] for line in axes.lines if line.get_gid() == "threshold"] == [0.01, 0.1]
    assert axes.get_yscale() == "log"


FACTORS = {**SMALL, "decoder": ["bernoulli", "gaussian"], "batch_norm": [False, True], "warmup": [0, 2]}


@pytest.fixture(scope="module")
def factorial(tmp_path_factory):
    root = tmp_path_factory.mktemp("marginal") / "s"
    # nll = -bound - 1: K adds 4 from 1 to 5, batch norm 10, both together 2 more.
    write(root, FACTORS, bound=lambda s, e: s["k"] + 10 * s["batch_norm"] + 2 * (s["k"] == 5 and s["batch_norm"]) - 50.0)
    return load(root)


def test_planted_main_effects_come_back(factorial):
    table = main_effects(factorial, "bernoulli", "nll")
    means = dict(zip(zip(table["factor"], map(str, table["level"]), strict=True), table["mean"], strict=True))
    assert means["k", "1"] - means["k", "5"] == pytest.approx(4 + 1)
    assert means["batch_norm", "False"] - means["batch_norm", "True"] == pytest.approx(10 + 1)
    assert means["warmup", "0"] == pytest.approx(means["warmup", "2"])
    axes = effects.main_effects(table, Figure().add_subplot())
    heights = np.concatenate([line.get_ydata() for line in axes.lines if line.get_gid() == "effect"])
    assert heights.tolist() == pytest.approx(table["mean"].tolist())


def test_planted_interactions_come_back_and_others_are_parallel(factorial):
    found = dict(interactions(factorial, "bernoulli", "nll"))
    assert len(found) == 3

    def difference_of_differences(table):
        wide = table.pivot(index="level", columns="x_level", values="mean").to_numpy()
        return wide[0, 0] - wide[0, 1] - wide[1, 0] + wide[1, 1]

    sizes = {title: abs(difference_of_differences(table)) for title, table in found.items()}
    assert sizes.pop("importance samples K by batch normalisation") == pytest.approx(2)
    assert list(sizes.values()) == pytest.approx([0, 0], abs=1e-9)
    table = found["importance samples K by batch normalisation"]
    axes = effects.interaction(table, Figure().add_subplot())
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines if str(line.get_label()).startswith("K")}
    assert drawn == {label: rows["mean"].tolist() for label, rows in table.groupby("label")}
