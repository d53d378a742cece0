"""Densities and masses of pixels against scipy, torch.distributions, exact decimals and quadrature in float64."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.distributions import ContinuousBernoulli, Normal

from tests.workers import tiny
from workers.model.densities import (
    continuous_bernoulli_log_likelihood,
    continuous_bernoulli_mass_of_grey,
    continuous_bernoulli_mean,
    gaussian_density,
    gaussian_log_likelihood,
    gaussian_mass_of_binary,
    gaussian_mass_of_grey,
)

GREY = torch.arange(256, dtype=torch.float64) / 255
NODES, WEIGHTS = np.polynomial.legendre.leggauss(32)

numbers = st.integers(0, 2**32 - 1)
sizes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(1, 5))
"""replica, k, batch, pixel"""

logits = st.builds(lambda sign, size: sign * 10.0**size, st.sampled_from((-1, 1)), st.floats(-30, 4)) | st.just(0.0)
precision = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)], ids=str)


def pixels(values, dtype=torch.float64):
    """One image a value, of one pixel."""
    return torch.as_tensor(values, dtype=dtype).reshape(1, -1, 1)


def heads(value, n, dtype=torch.float64):
    return torch.full((1, 1, n, 1), value, dtype=dtype)


def panels(low, high, cuts):
    """Nodes and weights of Gauss and Legendre on the parts of intervals that `cuts` of [0, 1] make, [interval, node]."""
    low, width = np.atleast_1d(low)[:, None, None], np.atleast_1d(high - low)[:, None, None]
    start, share = cuts[:-1, None], np.diff(cuts)[:, None]
    x, weight = low + width * (start + share * (NODES + 1) / 2), width * share * WEIGHTS / 2
    return x.reshape(len(low), -1), weight.reshape(len(low), -1)


_FINER = 2.0 ** np.arange(-18, -3)
TO_THE_ENDS = np.r_[0, _FINER, np.arange(1, 8) / 8, 1 - _FINER[::-1], 1]
"""Parts that shrink towards both ends of a bin: far from the mean all mass lies at the nearer end."""


# ---- continuous Bernoulli ----


def exact_log_density(x, logit):
    """log e^(l x) l / (e^l - 1) with a hundred digits."""
    with localcontext() as context:
        context.prec = 100
        exact = Decimal(logit)
        normaliser = (exact.exp() - 1) / exact if logit else Decimal(1)
        return float(exact * Decimal(x) - normaliser.ln())


@precision
@tiny.LAWS
@given(logit=logits, x=st.floats(0, 1, width=32))
def test_continuous_bernoulli_is_its_density_for_any_logit(dtype, tolerance, logit, x):
    logit = torch.tensor(logit, dtype=dtype).item()
    found = continuous_bernoulli_log_likelihood(pixels([x], dtype), heads(logit, 1, dtype))
    assert found.item() == pytest.approx(exact_log_density(x, logit), abs=tolerance * (1 + abs(logit)))


@tiny.LAWS
@given(numbers, sizes)
def test_continuous_bernoulli_is_torchs(seed, size):
    rng = np.random.default_rng(seed)
    x, logit = torch.from_numpy(rng.random((size[0], *size[2:]))), torch.from_numpy(6 * rng.standard_normal(size))
    # Torch takes probabilities: of them it has not all digits, and near 1/2 a series of its own.
    other = ContinuousBernoulli(probs=torch.sigmoid(logit))
    torch.testing.assert_close(
        continuous_bernoulli_log_likelihood(x, logit), other.log_prob(x[:, None]).sum(-1), rtol=1e-9, atol=1e-8
    )
    torch.testing.assert_close(continuous_bernoulli_mean(logit), other.mean, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("logit", [0.0, 1e-30, 1e-9, -9.9e-4, 1.1e-3, -9.9e-3, 1.01e-2, 1.0, -7.0, 50.0, -700.0, 1e4])
def test_continuous_bernoulli_integrates_to_1_and_has_its_mean(logit):
    x, weight = (part.ravel() for part in panels(0.0, 1.0, np.linspace(0, 1, 501)))
    density = np.exp(continuous_bernoulli_log_likelihood(pixels(x), heads(logit, len(x)))[0, 0].numpy())
    assert (weight * density).sum() == pytest.approx(1, abs=1e-11)
    found = continuous_bernoulli_mean(torch.tensor([logit], dtype=torch.float64)).item()
    assert found == pytest.approx((weight * density * x).sum(), abs=1e-11)


@precision
@tiny.LAWS
@given(logit=logits)
def test_continuous_bernoulli_mean_lies_within_and_mirrors(dtype, tolerance, logit):
    mean = continuous_bernoulli_mean(torch.tensor([logit, -logit, logit + 0.1], dtype=dtype))
    assert mean.dtype == dtype
    assert ((mean >= 0) & (mean <= 1)).all()
    assert mean[0] + mean[1] == pytest.approx(1, abs=tolerance)
    assert mean[2] >= mean[0] - tolerance


def test_gradient_of_the_continuous_bernoulli():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.random((2, 1, 9)))
    around = torch.tensor([0.0, 1e-9, -1e-4, 9.999e-3, 1.0001e-2, -9.999e-3, 0.3, -4.0, 25.0], dtype=torch.float64)
    assert gradcheck(lambda logit: continuous_bernoulli_log_likelihood(x, logit), around.repeat(2, 3, 1, 1).requires_grad_())


@precision
def test_gradient_of_the_continuous_bernoulli_is_x_less_its_mean(dtype, tolerance):
    sizes = torch.cat([torch.zeros(1), torch.logspace(-30, 4, 600)])
    logit = torch.cat([-sizes, sizes]).to(dtype).requires_grad_()
    total = continuous_bernoulli_log_likelihood(pixels([0.3] * len(logit), dtype), logit[None, None, :, None]).sum()
    (gradient,) = torch.autograd.grad(total, logit)
    expected = 0.3 - continuous_bernoulli_mean(logit.detach().double()[:, None])[:, 0]
    torch.testing.assert_close(gradient.double(), expected, rtol=0, atol=1e2 * tolerance)


# ---- Gaussian ----


@tiny.LAWS
@given(numbers, sizes, st.sampled_from(("pixel", "global")))
def test_gaussian_density_is_the_normal_density_for_any_variance(seed, size, kind):
    rng = np.random.default_rng(seed)
    x, mean = torch.from_numpy(rng.random((size[0], *size[2:]))), torch.from_numpy(3 * rng.standard_normal(size))
    log_variance = torch.from_numpy(rng.uniform(-20, 20, size if kind == "pixel" else (size[0], 1, 1, 1)))
    expected = Normal(torch.sigmoid(mean), torch.exp(log_variance / 2)).log_prob(x[:, None]).sum(-1)
    torch.testing.assert_close(gaussian_density(x, mean, log_variance), expected, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(
        gaussian_log_likelihood(x, mean, log_variance.expand(size)),
        gaussian_density(x, mean, torch.tanh(log_variance)),
        rtol=1e-11,
        atol=1e-11,
    )


def test_gradient_of_the_gaussian_density():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.random((2, 3, 4)))
    mean = torch.from_numpy(rng.standard_normal((2, 5, 3, 4))).requires_grad_()
    for shape in ((2, 5, 3, 4), (2, 1, 1, 1)):
        log_variance = torch.from_numpy(rng.standard_normal(shape)).requires_grad_()
        assert gradcheck(lambda m, v: gaussian_density(x, m, v), (mean, log_variance))


@tiny.LAWS
@given(st.floats(0, 1), st.floats(-50, 50), st.floats(-50, 50))
def test_tanh_keeps_the_gaussian_density_below_its_ceiling(x, mean_head, log_variance_head):
    """-0.4189 nats a pixel, -328.4 for the 784 of MNIST (docs/settings.md)."""
    found = gaussian_log_likelihood(pixels([x]), heads(mean_head, 1), heads(log_variance_head, 1)).item()
    assert found <= -0.4189385 + 1e-7


def test_the_gaussian_ceiling_is_reached():
    found = gaussian_log_likelihood(
        torch.full((1, 1, 784), 0.5), torch.zeros(1, 1, 1, 784), torch.full((1, 1, 1, 784), -50.0)
    )
    assert found.item() == pytest.approx(-328.4478, abs=1e-3)
    assert 784 * scipy.stats.norm(0, math.exp(-0.5)).logpdf(0) == pytest.approx(-328.4478, abs=1e-4)


# ---- masses ----


@tiny.LAWS
@given(st.floats(0, 1), st.floats(-6, 6))
def test_two_masses_are_the_density_renormalised(mean, log_variance):
    no, yes = gaussian_mass_of_binary(pixels([0, 1]), heads(mean, 2), heads(log_variance, 2))[0, 0].tolist()
    assert math.exp(no) + math.exp(yes) == pytest.approx(1, abs=1e-12)
    at_0, at_1 = scipy.stats.norm(mean, math.exp(log_variance / 2)).logpdf([0.0, 1.0])
    assert yes - no == pytest.approx(at_1 - at_0, rel=1e-9, abs=1e-9)


def test_the_best_comparable_nats_of_a_gaussian_with_tanh():
    """-179.2 for 784 pixels, by a logit of 1.36 (docs/settings.md, row 4)."""
    x = (torch.arange(784) % 2).double()[None, None]
    best = gaussian_mass_of_binary(x, x[:, None], torch.full((1, 1, 1, 1), -1.0, dtype=torch.float64)).item()
    assert best == pytest.approx(-179.2, abs=0.05)
    assert best == pytest.approx(784 * math.log(scipy.special.expit(math.e / 2)), rel=1e-12)
    grid = torch.tensor([(m, v) for m in np.linspace(0, 1, 21) for v in np.linspace(-1, 1, 21)])[None, :, None, None]
    assert (
        gaussian_mass_of_binary(x, grid[..., 0].expand(-1, -1, -1, 784), grid[..., 1]) <= best / 2 + 784 / 2 * -0.01
    ).all()


@tiny.LAWS
@given(st.floats(0, 1), st.floats(-20, 20))
def test_256_gaussian_masses_sum_to_1(mean, log_variance):
    masses = gaussian_mass_of_grey(pixels(GREY), heads(mean, 256), heads(log_variance, 256))[0, 0]
    assert (masses <= 0).all()
    assert torch.logsumexp(masses, 0).item() == pytest.approx(0, abs=1e-9)


@tiny.LAWS
@given(st.floats(0, 1), st.floats(-20, 20))
def test_a_gaussian_mass_is_the_integral_over_its_bin(mean, log_variance):
    """Inner bins by quadrature of the density in logarithms, the outer two by scipy's tails."""
    found = gaussian_mass_of_grey(pixels(GREY), heads(mean, 256), heads(log_variance, 256))[0, 0].numpy()
    normal = scipy.stats.norm(mean, math.exp(log_variance / 2))
    inner = np.arange(1, 255)
    x, weight = panels((inner - 0.5) / 255, (inner + 0.5) / 255, TO_THE_ENDS)
    expected = scipy.special.logsumexp(normal.logpdf(x), axis=1, b=weight)
    np.testing.assert_allclose(found[1:-1], expected, rtol=1e-10, atol=1e-7)
    np.testing.assert_allclose(found[[0, -1]], [normal.logcdf(0.5 / 255), normal.logsf(254.5 / 255)], rtol=1e-10, atol=1e-12)


