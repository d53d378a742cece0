"""What is measured, against a second computation in float64; and the trap: other images must not count."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from tests.workers import reference, tiny
from workers.contract.streams import Stream, generator
from workers.measure.every_epoch import measure
from workers.measure.importance import importance_bounds
from workers.measure.posterior import evaluation_statistics
from workers.model.layers import batch_statistics

CELLS = {
    "bernoulli": {},
    "k5": {"k": 5},
    "gaussian": {"decoder": "gaussian"},
    "batch_norm": {"batch_norm": True},
    "gaussian_batch_norm_k5": {"decoder": "gaussian", "batch_norm": True, "k": 5},
}
cells = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)


def trained(cell, epochs=1, data=None, seeds=(0, 1)):
    """A pack after some epochs, at ten times the usual speed so that units differ."""
    learner = tiny.learner(*({**cell, "seed": seed, "training__learning_rate": 0.01} for seed in seeds), data=data)
    for epoch in range(1, epochs + 1):
        learner.train_epoch(epoch)
    return learner


def measured(learner, data, epoch=1):
    return measure(learner.parameters, learner.architecture, data, learner.seeds, learner.k, epoch)


def nll(learner, data, samples, epoch):
    args = learner.parameters, learner.architecture
    normalise, _ = evaluation_statistics(*args, data.measured, learner.seeds, epoch)
    return importance_bounds(*args, data, learner.seeds, normalise, samples, epoch)["nll"]


def noise(seed, stream, epoch, shape, part=0):
    return torch.from_numpy(generator(seed, stream, epoch, part).standard_normal(shape, dtype=np.float32))


def expected_of(learner, replica, seed, settings, data, epoch):
    model = reference.Model(learner.parameters, settings, replica)
    statistics = None
    if settings.batch_norm:
        drawn = noise(seed, Stream.STATISTICS_NOISE, epoch, (1, len(data.measured), settings.n_z))[0]
        statistics = model.evaluation_statistics(data.measured, drawn)
    found = {}
    for suffix, images in (("", data.measured), ("_test", data.test)):
        q = model.posterior(images, statistics)
        found[f"activity{suffix}"] = np.var(q.loc.detach().numpy(), axis=0)
        if not suffix:
            found["activity_pca"] = np.linalg.eigvalsh(np.cov(q.loc.detach().numpy(), rowvar=False, ddof=0))[::-1]
            found |= {"saturated_mean": np.nan, "saturated_log_variance": np.nan}
        found[f"kl_per_unit{suffix}"] = kl_divergence(q, Normal(torch.zeros(()), torch.ones(()))).mean(0)
        if not suffix:
            found["posterior_mean"], found["posterior_variance"] = q.loc.mean(0), q.variance.mean(0)
    log_px, log_w = [], []
    for part, x in enumerate(data.test.split(100)):
        drawn = noise(seed, Stream.TEST_NOISE, epoch, (settings.k, len(x), settings.n_z), part)
        likelihood, ratio = model.sampled(x, drawn, statistics)
        log_px.append(likelihood)
        log_w.append(likelihood + ratio)
    log_px, log_w = torch.cat(log_px, 1), torch.cat(log_w, 1)
    w = torch.softmax(log_w, 0)
    per_image = log_px.mean(0).detach().numpy()
    classes = data.test_classes.numpy()
    return found | {
        "test_bound": reference.log_mean_exp(log_w).mean(),
        "test_elbo": log_w.mean(),
        "test_reconstruction": log_px.mean(),
        "test_kl": found["kl_per_unit_test"].sum(),
        "ess": (1 / (w**2).sum(0) / settings.k).mean(),
        "reconstruction_per_class": [per_image[classes == c].mean() for c in range(10)],
    }


@cells
def test_measures_what_the_plain_network_says(cell):
    # More than one chunk of test images, and a small last one.
    data = tiny.digits(n_test=130)
    learner = trained(cell, data=data)
    found = measured(learner, data, epoch=3)
    for replica, seed in enumerate((0, 1)):
        expected = expected_of(learner, replica, seed, tiny.settings(**cell), data, 3)
        assert expected.keys() == {field.name for field in dataclasses.fields(found)}
        for name, values in expected.items():
            values = values.detach().numpy() if isinstance(values, torch.Tensor) else values
            np.testing.assert_allclose(getattr(found, name)[replica].numpy(), values, rtol=2e-5, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("above", ["12-z2", "8-z3-6-z2"])
def test_codes_of_several_layers_are_those_of_the_plain_network(above, batch_norm, data):
    """An upper layer's mu for one sample below it; KL of a lower layer against its prior at a sample above it."""
    cell = {"model__layers_above": above, "batch_norm": batch_norm}
    learner = trained(cell, 2)
    found = measured(learner, data, epoch=3)
    sizes = learner.architecture.latent
    for replica, seed in enumerate((0, 1)):
        model = reference.Model(learner.parameters, tiny.settings(**cell), replica)

        def drawn(stream, n, k=1, seed=seed):
            return [noise(seed, stream, 3, (k, n, n_z), part=layer << 56) for layer, n_z in enumerate(sizes)]

        statistics = None
        if batch_norm:
            of_all = [layer[0] for layer in drawn(Stream.STATISTICS_NOISE, len(data.measured))]
            statistics = model.evaluation_statistics(data.measured, of_all)
        train = Stream.STATISTICS_NOISE if batch_norm else Stream.MEASURED_NOISE
        for suffix, images, stream, k in (("", data.measured, train, 1), ("_test", data.test, Stream.TEST_NOISE, 2)):
            codes = [layer[0] for layer in drawn(stream, len(images), k)]
            q, z = model.latents(images, codes, statistics)
            kl = [q[i].log_prob(z[i]) - model.prior(i, z, statistics).log_prob(z[i]) for i in range(len(z) - 1)]
            kl.append(kl_divergence(q[-1], Normal(torch.zeros(()), torch.ones(()))))
            expected = {
                "activity": np.concatenate([np.var(layer.loc.detach().numpy(), axis=0) for layer in q]),
                "kl_per_unit": torch.cat([layer.mean(0) for layer in kl]).detach().numpy(),
            }
            for name, values in expected.items():
                column = getattr(found, f"{name}{suffix}")[replica].numpy()
                np.testing.assert_allclose(column, values, rtol=2e-4, atol=2e-5, err_msg=f"{name}{suffix}")


