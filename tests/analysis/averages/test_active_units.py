"""Active units at any threshold, and the gap that needs none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.averages.active_units import active_units, gap
from analysis.loading.load import load
from analysis.loading.study import LoadError
from tests.analysis.planted import SMALL, flat_activity, write

LAWS = settings(max_examples=50, deadline=None, derandomize=True, database=None)
activities = st.lists(st.floats(1e-6, 5), min_size=2, max_size=20)


@LAWS
@given(activities, st.randoms(use_true_random=False))
def test_the_gap_knows_no_order_and_no_scale(values, random):
    shuffled = random.sample(values, len(values))
    assert gap(shuffled) == gap(values)
    units, ratio = gap(np.array(values) * 4.0)
    assert units == gap(values)[0]
    assert ratio == pytest.approx(gap(values)[1])


@LAWS
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_a_planted_gap_comes_back(active, inactive, seed):
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.uniform(0.4, 1.2, active), rng.uniform(0.001, 0.004, inactive)])
    units, ratio = gap(rng.permutation(values))
    assert units == active
    assert ratio == pytest.approx(values[:active].min() / values[active:].max())
    assert ratio >= 100


def test_no_gap():
    assert gap([0.5, 0.5, 0.5])[1] == 1
    assert gap([0.3])[0] == 1
    assert np.isnan(gap([0.3])[1])
    # Two units that are off differ by rounding alone.
    assert gap([0.9, 1e-12, 1e-30]) == (1, 0.9 / 1e-8)


def test_counts_are_those_of_the_vectors(tmp_path):
    write(tmp_path / "s")
    found = active_units(load(tmp_path / "s"), thresholds=(0.0001, 0.1, 0.5, 0.8))
    assert len(found) == 6
    assert set(found["epoch"]) == {4}
    # One unit at 0.9, one at exactly 0.5 (not above itself), one at 0.001.
    assert found["above_0.0001"].eq(3).all()
    assert found["above_0.1"].eq(2).all()
    assert found["above_0.5"].eq(1).all()
    assert found["above_0.8"].eq(1).all()
    assert found["gap_units"].eq(2).all()
    np.testing.assert_allclose(found["gap_ratio"], 500, rtol=1e-5)


def test_any_epoch_and_any_vector(tmp_path):
    def rising(s, epoch):
        return flat_activity(s, epoch) * epoch

    write(tmp_path / "s", SMALL, activity=rising)
    study = load(tmp_path / "s")
    assert active_units(study, (0.7,), epoch=0)["above_0.7"].eq(0).all()
    assert active_units(study, (0.7,), epoch=1)["above_0.7"].eq(1).all()
    assert active_units(study, (0.7,), "activity_pca", epoch=2)["above_0.7"].eq(2).all()
    with pytest.raises(LoadError, match="not a vector column"):
        active_units(study, column="test_bound")
