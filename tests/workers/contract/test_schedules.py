"""Laws of beta."""

from hypothesis import given
from hypothesis import strategies as st

from tests.workers import tiny
from workers.contract.schedules import beta_at
from workers.contract.settings import ObjectiveSettings

warmups = st.integers(1, 10_000)
epochs = st.integers(0, 20_000)
PLAIN = ObjectiveSettings()
cyclical = st.builds(
    lambda cycles, share: ObjectiveSettings(warmup_cycles=cycles, warmup_share=share),
    st.integers(2, 6),
    st.sampled_from([0.25, 0.5, 1.0]),
)


@tiny.LAWS
@given(warmups)
def test_begins_at_0_and_reaches_1_after_the_warmup(warmup):
    assert beta_at(0, warmup, PLAIN) == 0
    assert beta_at(warmup - 1, warmup, PLAIN) < 1
    assert beta_at(warmup, warmup, PLAIN) == 1


@tiny.LAWS
@given(warmups, epochs)
def test_never_falls_and_stays_in_its_range(warmup, epoch):
    assert 0 <= beta_at(epoch, warmup, PLAIN) <= beta_at(epoch + 1, warmup, PLAIN) <= 1


@tiny.LAWS
@given(warmups, st.integers(1, 10_000))
def test_rises_by_equal_steps(warmup, epoch):
    if epoch <= warmup:
        assert abs(beta_at(epoch, warmup, PLAIN) - beta_at(epoch - 1, warmup, PLAIN) - 1 / warmup) < 1e-12


@tiny.LAWS
@given(epochs)
def test_without_warmup_beta_is_1(epoch):
    assert beta_at(epoch, 0, PLAIN) == 1


@tiny.LAWS
@given(warmups, epochs, st.floats(0, 10), cyclical)
def test_is_a_multiple_of_its_end(warmup, epoch, end, objective):
    scaled = objective.model_copy(update={"beta": end})
    assert beta_at(epoch, warmup, scaled) == end * beta_at(epoch, warmup, objective)
    assert beta_at(epoch, 0, scaled) == end


@tiny.LAWS
@given(st.integers(1, 100), cyclical)
def test_a_cycle_repeats_itself_so_often_and_then_stays(warmup, objective):
    """Fu et al. 2019: M cycles; in each beta rises for a share R and then stays."""
    cycle = warmup / objective.warmup_share
    for number in range(objective.warmup_cycles):
        start = number * cycle
        assert beta_at(start, warmup, objective) == 0
        assert abs(beta_at(start + warmup / 2, warmup, objective) - 0.5) < 1e-9
        if objective.warmup_share < 1:
            assert beta_at(start + (warmup + cycle) / 2, warmup, objective) == 1
    end = objective.warmup_cycles * cycle
    assert beta_at(end, warmup, objective) == beta_at(end + warmup / 2, warmup, objective) == 1


@tiny.LAWS
@given(warmups, epochs, st.sampled_from([0.25, 0.5, 1.0]))
def test_one_cycle_is_the_plain_warmup(warmup, epoch, share):
    one = ObjectiveSettings(warmup_cycles=1, warmup_share=share)
    assert beta_at(epoch, warmup, one) == beta_at(epoch, warmup, PLAIN)
