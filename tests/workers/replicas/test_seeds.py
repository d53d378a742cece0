"""Laws of the random streams: functions of (seed, stream, step, part) and of nothing else."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.workers import tiny
from workers.contract.streams import Stream, generator
from workers.replicas.seeds import Seeds

seeds = st.integers(0, 2**63 - 1)
steps = st.integers(0, 2**40)
streams = st.sampled_from(Stream)


def draw(seed=3, stream=Stream.NOISE, step=5, part=0):
    return generator(seed, stream, step, part).standard_normal(8, dtype=np.float32).tolist()


@tiny.LAWS
@given(seeds, streams, steps, steps)
def test_the_same_draw_twice_is_equal(seed, stream, step, part):
    assert draw(seed, stream, step, part) == draw(seed, stream, step, part)


@tiny.LAWS
@given(st.sets(st.tuples(seeds, streams, steps, steps), min_size=2, max_size=8))
def test_no_two_draws_share_a_number(places):
    drawn = [generator(*place).bit_generator.random_raw(4).tolist() for place in places]
    assert len({word for words in drawn for word in words}) == 4 * len(drawn)


@pytest.mark.parametrize(
    "other",
    [{"seed": 4}, {"seed": 3 + 2**62}, {"stream": Stream.TEST_NOISE}, {"step": 6}, {"step": 5 + 2**33}, {"part": 1}],
    ids=str,
)
def test_another_place_gives_other_numbers(other):
    assert draw(**other) != draw()


def test_neighbouring_large_seeds_differ():
    """They would not, had a seed passed through a float."""
    assert draw(seed=2**63 - 1) != draw(seed=2**63 - 2)


def test_a_long_draw_of_a_step_does_not_run_into_the_next():
    long = generator(0, Stream.NOISE, 0).bit_generator.random_raw(100_000)
    for place in ({"step": 1}, {"step": 0, "part": 1}):
        beginning = generator(0, Stream.NOISE, **place).bit_generator.random_raw(4)
        assert not np.isin(beginning, long).any()


def test_global_seeds_change_nothing():
    several = Seeds([1, 2], tiny.CPU)
    results = []
    for global_seed in (0, 1):
        np.random.seed(global_seed)  # noqa: NPY002
        torch.manual_seed(global_seed)
        results.append((draw(), several.normal(Stream.NOISE, 1, (3,)), several.permutations(Stream.ORDER, 1, 9)))
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])
    assert torch.equal(results[0][2], results[1][2])


def test_drawing_leaves_global_generators_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    tiny.learner({"seed": 1}).train_epoch(1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002


def everything(seeds):
    return (
        seeds.normal(Stream.NOISE, 7, (2, 3), part=1),
        seeds.spread(seeds.uniform(Stream.BINARISATION, 7, (4,))),
        seeds.spread(seeds.permutations(Stream.ORDER, 7, 11)),
    )


@tiny.LAWS
@given(st.lists(seeds, min_size=1, max_size=6), st.data())
def test_draws_of_a_replica_depend_on_its_seed_alone(others, data):
    place = data.draw(st.integers(0, len(others) - 1))
    packed = everything(Seeds(others, tiny.CPU))
    alone = everything(Seeds([others[place]], tiny.CPU))
    assert all(torch.equal(p[place], a[0]) for p, a in zip(packed, alone, strict=True))


def test_equal_seeds_of_a_pack_share_their_draws():
    drawn = everything(Seeds([5, 3, 5], tiny.CPU))
    for numbers in drawn:
        assert torch.equal(numbers[0], numbers[2])
        assert not torch.equal(numbers[0], numbers[1])


def test_an_order_names_every_image_once():
    (order,) = Seeds([9], tiny.CPU).permutations(Stream.ORDER, 2, 50).tolist()
    assert sorted(order) == list(range(50))


def test_draws_have_their_distribution():
    normal = Seeds([0, 1], tiny.CPU).normal(Stream.NOISE, 1, (50_000,))
    uniform = Seeds([0, 1], tiny.CPU).uniform(Stream.BINARISATION, 1, (50_000,))
    # Five standard errors.
    assert normal.mean(1).abs().max() < 5 / 50_000**0.5
    assert (normal.var(1) - 1).abs().max() < 5 * (2 / 50_000) ** 0.5
    assert (uniform.mean(1) - 0.5).abs().max() < 5 / (12 * 50_000) ** 0.5
    assert np.corrcoef(normal.numpy())[0, 1] < 5 / 50_000**0.5
    assert uniform.min() >= 0
    assert uniform.max() < 1


def test_streams_keep_their_numbers():
    """A number, once used, keeps its meaning: another would give stored trials other draws when they are resumed."""
    assert {stream.name: stream.value for stream in Stream} == {
        "WEIGHTS": 0,
        "ORDER": 1,
        "BINARISATION": 2,
        "NOISE": 3,
        "TEST_NOISE": 4,
        "NLL_NOISE": 5,
        "STATISTICS_NOISE": 6,
        "EVALUATION_IMAGES": 7,
        "EVALUATION_BINARISATION": 8,
        "SUBSET": 9,
        "REDRAWN": 10,
        "MEASURED_NOISE": 11,
        "SECONDARY_NOISE": 12,
        "AGGREGATE_NOISE": 13,
    }


def test_raw_words_are_those_of_the_format():
    """numpy promises that a bit generator's words never change; pinned from `generator(1, Stream.NOISE, 2, 3)`."""
    assert generator(1, Stream.NOISE, 2, 3).bit_generator.random_raw(2).tolist() == [
        4939258184349522264,
        550335972668197227,
    ]
