"""Every setting of training: two epochs against the plain network in float64; schedules and initial values."""

import numpy as np
import pytest
import scipy.stats
import torch

from tests.workers import reference
from tests.workers.variants import CELLS, CYCLES, NORMED, THREE, TWO, images_of, learner_of, settings_of
from workers.contract.schedules import learning_rate_at
from workers.model import networks
from workers.model.inputs import pixel_mean
from workers.model.layers import fixed_statistics
from workers.model.networks import encode, log_likelihood

# ---- two epochs of a pack are those of the plain network ----


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_two_epochs_are_those_of_the_plain_network(cell):
    members = [settings_of(cell, {"seed": 0}), settings_of(cell, {"seed": 5, "warmup": 0})]
    data = images_of(members[0].data, members[0].measure)
    learner = learner_of(*members)
    start = {name: tensor.detach().clone() for name, tensor in learner.parameters.items()}
    results = np.array([[column.numpy() for column in learner.train_epoch(epoch)] for epoch in (1, 2)])
    for replica, settings in enumerate(members):
        initial = reference.initial_values(settings, 64, data.train.double().numpy().mean(0))
        assert start.keys() == initial.keys()
        for name, values in initial.items():
            np.testing.assert_allclose(start[name][replica].numpy(), values, rtol=1e-6, atol=1e-6, err_msg=name)
        own = {name: tensor[replica : replica + 1] for name, tensor in start.items()}
        expected = reference.train(own, settings, data.train, (1, 2))
        np.testing.assert_allclose(results[..., replica], expected.results, rtol=2e-6)
        for name, values in expected.parameters.items():
            found = learner.parameters[name][replica].detach().numpy()
            np.testing.assert_allclose(found, values, rtol=1e-4, atol=1e-4, err_msg=name)
        is_running = settings.batch_norm and settings.model.bn_statistics == "running"
        assert learner.statistics.keys() == (expected.statistics.keys() if is_running else set())
        for name, pair in learner.statistics.items():
            for found, values in zip(pair, expected.statistics[name], strict=True):
                np.testing.assert_allclose(found[replica, 0].numpy(), values, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("scope", ["hidden", "hidden_and_latent"])
@pytest.mark.parametrize("gradient", ["standard", "stl", "dreg"])
def test_evaluation_with_running_statistics_is_torchs(scope, gradient):
    cell = {**TWO, **NORMED, "model.bn_statistics": "running", "model.bn_scope": scope, "objective.gradient": gradient}
    settings = settings_of(cell)
    data, learner = images_of(settings.data, settings.measure), learner_of(settings)
    start = {name: tensor.detach().clone() for name, tensor in learner.parameters.items()}
    for epoch in (1, 2, 3):
        learner.train_epoch(epoch)
    statistics = reference.train(start, settings, data.train, (1, 2, 3)).statistics
    model = reference.Model(learner.parameters, settings)
    network = networks.Model(learner.parameters, learner.architecture, fixed_statistics(learner.statistics))
    mean, log_variance = encode(network, data.test[None])
    q = model.posterior(data.test, statistics)
    close = {"rtol": 1e-3, "atol": 1e-3, "check_dtype": False}
    torch.testing.assert_close(mean[0, 0], q.loc, **close)
    torch.testing.assert_close(log_variance[0, 0], 2 * q.scale.log(), **close)
    found = log_likelihood(network, data.test[None], mean)
    torch.testing.assert_close(found[0], model.log_likelihood(data.test, q.loc[None], statistics), **close)


@pytest.mark.parametrize("gradient", ["stl", "dreg"])
def test_another_gradient_moves_running_statistics_as_the_standard_one_does(gradient):
    """One step, before parameters differ: the second passes of upper encoders move nothing."""
    cell = {**THREE, **NORMED, "model.bn_statistics": "running", "training.batch_size": 200}
    learners = [learner_of(settings_of(cell, {"objective.gradient": name})) for name in ("standard", gradient)]
    for learner in learners:
        learner.train_epoch(0)
        assert all(m.eq(0).all() and v.eq(1).all() for m, v in learner.statistics.values())
        learner.train_epoch(1)
    one, other = (learner.statistics for learner in learners)
    assert one.keys() == other.keys()
    for name in one:
        assert all(torch.equal(a, b) for a, b in zip(one[name], other[name], strict=True)), name


# ---- schedules and initial values that two epochs cannot show ----


def test_burdas_schedule_is_their_list():
    """Epochs 1, 2-4, 5-13, 14-40, ...: written out, not computed."""
    rates = (1e-3, 7.2e-4, 5.2e-4, 3.7e-4, 2.7e-4, 1.9e-4, 1.4e-4, 1e-4)
    first, last = (1, 2, 5, 14, 41, 122, 365, 1094), (1, 4, 13, 40, 121, 364, 1093, 3280)
    training = settings_of({"training.schedule": "burda", "training.learning_rate": 1e-3}).training
    found = [learning_rate_at(epoch, training) for epoch in range(1, 3_400)]
    expected = [rate for rate, a, b in zip(rates, first, last, strict=True) for _ in range(a, b + 1)] + 119 * [1e-4]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(reference.BURDA_RATES, expected[:3280], rtol=1e-12)


@pytest.mark.parametrize("over", [1, 4, 10, 328, 6560])
def test_a_schedule_over_other_epochs_is_scaled(over):
    settings = settings_of({"training.schedule": "burda", "training.schedule_over": over})
    epochs = range(1, 2 * over)
    found = [learning_rate_at(epoch, settings.training) for epoch in epochs]
    np.testing.assert_allclose(found, [reference.rate_of(settings, epoch) for epoch in epochs], rtol=1e-12)


def test_two_cycles_are_these_and_then_beta_stays():
    """Two epochs up and two at the top, twice; written out."""
    learner = learner_of(settings_of({**CYCLES, "warmup": 2, "objective.warmup_share": 0.5, "objective.warmup_by": "epoch"}))
    assert [learner.betas(epoch)[0] for epoch in range(1, 12)] == [0, 0.5, 1, 1, 0, 0.5, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("by", ["epoch", "step"])
@pytest.mark.parametrize("shape", [(3, 1, 0.5), (2, 3, 0.8), (5, 2, 1.0)], ids=str)
def test_beta_of_every_step_is_the_references(shape, by):
    names = ("warmup", "objective.warmup_cycles", "objective.warmup_share")
    settings = settings_of(dict(zip(names, shape, strict=True)), {"objective.warmup_by": by, "objective.beta": 0.7})
    learner = learner_of(settings)
    for epoch in range(1, 15):
        expected = [reference.beta_of(settings, epoch, offset, learner.steps_an_epoch) for offset in range(3)]
        found = [learner._betas_of_step(epoch, offset if by == "step" else 0)[0] for offset in range(3)]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
        assert learner.betas(epoch)[0] == pytest.approx(np.mean(expected), abs=1e-9)


def test_uniform_weights_are_uniform_and_of_glorots_variance():
    """Kolmogorov and Smirnov's test of every matrix against U(+-sqrt(6 / (n_in + n_out)))."""
    learner = learner_of(settings_of({"model.init": "glorot_uniform", "model.hidden": (50, 40), "n_z": 20, **TWO}))
    for name, (n_in, n_out) in learner.architecture.layers().items():
        limit = (6 / (n_in + n_out)) ** 0.5
        weights = learner.parameters[f"{name}.weight"].detach().double().numpy().ravel()
        assert np.abs(weights).max() <= limit
        assert scipy.stats.kstest(weights, "uniform", (-limit, 2 * limit)).pvalue > 1e-4, name


def test_an_output_bias_makes_the_mean_of_an_empty_decoder_that_of_the_pixels():
    settings = settings_of({"model.output_bias": "data_mean"})
    bias, data = (
        learner_of(settings).parameters["decoder.logits.bias"][0, 0].detach().double(),
        images_of(settings.data, settings.measure),
    )
    torch.testing.assert_close(torch.sigmoid(bias), pixel_mean(data).clamp(0.001, 0.999), rtol=1e-5, atol=1e-7)
