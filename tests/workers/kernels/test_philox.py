"""Philox4x32-10 against Random123's vectors and a second program in plain integers; the laws of the draws."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.workers import tiny
from workers.contract.streams import Stream
from workers.kernels.philox_reference import box_muller, circle, logarithm, normals, philox4x32, uniform, uniforms
from workers.replicas.seeds import COUNTER, NUMPY, Seeds, generator_of

# Random123's kat_vectors, philox4x32 10: counter, key, words.
KNOWN = {
    "zeros": ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    "ones": ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    "pi": (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
}

words = st.integers(0, 2**32 - 1)
seeds = st.integers(0, 2**63 - 1)
steps = st.integers(0, 2**48 - 1)


def plain(counter, key):
    """The same in Python's integers, from the paper's figures: ten rounds, the key moved between them."""
    (a, b, c, d), (k, m) = counter, key
    for i in range(10):
        if i:
            k, m = (k + 0x9E3779B9) % 2**32, (m + 0xBB67AE85) % 2**32
        (p, q), (r, s) = divmod(a * 0xD2511F53, 2**32), divmod(c * 0xCD9E8D57, 2**32)
        a, b, c, d = r ^ b ^ k, s, p ^ d ^ m, q
    return a, b, c, d


def of_torch(counter, key):
    found = philox4x32([torch.tensor(word) for word in counter], tuple(torch.tensor(word) for word in key))
    return tuple(word.item() for word in found)


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN.values(), ids=KNOWN)
def test_words_are_random123s(counter, key, expected):
    assert of_torch(counter, key) == expected
    assert plain(counter, key) == expected


@tiny.LAWS
@given(st.tuples(words, words, words, words), st.tuples(words, words))
def test_words_are_those_of_plain_integers(counter, key):
    assert of_torch(counter, key) == plain(counter, key)


# ---- from words to numbers ----

EDGES = torch.tensor([0, 1, 2, 255, 256, 2**29 - 1, 2**29, 2**31, 3 * 2**30, 2**32 - 2**29, 2**32 - 1])


def many():
    drawn = torch.from_numpy(np.random.default_rng(0).integers(0, 2**32, 200_000))
    return torch.cat([drawn, EDGES])


def test_uniform_numbers_are_the_upper_bits_of_a_word():
    np.testing.assert_array_equal(uniform(many()).double().numpy(), (many() >> 8).double().numpy() / 2**24)
    assert uniform(EDGES).max() < 1


def test_cosine_and_sine_are_numpys():
    angle = many().double().numpy() * (2 * math.pi / 2**32)
    for found, expected in zip(circle(many()), (np.cos(angle), np.sin(angle)), strict=True):
        np.testing.assert_allclose(found.numpy(), expected, atol=2e-7)


def test_the_logarithm_is_numpys():
    u = torch.cat([many().float() * 2**-32 + 2**-33, torch.tensor([1.0, 2**-33, 0.70711, 0.99999994])])
    np.testing.assert_allclose(logarithm(u).numpy(), np.log(u.double().numpy()), rtol=2e-7, atol=0)


def test_normal_numbers_are_box_and_mullers():
    u, v = many()[:100_000], many()[100_000:200_000]
    # Of the number in float32: near 1 it has 24 bits, and its logarithm is small.
    rounded = np.float32(u.numpy()) * np.float32(2**-32) + np.float32(2**-33)
    radius = np.sqrt(-2 * np.log(rounded.astype(np.float64)))
    angle = v.double().numpy() * (2 * math.pi / 2**32)
    for found, expected in zip(box_muller(u, v), (radius * np.cos(angle), radius * np.sin(angle)), strict=True):
        np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)


# ---- a number is a function of its place ----


def one(seed=3, stream=Stream.NOISE, layer=1, step=5, sample=2, image=7, unit=6):
    """The number of a place by plain integers."""
    counter = image, sample << 12 | unit // 4, step % 2**32, (step >> 32) << 16 | layer << 8 | stream
    drawn = torch.tensor(plain(counter, (seed % 2**32, seed >> 32)))
    pair = box_muller(*drawn[:2]) if unit % 4 < 2 else box_muller(*drawn[2:])
    return pair[unit % 2].item()


@tiny.LAWS
@given(
    seeds,
    st.sampled_from(Stream),
    st.integers(0, 8),
    steps,
    st.integers(0, 2**20 - 3),
    st.integers(0, 2**31),
    st.integers(1, 9),
)
def test_a_normal_number_is_that_of_its_place(seed, stream, layer, step, sample, image, units):
    """The counter of the module's text, written a second time."""
    keys = torch.tensor([seed])
    drawn = normals(keys, stream, layer, step, (2, 3, units), (sample, image))
    assert drawn.shape == (1, 2, 3, units)
    for at in {(0, 0, 0), (1, 2, units - 1)}:
        place = {"sample": sample + at[0], "image": image + at[1], "unit": at[2]}
        assert drawn[0][at].item() == one(seed, stream, layer, step, **place)
    on_device = normals(keys, stream, layer, torch.tensor([step]), (2, 3, units), (sample, image))
    assert torch.equal(drawn, on_device)