@cells
@pytest.mark.parametrize("epochs", [0, 3])
def test_activity_is_at_most_twice_the_kl(cell, epochs, data):
    """E KL_u >= (A_u + m_u^2) / 2: for every unit of any model on any images."""
    found = measured(trained(cell, epochs), data)
    assert (found.activity <= 2 * found.kl_per_unit + 1e-6).all()
    assert (found.activity_test <= 2 * found.kl_per_unit_test + 1e-6).all()
    assert (found.activity + found.posterior_mean**2 <= 2 * found.kl_per_unit + 1e-6).all()
    assert (found.activity > 0).all()


@cells
def test_bounds_are_in_order(cell, data):
    found = measured(trained(cell), data)
    k = cell.get("k", 2)
    assert (found.test_bound >= found.test_elbo).all()
    assert ((1 / k <= found.ess) & (found.ess <= 1)).all()


def test_one_sample_makes_both_bounds_one(data):
    found = measured(trained({"k": 1}), data)
    assert torch.equal(found.test_bound, found.test_elbo)
    assert found.ess.eq(1).all()


def test_a_constant_encoder_has_activity_0_exactly(data):
    learner = trained({})
    with torch.no_grad():
        learner.parameters["encoder.mean.weight"].zero_()
    found = measured(learner, data)
    assert found.activity.eq(0).all()
    assert found.activity_test.eq(0).all()


def test_a_class_without_test_images_has_no_number():
    data = tiny.digits(n_test=3)
    found = measured(trained({}, data=data), data).reconstruction_per_class
    there = set(data.test_classes.tolist())
    assert {c for c in range(10) if found[0, c].isfinite()} == there
    unlabelled = dataclasses.replace(data, test_classes=None, n_classes=0)
    assert measured(trained({}, data=unlabelled), unlabelled).reconstruction_per_class.shape == (2, 0)


def test_measuring_changes_no_parameter(data):
    learner = trained({"batch_norm": True})
    before = learner.state(1, (None, None))
    measured(learner, data)
    assert tiny.same_state(before, learner.state(1, (None, None)))


def test_statistics_of_evaluation_are_those_of_the_measured_images(data):
    learner = trained({"batch_norm": True})
    args = learner.parameters, learner.architecture, data.measured, learner.seeds
    normalise, _ = evaluation_statistics(*args, epoch=1)
    weight = learner.parameters["encoder.hidden0.weight"].detach()
    a = data.measured @ weight
    normalised = normalise("encoder.hidden0", a, torch.ones(2, 1, 16), torch.zeros(2, 1, 16)).double().numpy()
    np.testing.assert_allclose(normalised.mean(1), 0, atol=1e-5)
    variance = np.var(a.double().numpy(), axis=1)
    np.testing.assert_allclose(normalised.var(1), variance / (variance + 1e-5), rtol=1e-4)


# ---- nll ----


@pytest.mark.parametrize("decoder", ["bernoulli", "gaussian"])
def test_nll_is_the_integral_over_z(decoder, data):
    """With one latent unit p(x) is an integral that a grid computes to many digits."""
    settings = tiny.settings(decoder=decoder, n_z=1)
    learner = trained({"decoder": decoder, "n_z": 1}, epochs=2, seeds=(0,))
    with torch.no_grad():
        learner.parameters["decoder.hidden0.weight"].mul_(2)
        # A posterior that is too wide, which the weights must make good.
        learner.parameters["encoder.log_variance.bias"].add_(1.5)
    grid = torch.linspace(-9, 9, 601, dtype=torch.float64)
    model = reference.Model(learner.parameters, settings)
    z = grid[:, None, None].expand(-1, len(data.test), 1)
    log_joint = model.log_likelihood(data.test, z) + Normal(0.0, 1.0).log_prob(grid)[:, None]
    exact = -(torch.logsumexp(log_joint, 0) + math.log(18 / 600)).mean().item()
    assert nll(learner, data, samples=2000, epoch=2).item() == pytest.approx(exact, abs=0.02)
    assert -measured(learner, data).test_elbo.item() > exact + 0.2


