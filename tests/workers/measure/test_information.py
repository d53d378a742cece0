"""What is said of the codes: mutual information and KL(q(z) || p(z)) against mixtures, quadrature and closed forms; saturated
heads and principal variances against numpy.
"""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence
from torch.distributions import MultivariateNormal as Multivariate

from tests.workers import tiny
from tests.workers.measure.second_computation import Second, data_of, trained
from tests.workers.reference import Model
from workers.contract.streams import Stream, generator
from workers.measure import information
from workers.measure.activity import merge, moments, principal_variances
from workers.measure.at_the_end import pixel_measures
from workers.measure.every_epoch import measure
from workers.measure.information import mutual_information
from workers.measure.posterior import saturated_share
from workers.model import networks
from workers.model.architecture import architecture_of, initial_parameters
from workers.model.layers import batch_statistics, fixed_statistics
from workers.replicas.seeds import Seeds


def plain(learner):
    return networks.Model(learner.parameters, learner.architecture, fixed_statistics({}))


def given_posterior(mean, log_variance, seed=0, replicas=1):
    """What is measured where q(z|x_i) is given, [image, unit]; the images are the means and log-variances themselves.

    A relu layer takes both signs of every pixel, and the heads put them together again.
    """
    units = mean.shape[1]
    images = torch.from_numpy(np.concatenate([mean, log_variance], 1)).float()
    settings = tiny.settings(n_z=units, model__hidden=(4 * units,), model__activation="relu")
    architecture = architecture_of(settings, n_x=2 * units)
    parameters = initial_parameters(architecture, [seed] * replicas, tiny.CPU)
    eye, empty = torch.eye(2 * units), torch.zeros(units, units)
    parameters["encoder.hidden0.weight"] = torch.cat([eye, -eye], 1).repeat(replicas, 1, 1)
    for head, blocks in (("mean", (eye[:units, :units], empty)), ("log_variance", (empty, eye[:units, :units]))):
        half = torch.cat(blocks, 0)
        parameters[f"encoder.{head}.weight"] = torch.cat([half, -half], 0).repeat(replicas, 1, 1)
    seeds = Seeds([seed] * replicas, tiny.CPU)
    found = mutual_information(networks.Model(parameters, architecture, fixed_statistics({})), images, seeds, epoch=1)
    return {name: value[0].item() for name, value in found.items()}


def noise_of(seed, n, units, epoch=1, layer=0):
    parts = [
        generator(seed, Stream.AGGREGATE_NOISE, epoch, (layer << 56) + part).standard_normal(
            (min(100, n - start), units), dtype=np.float32
        )
        for part, start in enumerate(range(0, n, 100))
    ]
    return torch.from_numpy(np.concatenate(parts)).double()


def aggregate_of(q):
    return MixtureSameFamily(Categorical(torch.ones(len(q.loc), dtype=torch.float64)), Independent(q, 1))


def terms_of(q, z):
    """By the definitions, from one sample an image; an entry an image."""
    log_q, log_aggregate = q.log_prob(z).sum(-1), aggregate_of(q).log_prob(z)
    log_prior = Normal(0.0, 1.0).log_prob(z).sum(-1)
    return {"mutual_information": log_q - log_aggregate, "marginal_kl": log_aggregate - log_prior}


