import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analysis import load
from analysis.averages.one_factor import contrast, contrasts, curves, usual_base
from analysis.figures import curves as figures
from analysis.figures.curve_names import spread
from tests.analysis.planted import BASELINE, SMALL, write

FULL = {
    "decoder": ["bernoulli", "gaussian"],
    "k": [1, 5],
    "batch_norm": [False, True],
    "warmup": [0, 2],
    "n_z": [2, 3],
    "seed": [0, 1, 2],
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("figures") / "full"
    write(root, FULL)
    return load(root)


@pytest.fixture
def axes():
    return Figure().add_subplot()


# --- base cells ---------------------------------------------------------------------------------------------------------


def test_base_cells_are_those_of_the_paper(study):
    assert usual_base(study, "decoder") == {"k": 1, "batch_norm": False, "warmup": 0, "n_z": 3}
    assert usual_base(study, "k") == {"decoder": "bernoulli", "batch_norm": False, "warmup": 0, "n_z": 3}
    assert usual_base(study, "n_z", "gaussian") == {"decoder": "gaussian", "k": 5, "batch_norm": False, "warmup": 0}
    assert [one.factor for one in contrasts(study, "bernoulli")] == ["k", "batch_norm", "warmup", "n_z"]
    assert [one.factor for one in contrasts(study)] == ["decoder"]
    assert "Bernoulli decoder, K = 5, no batch norm, no warm-up" in contrast(study, "n_z").base_in_words


def test_n_z_50_is_the_base_where_it_is_a_level(tmp_path):
    write(tmp_path / "s", {**SMALL, "n_z": [2, 50, 60]}, epochs=1, borders=1)
    assert usual_base(load(tmp_path / "s"), "k")["n_z"] == 50


def test_an_excluded_base_cell_is_replaced_by_the_nearest_and_that_is_said(tmp_path):
    write(
        tmp_path / "s",
        {**SMALL, "warmup": [0, 2], "n_z": [2, 3]},
        excluded=lambda s: (s["k"], s["n_z"], s["warmup"]) == (5, 3, 2),
    )
    one = contrast(load(tmp_path / "s"), "warmup", "bernoulli")
    # One factor moved is the nearest: K comes first among equals, in the order of the study's levels.
    assert dict(one.base) == {"decoder": "bernoulli", "k": 1, "batch_norm": False, "n_z": 3}
    assert one.levels == (0, 2)
    assert "no such cells at K = 5" in one.base_in_words


# --- curves -------------------------------------------------------------------------------------------------------------


def test_lines_and_bands_are_the_table(study, axes):
    table = curves(study, contrast(study, "k"), "test_bound")
    assert figures.bound_curves(table, axes) is axes
    lines = {line.get_label(): line for line in axes.lines if line.get_label().startswith("K")}
    assert list(lines) == ["K = 1", "K = 5"]
    for label, line in lines.items():
        rows = table[table["label"] == label]
        np.testing.assert_allclose(line.get_xydata(), rows[["epoch", "mean"]].to_numpy(float))
    bands = [np.concatenate([path.vertices for path in band.get_paths()]) for band in axes.collections]
    for band, (_, rows) in zip(bands, table.groupby("k"), strict=True):
        assert band[:, 1].min() == pytest.approx(rows["low"].min())
        assert band[:, 1].max() == pytest.approx(rows["high"].max())
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "test bound (nats per example)")


def test_curves_differ_in_colour_and_in_line_and_are_named_at_their_ends(study, axes):
    figures.bound_curves(curves(study, contrast(study, "n_z"), "test_bound"), axes)
    lines = [line for line in axes.lines if line.get_label().startswith("n_z")]
    assert len({to_hex(line.get_color()) for line in lines}) == 2
    assert len({str(line._unscaled_dash_pattern) for line in lines}) == 2
    names = {text.get_text(): text.get_color() for text in axes.texts if "n_z" in text.get_text()}
    assert names == {f"${'n_z'}$ = {n}": line.get_color() for n, line in zip((2, 3), lines, strict=True)}


def test_the_baseline_of_each_decoder_comes_with_its_curve(study):
    table = curves(study, contrast(study, "decoder"), "test_bound")
    assert dict(zip(table["decoder"], table["baseline"], strict=True)) == BASELINE


@pytest.mark.parametrize(
    ("baseline", "drawn", "said"),
    [
        (-19.0, [-19.0], []),
        (-20.5, [-20.5], []),
        (-90.0, [], ["\u2193 below the axis: independent pixels at \u221290"]),
        (np.nan, [], []),
    ],
    ids=["above", "near", "far below", "unknown"],
)
def test_the_baseline_is_drawn_and_named_or_said_to_lie_below(axes, baseline, drawn, said):
    table = _table(np.arange(11), -20.0 + np.arange(11) / 11).assign(baseline=baseline)
    figures.bound_curves(table, axes)
    assert [line.get_ydata()[0] for line in axes.lines if line.get_gid() == "baseline"] == drawn
    assert [text.get_text() for text in axes.texts if text.get_gid() == "below"] == said
    assert ("independent pixels" in [text.get_text() for text in axes.texts]) == bool(drawn)


def test_first_epochs_far_below_are_cut_and_that_is_said(axes):
    epochs = np.arange(61)
    mean = -20 - 500 * np.exp(-epochs)
    figures.bound_curves(_table(epochs, mean), axes)
    assert -60 < axes.get_ylim()[0] < -20 < axes.get_ylim()[1]
    assert any(text.get_text() == "\u2193 below the axis: epochs 0 to 5, from \u2212520" for text in axes.texts)


def test_a_change_of_n_is_visible(axes):
    table = _table(np.arange(4), np.ones(4)).assign(n=[3, 3, 2, 2])
    figures.active_unit_curves(table, axes)
    (mark,) = [line for line in axes.lines if line.get_marker() == "o"]
    assert list(mark.get_xdata()) == [2]
    assert "n = 2" in [text.get_text() for text in axes.texts]
    assert axes.get_ylabel() == "active units (activity > 0.1)"
    assert -0.1 < axes.get_ylim()[0] < 0, "a curve at 0 is visible above the frame"


def test_epochs_without_any_seed_are_not_drawn(axes):
    table = _table(np.arange(4), np.array([1, 2, np.nan, np.nan])).assign(n=[2, 2, 0, 0])
    figures.active_unit_curves(table, axes)
    assert len(next(line for line in axes.lines if line.get_label() == "a").get_xdata()) == 2


def test_labels_of_curves_that_end_together_do_not_overlap():
    places = spread([0.5, 0.5, 0.5, 0.9])
    assert np.diff(sorted(places)).min() >= 0.075 - 1e-6
    assert spread([0.2, 0.8]) == [0.2, 0.8]


def _table(epochs, mean):
    return pd.DataFrame(
        {
            "label": "a",
            "epoch": epochs,
            "mean": mean,
            "low": mean - 0.1,
            "high": mean + 0.1,
            "n": 3,
            "n_planned": 3,
            "missing": "",
        }
    ).assign(baseline=np.nan, threshold=0.1)