def test_a_gaussian_mass_is_the_difference_of_cumulative_probabilities_where_that_is_exact():
    mean, deviation = 0.4, math.exp(-1.5)
    found = gaussian_mass_of_grey(pixels(GREY), heads(mean, 256), heads(-3.0, 256)).exp()[0, 0].numpy()
    edges = np.r_[-np.inf, (np.arange(255) + 0.5) / 255, np.inf]
    np.testing.assert_allclose(found, np.diff(scipy.stats.norm.cdf(edges, mean, deviation)), rtol=1e-11, atol=1e-15)


@precision
@tiny.LAWS
@given(logit=logits)
def test_256_continuous_bernoulli_masses_are_integrals_and_sum_to_1(dtype, tolerance, logit):
    logit = torch.tensor(logit, dtype=dtype).item()
    found = continuous_bernoulli_mass_of_grey(pixels(GREY, dtype), heads(logit, 256, dtype))[0, 0].numpy()
    assert (found <= 0).all()
    assert scipy.special.logsumexp(found) == pytest.approx(0, abs=1e-9)
    edges = np.r_[0, (np.arange(255) + 0.5) / 255, 1]
    x, weight = panels(edges[:-1], edges[1:], np.linspace(0, 1, 5))
    # l x less the logarithm of the integral of e^(l x) over [0, 1]; the largest term is taken out of both.
    peak = max(logit, 0.0)
    norm = peak + (math.log(-math.expm1(-abs(logit)) / abs(logit)) if abs(logit) > 1e-15 else 0.0)
    np.testing.assert_allclose(found, scipy.special.logsumexp(logit * x - norm, axis=1, b=weight), rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize("logit", [1e5, -1e5, 3e5, 1e6, -1e6, 1e7], ids="{:g}".format)
def test_a_continuous_bernoulli_mass_is_never_above_1(logit):
    found = continuous_bernoulli_mass_of_grey(pixels(GREY), heads(logit, 256))
    assert (found <= 1e-6).all()
    assert torch.logsumexp(found, -1).item() == pytest.approx(0, abs=1e-6)


def test_grey_levels_in_float32_find_their_own_bin():
    """Every v / 255 in float32, and pixels that lie on no level go to the nearest."""
    log_variance = torch.full((1, 1, 1, 1), -3.0)
    exact = gaussian_mass_of_grey(pixels(GREY), heads(0.5, 256), log_variance.double())
    found = gaussian_mass_of_grey(pixels(GREY, torch.float32), heads(0.5, 256, torch.float32), log_variance)
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=0)
    off = gaussian_mass_of_grey(pixels(GREY + 0.4 / 255), heads(0.5, 256), log_variance.double())
    torch.testing.assert_close(off, exact, rtol=1e-12, atol=0)


def test_masses_of_an_image_are_sums_over_its_pixels():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.integers(0, 256, (2, 3, 7)) / 255)
    mean, log_variance = torch.from_numpy(rng.random((2, 4, 3, 7))), torch.from_numpy(rng.uniform(-3, 1, (2, 1, 1, 1)))
    cases = {
        gaussian_mass_of_grey: (mean, log_variance.expand_as(mean)),
        gaussian_mass_of_binary: (mean, log_variance.expand_as(mean)),
        continuous_bernoulli_mass_of_grey: (10 * mean - 5,),
    }
    for mass, outputs in cases.items():
        alone = sum(mass(x[..., [i]], *(output[..., [i]] for output in outputs)) for i in range(7))
        torch.testing.assert_close(mass(x, *outputs), alone, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        gaussian_mass_of_grey(x, mean, log_variance),
        gaussian_mass_of_grey(x, mean, log_variance.expand_as(mean)),
        rtol=1e-14,
        atol=0,
    )
