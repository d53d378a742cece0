"""Laws of beta."""

import tiny
from hypothesis import given
from hypothesis import strategies as st

from workers.warmup import beta_at

warmups = st.integers(1, 10_000)
epochs = st.integers(0, 20_000)


@tiny.LAWS
@given(warmups)
def test_begins_at_0_and_reaches_1_an_epoch_after_the_warmup(warmup):
    assert beta_at(0, warmup) == beta_at(1, warmup) == 0
    assert beta_at(warmup, warmup) < 1
    assert beta_at(warmup + 1, warmup) == 1


@tiny.LAWS
@given(warmups, epochs)
def test_never_falls_and_stays_in_its_range(warmup, epoch):
    assert 0 <= beta_at(epoch, warmup) <= beta_at(epoch + 1, warmup) <= 1


@tiny.LAWS
@given(warmups, st.integers(1, 10_000))
def test_rises_by_equal_steps(warmup, epoch):
    if epoch <= warmup:
        assert abs(beta_at(epoch + 1, warmup) - beta_at(epoch, warmup) - 1 / warmup) < 1e-12


@tiny.LAWS
@given(epochs)
def test_without_warmup_beta_is_1(epoch):
    assert beta_at(epoch, 0) == 1