@st.composite
def posteriors(draw):
    n, units = draw(st.integers(1, 130)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mean = draw(st.sampled_from((0.0, 0.3, 3.0, 30.0))) * rng.standard_normal((n, units))
    log_variance = draw(st.floats(-8, 1)) + draw(st.sampled_from((0.0, 0.5))) * rng.standard_normal((n, units))
    return mean, log_variance


@tiny.LAWS
@given(posteriors(), st.integers(0, 1000))
def test_it_is_what_a_mixture_of_all_posteriors_gives(posterior, seed):
    mean, log_variance = posterior
    found = given_posterior(mean, log_variance, seed)
    mean, log_variance = (torch.from_numpy(part).float().double() for part in posterior)
    q = Normal(mean, torch.exp(log_variance / 2))
    expected = terms_of(q, q.loc + q.scale * noise_of(seed, *mean.shape))
    # The samples themselves are rounded to float32: relative to a small sigma that is much.
    tolerance = 1e-4 * (1 + mean.abs().max().item()) * mean.shape[1]
    for name, values in expected.items():
        assert found[name] == pytest.approx(values.mean().item(), rel=1e-4, abs=tolerance), name


@tiny.LAWS
@given(posteriors(), st.integers(0, 1000))
def test_information_never_exceeds_the_logarithm_of_the_number_of_images(posterior, seed):
    assert given_posterior(*posterior, seed)["mutual_information"] <= math.log(len(posterior[0])) + 1e-6


@tiny.LAWS
@given(posteriors(), st.integers(0, 1000))
def test_both_sum_to_the_sampled_kl(posterior, seed):
    """Exactly on the same draws; to the mean KL in closed form up to their noise."""
    found = given_posterior(*posterior, seed)
    mean, log_variance = (torch.from_numpy(part).float().double() for part in posterior)
    q, prior = Normal(mean, torch.exp(log_variance / 2)), Normal(torch.zeros(()).double(), torch.ones(()).double())
    z = q.loc + q.scale * noise_of(seed, *mean.shape)
    sampled = (q.log_prob(z) - prior.log_prob(z)).sum(-1)
    total = sum(found.values())
    assert total == pytest.approx(sampled.mean().item(), rel=1e-5, abs=1e-5)
    # Var(log q - log p) = sum_u [ (1 - sigma^2)^2 / 2 + mu^2 sigma^2 ] for Gaussians.
    deviation = ((1 - q.variance).square() / 2 + mean.square() * q.variance).sum().sqrt().item() / len(mean)
    assert total == pytest.approx(kl_divergence(q, prior).sum(-1).mean().item(), rel=1e-5, abs=1e-4 + 5 * deviation)


# ---- closed forms ----


@pytest.mark.parametrize("values", [1, 2, 7, 50])
def test_separate_values_give_the_logarithm_of_their_number(values):
    where = np.repeat(np.arange(values), 6)[:, None] * 20.0
    found = given_posterior(np.hstack([where, -where]), np.full((6 * values, 2), -2.0))
    assert found["mutual_information"] == pytest.approx(math.log(values), abs=1e-9)


@tiny.LAWS
@given(st.floats(-3, 3), st.floats(-8, 2), st.integers(1, 130))
def test_equal_posteriors_give_0(mean, log_variance, n):
    found = given_posterior(np.full((n, 2), mean), np.full((n, 2), log_variance))
    assert found["mutual_information"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("spread", "deviation"), [(0.5, 1.0), (1.0, 0.5), (0.8, 0.6), (2.0, 1.0)])
def test_gaussian_aggregate_has_the_closed_form(spread, deviation):
    """I -> 1/2 log(1 + s^2 / sigma^2) a unit; with s^2 + sigma^2 = 1 the aggregate is the prior."""
    n = 4000
    mean = spread * np.random.default_rng(1).standard_normal((n, 2))
    found = given_posterior(mean, np.full((n, 2), 2 * math.log(deviation)))
    variance = spread**2 + deviation**2
    # Of one unit and sample the log ratio has a variance of s^2 / (s^2 + sigma^2).
    error = 4 * math.sqrt(2 * spread**2 / variance / n) + 0.01
    assert found["mutual_information"] == pytest.approx(math.log(variance / deviation**2), abs=error)
    assert found["marginal_kl"] == pytest.approx(variance - 1 - math.log(variance), abs=2 * error)


def test_one_unit_agrees_with_an_integral_over_z():
    """Of the mixture of just these images, so that the only error is that of the samples."""
    n = 3000
    rng = np.random.default_rng(2)
    mean, log_variance = 1.5 * rng.standard_t(4, (n, 1)), rng.uniform(-3, 0, (n, 1))
    found = given_posterior(mean, log_variance)
    mean, log_variance = (torch.from_numpy(part).float().double() for part in (mean, log_variance))
    q, grid = Normal(mean, torch.exp(log_variance / 2)), torch.linspace(-40, 40, 16_001, dtype=torch.float64)
    log_aggregate = torch.cat([torch.logsumexp(q.log_prob(part), 0) for part in grid.split(500)]) - math.log(n)
    mass = log_aggregate.exp() * (grid[1] - grid[0])
    assert mass.sum().item() == pytest.approx(1, abs=1e-9)
    marginal_kl = (mass * (log_aggregate - Normal(0.0, 1.0).log_prob(grid))).sum().item()
    information = -(mass * log_aggregate).sum().item() - q.entropy().mean().item()
    z = q.loc + q.scale * noise_of(0, n, 1)
    own = terms_of(q, z)
    for name, exact in {"mutual_information": information, "marginal_kl": marginal_kl}.items():
        assert found[name] == pytest.approx(exact, abs=4 * own[name].std().item() / math.sqrt(n)), name
    assert marginal_kl > 0


def test_correlated_units_are_taken_together():
    """Two units that say the same: with mu = (m, m), I -> 1/2 log det(S + sigma^2) / sigma^4, not the sum of both alone."""
    n, deviation = 4000, 0.5
    m = np.random.default_rng(3).standard_normal((n, 1))
    found = given_posterior(np.hstack([m, m]), np.full((n, 2), 2 * math.log(deviation)))
    covariance = torch.ones(2, 2) + deviation**2 * torch.eye(2)
    exact = (Multivariate(torch.zeros(2), covariance).entropy() - 2 * Normal(0.0, deviation).entropy()).item()
    assert found["mutual_information"] == pytest.approx(exact, abs=0.06)


# ---- saturation ----


@tiny.LAWS
@given(st.integers(0, 2**32 - 1), st.integers(1, 50), st.sampled_from(((-1.0, 1.0), (0.0, 1.0))))
def test_saturated_is_what_lies_within_a_hundredth_of_an_end(seed, n, ends):
    low, high = ends
    values = np.random.default_rng(seed).uniform(low, high, (3, n, 2))
    near = np.minimum(values - low, high - values) < (high - low) / 100
    np.testing.assert_allclose(saturated_share(torch.from_numpy(values), low, high), near.mean((1, 2)), rtol=1e-12)


def measured(learner, data):
    return measure(learner.parameters, learner.architecture, data, learner.seeds, learner.k, 1)


@pytest.mark.parametrize("push", [1e3, -1e3])
def test_a_head_pushed_to_its_end_is_saturated(push):
    cell = {"model__encoder_mean_head": "sigmoid", "model__encoder_logvar_head": "tanh", "decoder": "gaussian"}
    data = data_of(cell)
    learner = trained(cell, data)
    with torch.no_grad():
        for name in ("encoder.mean", "encoder.log_variance"):
            learner.parameters[f"{name}.weight"].mul_(10)
    found = measured(learner, data)
    model = Second(learner, data, cell).model
    with torch.no_grad():
        q = model.posterior(data.measured)
        mean, log_variance = q.loc.numpy(), 2 * np.log(q.scale.numpy())
    assert found.saturated_mean[0].item() == pytest.approx((np.abs(mean - 0.5) > 0.49).mean(), abs=0.005)
    assert found.saturated_log_variance[0].item() == pytest.approx((np.abs(log_variance) > 0.98).mean(), abs=0.005)
    for share in (found.saturated_mean, found.saturated_log_variance):
        assert ((share > 0.05) & (share < 0.95)).all()
    with torch.no_grad():
        for name in ("encoder.mean", "encoder.log_variance", "decoder.log_variance"):
            learner.parameters[f"{name}.bias"].add_(push)
    found = measured(learner, data)
    assert found.saturated_mean.eq(1).all()
    assert found.saturated_log_variance.eq(1).all()
    pixels = pixel_measures(plain(learner), data, learner.seeds, 1)
    assert pixels["saturated_pixels"].eq(1).all()
    linear = measured(trained({}, data), data)
    assert linear.saturated_mean.isnan().all()
    assert linear.saturated_log_variance.isnan().all()


# ---- principal variances ----


@tiny.LAWS
@given(st.integers(0, 2**32 - 1), st.integers(2, 200), st.lists(st.integers(1, 4), min_size=1, max_size=3), st.floats(-3, 3))
def test_principal_variances_are_eigenvalues_of_the_covariance(seed, n, layers, offset):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((2, n, sum(layers))) @ rng.standard_normal((sum(layers), sum(layers))) + offset
    whole = torch.from_numpy(values)

    def found_of(codes):
        parts = codes.float().split(100, 1)
        return principal_variances(parts, moments(codes.float()), layers), moments(codes.float()).variance

    found, activity = found_of(whole)
    for replica in range(2):
        for values_of, eigen, own in zip(
            whole[replica].split(layers, 1), found[replica].split(layers), activity[replica].split(layers), strict=True
        ):
            covariance = np.atleast_2d(np.cov(values_of.float().double().numpy().T, ddof=0))
            largest = eigen[0].item()
            np.testing.assert_allclose(eigen.numpy(), np.linalg.eigvalsh(covariance)[::-1], rtol=0, atol=3e-6 * largest)
            assert eigen.sum().item() == pytest.approx(own.sum().item(), rel=3e-6)
            assert largest >= own.max().item() * (1 - 3e-6)
    rotation = torch.block_diag(
        *(torch.linalg.qr(torch.from_numpy(rng.standard_normal((units, units)))).Q for units in layers)
    )
    turned, _ = found_of(whole @ rotation)
    torch.testing.assert_close(turned, found, rtol=0, atol=1e-5 * found.max().item())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_principal_variances_of_a_diverged_replica_stop_nobody(value):
    codes = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 50, 4))).float()
    before = principal_variances([codes], moments(codes), [3, 1])
    spoilt = codes.clone()
    spoilt[1, 7, 2] = value
    after = principal_variances(
        [spoilt[:, :20], spoilt[:, 20:]], merge(moments(spoilt[:, :20]), moments(spoilt[:, 20:])), [3, 1]
    )
    assert after[1, :3].isnan().all()
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]], rtol=1e-5, atol=0)
    assert torch.equal(principal_variances([spoilt], moments(spoilt), [3, 1])[[0, 2]], before[[0, 2]])


