"""Laws of the bounds and densities; numbers against torch.distributions and scipy in float64."""

import math

import jaxtyping
import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.distributions import Bernoulli, Normal, kl_divergence

from tests.workers import tiny
from workers.model.densities import bernoulli_log_likelihood, gaussian_log_likelihood, softplus
from workers.model.objective import effective_share, iwae_bound, kl_per_unit, log_prior_ratio, reparameterise

shapes = st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 4))
"""replica, k, batch"""

numbers = st.integers(0, 2**32 - 1)


def test_shapes_are_checked_while_tests_run():
    """By the import hook of tests/conftest.py; without it every annotated shape is a mere comment."""
    with pytest.raises(jaxtyping.TypeCheckError):
        iwae_bound(torch.zeros(3))


def normal(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


class LinearGaussian:
    """p(z) = N(0, I), p(x|z) = N(W z, s^2 I); orthogonal columns of W make the posterior a product over units."""

    noise_deviation = 0.5

    def __init__(self, n_x=6, n_z=3, batch=5):
        rng = np.random.default_rng(0)
        columns, _ = np.linalg.qr(rng.standard_normal((n_x, n_z)))
        self.w = columns * np.array([0.3, 1.0, 2.5])[:n_z]
        covariance = self.w @ self.w.T + self.noise_deviation**2 * np.eye(n_x)
        marginal = scipy.stats.multivariate_normal(np.zeros(n_x), covariance)
        x = marginal.rvs(batch, random_state=1)
        self.x = torch.from_numpy(x)
        self.log_px = torch.from_numpy(marginal.logpdf(x))
        posterior = np.linalg.inv(np.eye(n_z) + self.w.T @ self.w / self.noise_deviation**2)
        assert np.allclose(posterior, np.diag(np.diag(posterior)))
        self.mean = torch.from_numpy(x @ self.w @ posterior / self.noise_deviation**2)[None, None]
        self.log_variance = torch.from_numpy(np.log(np.diag(posterior))).expand(1, 1, batch, n_z)

    def log_w(self, mean, log_variance, noise):
        z = reparameterise(mean, log_variance, noise)
        pixels = Normal(z @ torch.from_numpy(self.w).T, self.noise_deviation)
        return pixels.log_prob(self.x).sum(-1) + log_prior_ratio(z, log_variance, noise)


@pytest.mark.parametrize("k", [1, 5, 50])
def test_bound_is_exact_for_the_exact_posterior(k):
    model = LinearGaussian()
    log_w = model.log_w(model.mean, model.log_variance, normal(2, 1, k, 5, 3))
    torch.testing.assert_close(log_w, model.log_px.expand(1, k, 5), rtol=0, atol=1e-12)
    torch.testing.assert_close(iwae_bound(log_w)[0], model.log_px, rtol=0, atol=1e-12)
    torch.testing.assert_close(effective_share(log_w), torch.ones(1, 5, dtype=torch.float64))


def test_gap_of_a_wrong_posterior_is_its_kl_and_shrinks_with_k():
    model = LinearGaussian(batch=4000)
    mean, log_variance = model.mean + 0.2, model.log_variance + 0.7
    gaps = {}
    for k in (1, 5, 50):
        bound = iwae_bound(model.log_w(mean, log_variance, normal(3, 1, k, 4000, 3)))[0]
        gaps[k] = model.log_px - bound
    wrong, exact = (Normal(m, torch.exp(lv / 2)) for m, lv in ((mean, log_variance), (model.mean, model.log_variance)))
    kl = kl_divergence(wrong, exact).sum(-1).mean()
    assert abs(gaps[1].mean() - kl) < 4 * gaps[1].std() / math.sqrt(4000)
    assert gaps[1].mean() > 4 * gaps[5].mean() > 4 * 4 * gaps[50].mean() > 0


@tiny.LAWS
@given(shapes, numbers, st.floats(-1e4, 1e4))
def test_bound_shifts_with_log_w(shape, seed, c):
    log_w = 10 * normal(seed, *shape)
    torch.testing.assert_close(iwae_bound(log_w + c), iwae_bound(log_w) + c, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(effective_share(log_w + c), effective_share(log_w), rtol=1e-8, atol=0)


@tiny.LAWS
@given(shapes, numbers)
def test_order_of_samples_is_of_no_account(shape, seed):
    log_w = 10 * normal(seed, *shape)
    order = np.random.default_rng(seed).permutation(shape[1])
    torch.testing.assert_close(iwae_bound(log_w[:, order]), iwae_bound(log_w), rtol=1e-13, atol=1e-13)


@tiny.LAWS
@given(shapes, numbers)
def test_bound_is_the_mean_weight(shape, seed):
    log_w = 3 * normal(seed, *shape)
    expected = np.log(np.exp(log_w.numpy()).mean(1))
    np.testing.assert_allclose(iwae_bound(log_w).numpy(), expected, rtol=1e-11, atol=1e-11)


@tiny.LAWS
@given(shapes, numbers)
def test_more_samples_of_the_same_draw_never_lower_the_bound(shape, seed):
    log_w = 10 * normal(seed, *shape)
    elbo = log_w.mean(1)
    assert (iwae_bound(log_w) >= elbo - 1e-12).all()
    pairs = torch.cat([log_w, 10 * normal(seed + 1, *shape)], 1)
    halves = torch.stack([iwae_bound(half) for half in pairs.chunk(2, 1)]).mean(0)
    assert (iwae_bound(pairs) >= halves - 1e-12).all()


@tiny.LAWS
@given(st.integers(1, 4), numbers)
def test_one_sample_gives_the_elbo(batch, seed):
    log_w = 100 * normal(seed, 2, 1, batch)
    assert torch.equal(iwae_bound(log_w), log_w[:, 0])


@tiny.LAWS
@given(shapes, numbers)
def test_effective_share_is_kishs(shape, seed):
    log_w = 3 * normal(seed, *shape)
    share, k = effective_share(log_w), shape[1]
    assert (share >= 1 / k - 1e-12).all()
    assert (share <= 1 + 1e-12).all()
    w = np.exp(log_w.numpy())
    np.testing.assert_allclose(share.numpy(), w.sum(1) ** 2 / (w**2).sum(1) / k, rtol=1e-10)


def test_effective_share_of_one_heavy_sample():
    log_w = torch.tensor([[0.0], [-2000.0], [-3000.0], [-1e5]], dtype=torch.float64)
    assert effective_share(log_w).item() == 0.25


@tiny.LAWS
@given(shapes, st.integers(1, 5), numbers)
def test_prior_ratio_is_that_of_the_densities(shape, n_z, seed):
    replicas, k, batch = shape
    mean, log_variance = normal(seed, replicas, 1, batch, n_z), normal(seed + 1, replicas, 1, batch, n_z)
    noise = normal(seed + 2, replicas, k, batch, n_z)
    z = reparameterise(mean, log_variance, noise)
    q = Normal(mean, torch.exp(log_variance / 2))
    torch.testing.assert_close(z, q.loc + q.scale * noise, rtol=1e-14, atol=1e-14)
    expected = (Normal(0.0, 1.0).log_prob(z) - q.log_prob(z)).sum(-1)
    torch.testing.assert_close(log_prior_ratio(z, log_variance, noise), expected, rtol=1e-11, atol=1e-11)


@tiny.LAWS
@given(st.integers(1, 4), st.integers(1, 5), numbers)
def test_kl_is_that_of_the_densities(batch, n_z, seed):
    mean, log_variance = 2 * normal(seed, batch, n_z), 2 * normal(seed + 1, batch, n_z)
    expected = kl_divergence(Normal(mean, torch.exp(log_variance / 2)), Normal(torch.zeros(()), torch.ones(())))
    torch.testing.assert_close(kl_per_unit(mean, log_variance), expected, rtol=1e-12, atol=1e-13)


def test_kl_of_the_prior_is_0():
    assert kl_per_unit(torch.zeros(2, 3), torch.zeros(2, 3)).eq(0).all()


@pytest.mark.parametrize(
    ("dtype", "relative", "absolute"), [(torch.float32, 6e-8, 1e-7), (torch.float64, 3e-16, 2e-16)], ids=str
)
def test_softplus_is_as_exact_as_it_says(dtype, relative, absolute):
    a = torch.cat([torch.linspace(-110, 110, 10_001), torch.tensor([-1e30, -1e4, -1e-30, 0.0, 1e-30, 1e4, 1e30])]).to(dtype)
    expected = np.logaddexp(0.0, a.double().numpy())
    error = np.abs(softplus(a).double().numpy() - expected)
    assert (error <= absolute + relative * np.abs(expected)).all(), error.max()


@tiny.LAWS
@given(shapes, st.integers(1, 6), numbers)
def test_bernoulli_is_the_distribution(shape, pixels, seed):
    replicas, k, batch = shape
    logits = 5 * normal(seed, replicas, k, batch, pixels)
    x = (normal(seed + 1, replicas, batch, pixels) > 0).double()
    expected = Bernoulli(logits=logits).log_prob(x[:, None].expand_as(logits)).sum(-1)
    torch.testing.assert_close(bernoulli_log_likelihood(x, logits), expected, rtol=1e-12, atol=1e-13)


@tiny.LAWS
@given(shapes, st.integers(1, 6), numbers)
def test_gaussian_is_the_distribution(shape, pixels, seed):
    replicas, k, batch = shape
    a, c = 3 * normal(seed, replicas, k, batch, pixels), 2 * normal(seed + 1, replicas, k, batch, pixels)
    x = normal(seed + 2, replicas, batch, pixels)
    expected = Normal(torch.sigmoid(a), torch.exp(torch.tanh(c) / 2)).log_prob(x[:, None]).sum(-1)
    torch.testing.assert_close(gaussian_log_likelihood(x, a, c), expected, rtol=1e-12, atol=1e-13)


EXTREME = [-1e30, -1e4, -90.0, 0.0, 90.0, 1e4, 1e30]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("logit", EXTREME)
@pytest.mark.parametrize("pixel", [0.0, 1.0])
def test_bernoulli_of_extreme_logits(pixel, logit, dtype):
    logits = torch.full((1, 1, 1, 1), logit, dtype=dtype, requires_grad=True)
    x = torch.full((1, 1, 1), pixel, dtype=dtype)
    density = bernoulli_log_likelihood(x, logits)
    density.sum().backward()
    tolerance = torch.finfo(dtype).eps
    assert density.item() == pytest.approx(-max(0.0, logit * (1 - 2 * pixel)), abs=tolerance if logit else 1, rel=tolerance)
    assert logits.grad.item() == pytest.approx(pixel - (logit > 0) - 0.5 * (logit == 0), abs=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("log_variance", EXTREME)
@pytest.mark.parametrize("mean", EXTREME)
def test_gaussian_of_extreme_heads(mean, log_variance, dtype):
    heads = [torch.full((1, 1, 1, 1), head, dtype=dtype, requires_grad=True) for head in (mean, log_variance)]
    density = gaussian_log_likelihood(torch.ones(1, 1, 1, dtype=dtype), *heads)
    density.sum().backward()
    expected = scipy.stats.norm(scipy.special.expit(mean), math.exp(math.tanh(log_variance) / 2)).logpdf(1.0)
    assert density.item() == pytest.approx(expected, rel=1e-6)
    assert all(math.isfinite(head.grad.item()) for head in heads)


@tiny.LAWS
@given(shapes, st.integers(1, 6), numbers, st.floats(0.1, 30))
def test_gaussian_density_has_a_ceiling(shape, pixels, seed, size):
    replicas, k, batch = shape
    heads = size * normal(seed, 2, replicas, k, batch, pixels)
    density = gaussian_log_likelihood(torch.sigmoid(heads[0, :, 0]), *heads)
    assert (density <= -0.4189385 * pixels).all()


def test_gradient_of_bernoulli():
    x = (normal(0, 2, 3, 4) > 0).double()
    logits = (3 * normal(1, 2, 2, 3, 4)).requires_grad_()
    assert gradcheck(lambda logits: bernoulli_log_likelihood(x, logits), (logits,))


def test_gradient_of_gaussian():
    x = (normal(0, 2, 3, 4) > 0).double()
    heads = [normal(seed, 2, 2, 3, 4).requires_grad_() for seed in (1, 2)]
    assert gradcheck(lambda a, c: gaussian_log_likelihood(x, a, c), heads)


def test_gradient_of_the_bound_weighs_the_samples():
    """grad L_K = sum_k w~_k grad log w_k with normalised weights; Burda et al. 2016, eq. 14."""
    log_w = normal(0, 1, 6, 3).requires_grad_()
    iwae_bound(log_w).sum().backward()
    torch.testing.assert_close(log_w.grad, torch.softmax(log_w.detach(), 1))
