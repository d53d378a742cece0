import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis import average, load
from analysis.averages.average import AverageError, summarise
from tests.analysis.planted import SMALL, flat_bound, write

FACTORS = {**SMALL, "decoder": ["bernoulli", "gaussian"], "warmup": [0, 2]}
HERE = {"decoder": "bernoulli", "warmup": 0}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("average") / "planted"
    write(root, FACTORS, bound=lambda s, e: flat_bound(s, e) + s["warmup"] * 3 - 100 * (s["decoder"] == "gaussian"))
    return load(root)


# --- laws ---------------------------------------------------------------------------------------------------------------

numbers = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8)


@given(numbers)
def test_interval_is_that_of_scipy(values):
    table = summarise(np.array(values)[:, None], dict.fromkeys(range(len(values)), ""), np.array([0]), 0.95)
    spread = stats.sem(values)
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), spread) if spread > 0 else (np.mean(values),) * 2
    assert table["mean"][0] == pytest.approx(np.mean(values), rel=1e-9, abs=1e-9)
    assert table["low"][0] == pytest.approx(low, rel=1e-6, abs=1e-6)
    assert table["high"][0] == pytest.approx(high, rel=1e-6, abs=1e-6)


@given(numbers, st.data())
def test_a_seed_without_a_value_is_named_and_changes_only_n(values, data):
    gone = data.draw(st.sets(st.integers(0, len(values) - 1), max_size=len(values)))
    kept = [value for place, value in enumerate(values) if place not in gone]
    holed = np.array([[np.nan if place in gone else value] for place, value in enumerate(values)])
    row = summarise(holed, dict.fromkeys(range(len(values)), "gone"), np.array([0]), 0.95).iloc[0]
    assert (row["n"], row["n_planned"]) == (len(kept), len(values))
    named = {
        int(word)
        for word in row["missing"].replace("seeds", "").replace("seed", "").replace("gone", "").replace(",", " ").split()
    }
    assert named == gone
    assert np.isnan(row["low"]) == (len(kept) < 2)
    if kept:
        assert row["mean"] == pytest.approx(np.mean(kept), rel=1e-9, abs=1e-9)


# --- planted ------------------------------------------------------------------------------------------------------------


def test_planted_means_come_back(study):
    table = average(study, "test_bound", ["k"], at=HERE)
    # Seeds 0, 1, 2 add 0, 1, 4; epoch 4 adds 0.04.
    assert table["k"].tolist() == [1, 5]
    assert table["mean"].tolist() == pytest.approx([-20 + 1 + 5 / 3 + 0.04, -20 + 5 + 5 / 3 + 0.04])
    assert table["epoch"].tolist() == [4, 4]
    assert table["n"].tolist() == table["n_planned"].tolist() == [3, 3]
    assert table["missing"].tolist() == ["", ""]
    low, high = stats.t.interval(0.95, 2, table["mean"][0], stats.sem([0, 1, 4]))
    assert (table["low"][0], table["high"][0]) == pytest.approx((low, high))


def test_curves_one_epoch_and_every_cell(study):
    curve = average(study, "test_bound", ["k"], at=HERE, epoch="every")
    assert curve["epoch"].tolist() == [0, 1, 2, 3, 4] * 2
    assert np.diff(curve["mean"][:5]) == pytest.approx([0.01] * 4)
    one = average(study, "test_bound", ["k"], at=HERE, epoch=2)
    pd.testing.assert_frame_equal(one, curve[curve["epoch"] == 2].reset_index(drop=True))
    cells = average(study, "test_bound")
    assert list(cells)[:3] == ["decoder", "k", "warmup"]
    assert len(cells) == 8


def test_nll_is_of_the_end_alone(study):
    table = average(study, "nll", ["k"], at=HERE)
    assert table["mean"][0] == pytest.approx(20 - 1 - 5 / 3 - 0.04 - 1)
    with pytest.raises(AverageError, match="measured only at the end of a trial"):
        average(study, "nll", ["k"], at=HERE, epoch="every")


