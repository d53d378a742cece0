"""Laws of activity: a variance that may be gathered in any parts."""

from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.workers import tiny
from workers.measure.activity import active_units, merge, moments

numbers = st.integers(0, 2**32 - 1)


@st.composite
def parts(draw):
    """Values [replica, row, unit] and a split of the rows."""
    n = draw(st.integers(1, 30))
    values = np.random.default_rng(draw(numbers)).standard_normal((draw(st.integers(1, 3)), n, draw(st.integers(1, 4))))
    values = values * draw(st.floats(1e-3, 1e3)) + draw(st.floats(-10, 10))
    cuts = sorted(draw(st.sets(st.integers(1, n - 1)))) if n > 1 else []
    return values, np.split(values, cuts, axis=1)


@tiny.LAWS
@given(parts())
def test_any_split_equals_one_pass(split):
    values, pieces = split
    # Many rows far from 0 lose digits in any algorithm: the law is about the split, so centre them.
    centre = values.mean((1, 2), keepdims=True)
    total = reduce(merge, [moments(torch.from_numpy(piece - centre)) for piece in pieces])
    assert total.n == values.shape[1]
    np.testing.assert_allclose(total.variance.numpy(), np.var(values - centre, axis=1), rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(total.mean.numpy(), np.mean(values - centre, axis=1), rtol=1e-9, atol=1e-12 * np.ptp(values))


@tiny.LAWS
@given(parts(), numbers)
def test_order_of_parts_is_of_no_account(split, seed):
    _, pieces = split
    measured = [moments(torch.from_numpy(piece)) for piece in pieces]
    shuffled = [measured[i] for i in np.random.default_rng(seed).permutation(len(measured))]
    a, b = reduce(merge, measured), reduce(merge, shuffled)
    assert a.n == b.n
    torch.testing.assert_close(a.variance, b.variance, rtol=1e-9, atol=1e-20)
    torch.testing.assert_close(a.mean, b.mean, rtol=1e-12, atol=1e-12)


@tiny.LAWS
@given(st.floats(-(2.0**100), 2.0**100, width=32), st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_a_constant_encoder_has_activity_0_exactly(value, sizes):
    total = reduce(merge, [moments(torch.full((n, 2), value)) for n in sizes])
    assert total.variance.eq(0).all()


@tiny.LAWS
@given(parts(), st.floats(-100, 100).filter(lambda c: abs(c) > 1e-3))
def test_scaling_by_c_scales_by_c_squared(split, c):
    values, _ = split
    values = torch.from_numpy(values)
    torch.testing.assert_close(moments(c * values).variance, c * c * moments(values).variance, rtol=1e-8, atol=1e-20)


def test_small_units_beside_a_large_mean_are_not_lost():
    """Sums of squares in float32 would give 0 or less here."""
    values = (torch.arange(1000).remainder(2) * 2**-10 + 1000).float()[:, None]
    total = reduce(merge, [moments(part) for part in values.split(7)])
    assert total.variance.item() == pytest.approx(2**-22, rel=1e-9)


def test_a_unit_at_the_threshold_is_not_active():
    activity = torch.tensor([[0.0, 0.1, 0.11], [0.2, 0.3, 0.09]], dtype=torch.float64)
    assert active_units(activity, 0.1).tolist() == [1, 2]