@pytest.mark.parametrize("cell", [{}, {"n_z": 1}, {"model__layers_above": "8-z2"}], ids=str)
def test_activity_pca_of_a_model(cell):
    data = data_of(cell)
    learner = trained(cell, data)
    found = measured(learner, data)
    for replica in range(2):
        codes = Second(learner, data, cell, replica).codes(data.measured)
        expected = [np.linalg.eigvalsh(np.atleast_2d(np.cov(q.loc.numpy().T, ddof=0)))[::-1] for q in codes]
        np.testing.assert_allclose(found.activity_pca[replica], np.concatenate(expected), rtol=1e-4, atol=1e-6)
        activity = np.concatenate([np.var(q.loc.numpy(), axis=0) for q in codes])
        np.testing.assert_allclose(found.activity[replica], activity, rtol=1e-4, atol=1e-7)


# ---- a trained pack ----

CELLS = {
    "plain": {},
    "gaussian": {"decoder": "gaussian"},
    "batch_norm": {"batch_norm": True},
    "tanh": {"model__encoder_logvar_head": "tanh"},
    "two_layers": {"model__layers_above": "8-z2"},
}


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_of_a_trained_model(cell, data):
    """Upper layers add nothing to I; the mismatch is that of all layers' aggregate with their joint prior."""
    learner = trained(cell, data, (0, 5))
    normalise = fixed_statistics({})
    images = data.train[:110]
    if cell.get("batch_norm"):
        # Any statistics do, if both computations take the same.
        normalise = batch_statistics()
        images = images[:100]
    network = networks.Model(learner.parameters, learner.architecture, normalise)
    found = mutual_information(network, images, learner.seeds, 1)
    for replica, seed in enumerate((0, 5)):
        model = Model(learner.parameters, tiny.settings(**cell), replica)
        noise = [noise_of(seed, len(images), n, layer=layer) for layer, (_, n) in enumerate(model.layers)]
        with torch.no_grad():
            q, z = model.latents(images, noise)
            information = terms_of(q[0], z[0])["mutual_information"].mean()
            mismatch = -model.log_ratio(q, z).mean() - information
        assert found["mutual_information"][replica].item() == pytest.approx(information.item(), rel=1e-4)
        assert found["marginal_kl"][replica].item() == pytest.approx(mismatch.item(), rel=1e-4, abs=1e-4)