def test_pooling_is_of_equally_weighted_cells_and_only_when_asked(study):
    with pytest.raises(AverageError, match=r'warmup varies: fix it with at=\{"warmup": 0\}.*pool_over=\["warmup"\]'):
        average(study, "test_bound", ["k"], at={"decoder": "bernoulli"})
    table = average(study, "test_bound", ["k"], at={"decoder": "bernoulli"}, pool_over=["warmup"])
    cells = average(study, "test_bound", ["k", "warmup"], at={"decoder": "bernoulli"})
    assert table["mean"].tolist() == pytest.approx(cells.groupby("k")["mean"].mean().tolist())
    assert table["n"].tolist() == [3, 3]


@pytest.mark.parametrize(
    "ask", [{"pool_over": ["decoder"]}, {"by": ["k", "warmup"]}, {"pool_over": ["decoder", "warmup"], "by": ["k"]}]
)
def test_decoders_are_never_pooled(study, ask):
    with pytest.raises(AverageError, match="decoder") as error:
        average(study, "test_bound", **ask)
    assert "pool_over=" not in str(error.value)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        ({"value": "test_bond"}, "did you mean test_bound"),
        ({"value": "activity"}, "is a vector; use study.activity"),
        ({"by": ["kk"]}, "did you mean k"),
        ({"by": ["seed"]}, "averages are over seeds"),
        ({"at": {"k": 7}}, "k has no level 7; it has 1, 5"),
        ({"at": {"colour": 1}}, "colour is not a factor"),
        ({"epoch": 5}, "the first epoch is 0, the last 4"),
        ({"by": ["k"], "pool_over": ["k"]}, "name it once"),
    ],
    ids=lambda x: str(x)[:30],
)
def test_what_does_not_exist_is_said_with_a_next_step(study, ask, words):
    with pytest.raises(AverageError, match=words):
        average(study, **{"value": "test_bound", **ask})


# --- what is missing ----------------------------------------------------------------------------------------------------


def test_removing_a_seed_changes_n_and_names_it(tmp_path):
    write(tmp_path / "s", done=lambda s: 2 if (s["k"], s["seed"]) == (5, 2) else 4)
    table = average(load(tmp_path / "s"), "test_bound", ["k"])
    assert table["n"].tolist() == [3, 2]
    assert table["missing"].tolist() == ["", "seed 2 unfinished (2 of 4 epochs)"]
    assert table["mean"][1] == pytest.approx(-20 + 5 + 0.5 + 0.04)
    early = average(load(tmp_path / "s"), "test_bound", ["k"], epoch=2)
    assert early["n"].tolist() == [3, 3]


def test_a_diverged_trial_is_named_from_where_it_stopped(tmp_path):
    write(tmp_path / "s", diverged={(1, 0): 1})
    curve = average(load(tmp_path / "s"), "test_bound", ["k"], at={"k": 1}, epoch="every")
    assert curve["n"].tolist() == [3, 3, 2, 2, 2]
    assert curve["missing"].tolist() == ["", ""] + ["seed 0 diverged after epoch 1"] * 3
    assert average(load(tmp_path / "s"), "nll", ["k"])["n"].tolist() == [2, 3]


def test_one_seed_has_no_interval_and_none_no_mean(tmp_path):
    write(tmp_path / "s", done=lambda s: 4 if s["seed"] == 0 and s["k"] == 1 else -1)
    table = average(load(tmp_path / "s"), "test_bound", ["k"])
    assert table["n"].tolist() == [1, 0]
    assert table[["low", "high"]].isna().all(axis=None)
    assert table["missing"].tolist() == ["seeds 1, 2 unfinished (0 of 4 epochs)", "seeds 0, 1, 2 unfinished (0 of 4 epochs)"]