@pytest.mark.parametrize("samples", [1, 7, 10, 23])
def test_nll_takes_the_samples_it_is_asked_for(samples):
    """Neither they nor the images need be a multiple of those taken at a time."""
    data = tiny.digits(n_test=130)
    learner = trained({}, seeds=(3,), data=data)
    model = reference.Model(learner.parameters, tiny.settings())
    bounds = []
    for part, x in enumerate(data.test.split(100)):
        groups = [
            noise(3, Stream.NLL_NOISE, 1, (min(10, samples - start), len(x), 3), part=(part << 32) + group)
            for group, start in enumerate(range(0, samples, 10))
        ]
        log_px, ratio = model.sampled(x, torch.cat(groups))
        bounds.append(reference.log_mean_exp(log_px + ratio))
    expected = -torch.cat(bounds).mean().item()
    found = nll(learner, data, samples, epoch=1)
    assert found.item() == pytest.approx(expected, rel=1e-5)


# ---- the trap: K samples of one image, never of several ----


def tile_bug(log_w):
    """tf.tile(x, [K, 1]) orders x1..xB, x1..xB, ...; reshape to [B, K] then groups K different images."""
    k, batch = log_w.shape[-2:]
    grouped = log_w.reshape(*log_w.shape[:-2], batch, k)
    return torch.logsumexp(grouped, -1) - math.log(k)


def assert_other_images_do_not_count_in_training(learner, data):
    x = data.test[:30].expand(2, -1, -1)
    beta = torch.ones(2, 1, 1)
    with torch.no_grad():
        both = learner._objective(x, beta, 1)
        for i in (0, 13, 29):
            others = data.measured[:30].clone()
            shuffled = x[0].roll(7, 0)
            for batch in (others, shuffled):
                batch[i] = x[0, i]
                changed = learner._objective(batch.expand(2, -1, -1), beta, 1)
                for before, after in zip(both, changed, strict=True):
                    torch.testing.assert_close(after[:, i], before[:, i], rtol=1e-6, atol=0)


def assert_other_images_do_not_count_in_evaluation(learner, data):
    """What an exchange of image i changes in a mean over images is the same whoever the others are."""
    i, (one, other), (here, there) = 5, data.measured[:2], (data.test[:20], data.measured[20:40])
    results = {}
    for (a, image), (b, rest) in itertools.product(enumerate((one, other)), enumerate((here, there))):
        images = rest.clone()
        images[i] = image
        test = dataclasses.replace(data, test=images, test_classes=None)
        found = measured(learner, test)
        columns = found.test_bound, found.test_elbo, found.test_reconstruction, found.ess, nll(learner, test, 12, 1)
        results[a, b] = torch.stack(columns)
    change_here, change_there = (20 * (results[1, b] - results[0, b]) for b in (0, 1))
    assert (change_here.abs().amax(1) > 1e-3).all()
    torch.testing.assert_close(change_here, change_there, rtol=0, atol=1e-6)


@pytest.mark.parametrize("cell", [{"k": 1}, {"k": 5}, {"k": 5, "decoder": "gaussian"}], ids=str)
def test_other_images_do_not_count_in_training(cell, data):
    assert_other_images_do_not_count_in_training(trained(cell), data)


def test_the_check_sees_the_tile_bug_in_training(data, monkeypatch):
    learner = trained({"k": 5})
    monkeypatch.setattr("workers.train.learner.iwae_bound", tile_bug)
    with pytest.raises(AssertionError, match="not close"):
        assert_other_images_do_not_count_in_training(learner, data)


def test_batch_normalisation_makes_other_images_count_in_training(data):
    """That is what it does, and why evaluation does not use the statistics of a batch."""
    with pytest.raises(AssertionError, match="not close"):
        assert_other_images_do_not_count_in_training(trained({"batch_norm": True}), data)


@cells
def test_other_images_do_not_count_in_evaluation(cell, data):
    assert_other_images_do_not_count_in_evaluation(trained(cell), data)


def test_the_check_sees_the_tile_bug_in_evaluation(data, monkeypatch):
    learner = trained({"k": 5})
    monkeypatch.setattr("workers.measure.every_epoch.iwae_bound", tile_bug)
    with pytest.raises(AssertionError, match="not close"):
        assert_other_images_do_not_count_in_evaluation(learner, data)


def test_the_check_sees_batch_statistics_in_evaluation(data, monkeypatch):
    learner = trained({"batch_norm": True})
    monkeypatch.setattr("workers.measure.posterior.fixed_statistics", lambda seen: batch_statistics())
    with pytest.raises(AssertionError, match="not close"):
        assert_other_images_do_not_count_in_evaluation(learner, data)