def test_images_taken_at_once_change_no_number(data, monkeypatch):
    learner = trained({}, data, (0, 5))
    args = plain(learner), data.train, learner.seeds, 1
    whole = mutual_information(*args)
    monkeypatch.setattr(information, "_ROWS", 7)
    for name, value in mutual_information(*args).items():
        torch.testing.assert_close(value, whole[name], rtol=1e-9, atol=1e-9)


def test_a_diverged_replica_leaves_its_neighbour_as_it_is(data):
    learner = trained({}, data, (0, 5))
    model = plain(learner)
    before = mutual_information(model, data.train, learner.seeds, 1)
    broken = {name: torch.stack([p[0].detach(), p[1].detach() * torch.nan]) for name, p in learner.parameters.items()}
    after = mutual_information(dataclasses.replace(model, parameters=broken), data.train, learner.seeds, 1)
    for name, value in before.items():
        assert torch.equal(after[name][0], value[0])
        assert after[name][1].isnan()


# ---- negative controls ----


def _without_own(mean, log_variance, z):
    pairs = Normal(mean, torch.exp(log_variance / 2)).log_prob(z[:, None]).sum(-1)
    return torch.logsumexp(pairs.fill_diagonal_(-math.inf), 1) - math.log(len(z) - 1)


FAULTS = {
    "no log n": ("_log_aggregate", lambda f: lambda m, v, z: f(m, v, z) + math.log(len(z))),
    "own image left out": ("_log_aggregate", lambda f: _without_own),
    "variance for precision": ("_log_aggregate", lambda f: lambda m, v, z: f(m, -v, z)),
    "no constant": ("_log_q", lambda f: lambda m, v, z: f(m, v, z) + z.shape[1] * 0.5 * information.LOG_2PI),
    "mean for sample": ("_log_q", lambda f: lambda m, v, z: f(m, v, m)),
}


@pytest.mark.parametrize(("name", "fault"), FAULTS.values(), ids=FAULTS)
def test_the_check_sees_a_fault(name, fault, data, monkeypatch):
    monkeypatch.setattr(information, name, fault(getattr(information, name)))
    with pytest.raises(AssertionError):
        test_of_a_trained_model({}, data)