def test_a_pooled_mean_drops_a_seed_that_lacks_a_cell(tmp_path):
    write(tmp_path / "s", done=lambda s: -1 if (s["k"], s["seed"]) == (5, 2) else 4)
    row = average(load(tmp_path / "s"), "test_bound", pool_over=["k"]).iloc[0]
    assert row["n"] == 2
    assert row["mean"] == pytest.approx(-20 + 3 + 0.5 + 0.04)
    assert row["missing"] == "seed 2 unfinished (0 of 4 epochs) at k=5"


def test_pooling_over_unequal_cells_is_refused(tmp_path):
    factors = {**SMALL, "warmup": [0, 2]}
    write(tmp_path / "s", factors, excluded=lambda s: s["k"] == 5 and s["warmup"] == 2)
    with pytest.raises(AverageError, match="warmup=2 is not planned in every row"):
        average(load(tmp_path / "s"), "test_bound", ["k"], pool_over=["warmup"])


def test_a_value_that_is_not_finite_is_not_averaged_in_silence(tmp_path):
    write(tmp_path / "s", bound=lambda s, e: float("nan") if s["seed"] == 1 else 1.0)
    row = average(load(tmp_path / "s"), "test_bound", ["k"]).iloc[0]
    assert (row["n"], row["mean"], row["missing"]) == (2, 1.0, "seed 1 no finite value")


# --- active units at any threshold, by layer ------------------------------------------------------------------------------


def test_active_units_at_any_threshold_are_counted_from_the_vectors(study):
    # One unit at 0.9, one at 0.5, one at 0.001.
    for threshold, count in ((0.0001, 3), (0.01, 2), (0.5, 1), (0.95, 0)):
        table = average(study, "active_units", ["k"], at=HERE, threshold=threshold)
        assert table["mean"].tolist() == [count, count]
    stored, counted = (
        average(study, "active_units", ["k"], at=HERE, epoch="every", **how) for how in ({}, {"threshold": 0.1})
    )
    pd.testing.assert_frame_equal(stored, counted)
    with pytest.raises(AverageError, match="threshold and layer apply to active_units only"):
        average(study, "test_bound", ["k"], at=HERE, threshold=0.1)


def test_active_units_by_layer(tmp_path):
    write(
        tmp_path / "s",
        settings={"model.layers_above": "10-z2"},
        activity=lambda s, e: np.array([0.9, 0.001, 0.5, 0.3, 0.002]),
    )
    deep = load(tmp_path / "s")
    assert [average(deep, "active_units", ["k"], layer=one)["mean"].tolist() for one in (1, 2)] == [[2, 2], [1, 1]]
    assert average(deep, "active_units", ["k"], layer=2, threshold=0.001)["mean"].tolist() == [2, 2]
    with pytest.raises(AverageError, match="trials of this study have 2"):
        average(deep, "active_units", ["k"], layer=3)


def test_a_value_of_your_own_is_averaged_like_any_other(study):
    mine = study.epochs["test_reconstruction"] - study.epochs["test_kl"]
    pd.testing.assert_frame_equal(average(study, mine, ["k"], at=HERE), average(study, "test_bound", ["k"], at=HERE))
    with pytest.raises(AverageError, match=r"must have the index of study\.epochs"):
        average(study, mine.reset_index(drop=True)[:3], ["k"], at=HERE)


def test_rows_on_different_seeds_are_flagged(tmp_path):
    write(tmp_path / "s", diverged={(1, 0): 1})
    curve = average(load(tmp_path / "s"), "test_bound", ["k"], epoch="every")
    assert curve.groupby("epoch")["is_balanced"].all().tolist() == [True, True, False, False, False]
    write(tmp_path / "t", {**SMALL, "seed": [0, 1]})
    write(tmp_path / "t", {**SMALL, "k": [5], "seed": [2]}, entry=2)
    table = average(load(tmp_path / "t"), "test_bound", ["k"])
    assert table["n"].tolist() == table["n_planned"].tolist() == [2, 3]
    assert not table["is_balanced"].any()