@tiny.LAWS
@given(seeds, steps, st.integers(1, 11))
def test_a_uniform_number_is_that_of_its_place(seed, step, pixels):
    drawn = uniforms(torch.tensor([seed]), Stream.BINARISATION, step, (3, pixels))
    for image, pixel in {(0, 0), (2, pixels - 1)}:
        counter = image, pixel // 4, step % 2**32, (step >> 32) << 16 | Stream.BINARISATION
        word = plain(counter, (seed % 2**32, seed >> 32))[pixel % 4]
        assert drawn[0, image, pixel].item() == (word >> 8) / 2**24


def test_more_units_samples_and_images_change_no_number():
    """So that padded layers, packs and chunks draw alike."""
    keys = torch.tensor([0, 2**62 + 3])
    whole = normals(keys, Stream.NOISE, 0, 9, (6, 8, 50))
    assert torch.equal(normals(keys, Stream.NOISE, 0, 9, (4, 5, 7)), whole[:, :4, :5, :7])
    assert torch.equal(normals(keys[1:], Stream.NOISE, 0, 9, (3, 6, 50), (3, 2)), whole[1:, 3:, 2:])


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 4},
        {"seed": 3 + 2**32},
        {"stream": Stream.TEST_NOISE},
        {"layer": 0},
        {"step": 6},
        {"step": 5 + 2**32},
        {"sample": 3},
        {"image": 8},
        {"unit": 7},
        {"unit": 10},
    ],
    ids=str,
)
def test_another_place_gives_another_number(other):
    assert one(**other) != one()


def test_draws_have_their_distribution():
    keys = torch.tensor([0, 1])
    drawn = normals(keys, Stream.NOISE, 0, 1, (25, 40, 50)).double().numpy().reshape(2, -1)
    for row in drawn:
        assert scipy.stats.kstest(row, "norm").pvalue > 1e-3
        assert abs(np.corrcoef(row[:-1], row[1:])[0, 1]) < 5 / row.size**0.5
        assert abs(np.corrcoef(row[0::2] ** 2, row[1::2] ** 2)[0, 1]) < 5 / (row.size / 2) ** 0.5
    assert abs(np.corrcoef(drawn)[0, 1]) < 5 / drawn.shape[1] ** 0.5
    row = uniforms(keys, Stream.BINARISATION, 1, (100, 500))[0].double().numpy().ravel()
    assert scipy.stats.kstest(row, "uniform").pvalue > 1e-3


# ---- the seeds of a pack ----


def test_the_generator_is_that_of_the_device():
    assert generator_of(tiny.CPU) == NUMPY == Seeds([1], tiny.CPU).source
    assert generator_of(torch.device("cuda")) == COUNTER
    assert generator_of(torch.device("mps")) == NUMPY


@tiny.LAWS
@given(st.lists(seeds, min_size=1, max_size=5), st.data())
def test_draws_of_a_replica_depend_on_its_seed_alone(others, data):
    place = data.draw(st.integers(0, len(others) - 1))

    def everything(seeds):
        drawn = seeds.normals(Stream.NOISE, 7, (2, 3), (5, 2), first=(1, 4))
        return (
            *drawn,
            seeds.spread(seeds.uniform(Stream.BINARISATION, 7, (4, 6))),
            seeds.spread(seeds.permutations(Stream.ORDER, 7, 11)),
        )

    packed = everything(Seeds(others, tiny.CPU, COUNTER))
    alone = everything(Seeds([others[place]], tiny.CPU, COUNTER))
    assert all(torch.equal(p[place], a[0]) for p, a in zip(packed, alone, strict=True))


def test_orders_are_numpys_on_every_device():
    one, other = (Seeds([3, 8], tiny.CPU, source).permutations(Stream.ORDER, 2, 40) for source in (COUNTER, NUMPY))
    assert torch.equal(one, other)


def test_layers_above_do_not_change_the_first():
    seeds = Seeds([4], tiny.CPU, COUNTER)
    one, other = (seeds.normals(Stream.NOISE, 3, (2, 3), latent) for latent in ((5,), (5, 5)))
    assert torch.equal(one[0], other[0])
    assert not torch.equal(other[0], other[1])
