"""The networks of a pack against torch's own layers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from tests.workers import tiny
from tests.workers.reference import Model
from workers.contract.streams import Stream, generator
from workers.model import networks
from workers.model.architecture import architecture_of, initial_parameters
from workers.model.layers import ACTIVATIONS, batch_statistics, fixed_statistics
from workers.model.networks import encode, log_likelihood

numbers = st.integers(0, 2**32 - 1)


def normal(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def parameters_of(settings, seeds, n_x=9):
    """Far enough from the start that biases, scales and every layer count."""
    architecture = architecture_of(settings, n_x)
    drawn = initial_parameters(architecture, seeds, tiny.CPU)
    moved = {name: t.double() + 0.3 * normal(i, *t.shape) for i, (name, t) in enumerate(drawn.items())}
    return moved, architecture


VARIANTS = {
    "plain": {},
    "deep": {"model__hidden": (7, 5, 4)},
    "tanh": {"model__activation": "tanh"},
    "relu": {"model__activation": "relu"},
    "gaussian": {"decoder": "gaussian"},
    "batch_norm": {"batch_norm": True, "model__hidden": (7, 5)},
    "gaussian_batch_norm": {"decoder": "gaussian", "batch_norm": True},
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_every_replica_is_the_plain_network(variant):
    settings = tiny.settings(**variant)
    parameters, architecture = parameters_of(settings, [0, 1])
    x = (normal(1, 2, 6, 9) > 0).double()
    noise = normal(2, 2, 4, 6, 3)
    model = networks.Model(parameters, architecture, batch_statistics())
    mean, log_variance = encode(model, x)
    z = mean + noise
    found = log_likelihood(model, x, z)
    for replica in range(2):
        reference = Model(parameters, settings, replica)
        q = reference.posterior(x[replica])
        torch.testing.assert_close(mean[replica, 0], q.loc)
        torch.testing.assert_close(log_variance[replica, 0], 2 * q.scale.log())
        torch.testing.assert_close(found[replica], reference.log_likelihood(x[replica], z[replica]))


def test_gradient_of_softplus_activation():
    a = torch.tensor([-30.0, -2.0, -1e-3, 0.5, 3.0, 30.0], dtype=torch.float64, requires_grad=True)
    assert gradcheck(ACTIVATIONS["softplus"], (a,))


def test_gradient_of_batch_normalisation():
    inputs = [normal(seed, *shape).requires_grad_() for seed, shape in enumerate([(2, 5, 3), (2, 1, 3), (2, 1, 3)])]
    normalise = batch_statistics()
    assert gradcheck(lambda *tensors: normalise("layer", *tensors), inputs)


@tiny.LAWS
@given(st.integers(1, 3), st.integers(2, 8), st.integers(1, 5), numbers)
def test_batch_normalisation_of_a_replica_is_torchs(replicas, rows, units, seed):
    a = (3 * normal(seed, replicas, rows, units) + 2).requires_grad_()
    scale, shift = (normal(seed + i, replicas, 1, units).requires_grad_() for i in (1, 2))
    upstream = normal(seed + 3, replicas, rows, units)
    seen = {}
    out = batch_statistics(seen)("layer", a, scale, shift)
    (out * upstream).sum().backward()
    evaluated = fixed_statistics(seen)("layer", a.detach(), scale, shift)
    for r in range(replicas):
        layer = torch.nn.BatchNorm1d(units, eps=1e-5, momentum=1.0, dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(scale[r, 0])
            layer.bias.copy_(shift[r, 0])
        own = a[r].detach().clone().requires_grad_()
        expected = layer(own)
        (expected * upstream[r]).sum().backward()
        close = {"rtol": 1e-8, "atol": 1e-9}
        torch.testing.assert_close(out[r], expected, **close)
        torch.testing.assert_close(a.grad[r], own.grad, **close)
        torch.testing.assert_close(scale.grad[r, 0], layer.weight.grad, **close)
        torch.testing.assert_close(shift.grad[r, 0], layer.bias.grad, **close)
        mean, variance = (statistic[r, 0] for statistic in seen["layer"])
        torch.testing.assert_close(mean, layer.running_mean)
        torch.testing.assert_close(variance * rows / (rows - 1), layer.running_var)
        # torch evaluates with the divisor n - 1; ours is n, so that evaluating the same rows gives the same numbers.
        layer.running_var.copy_(variance)
        torch.testing.assert_close(evaluated[r], layer.eval()(a[r].detach()), **close)
        torch.testing.assert_close(evaluated[r], out[r].detach(), **close)


def test_decoder_statistics_are_those_of_all_samples_of_all_images():
    settings = tiny.settings(batch_norm=True)
    parameters, architecture = parameters_of(settings, [0])
    z, x = normal(1, 1, 5, 6, 3), torch.ones(1, 6, 9, dtype=torch.float64)
    seen = {}
    log_likelihood(networks.Model(parameters, architecture, batch_statistics(seen)), x, z)
    a = z.reshape(30, 3) @ parameters["decoder.hidden0.weight"][0]
    torch.testing.assert_close(seen["decoder.hidden0"][0][0, 0], a.mean(0))
    torch.testing.assert_close(seen["decoder.hidden0"][1][0, 0], a.var(0, unbiased=False))


@pytest.mark.parametrize("decoder", ["bernoulli", "gaussian"])
def test_layers_mirror_each_other(decoder):
    architecture = architecture_of(tiny.settings(decoder=decoder, model__hidden=(20, 10), n_z=4), 64)
    heads = {"decoder.logits"} if decoder == "bernoulli" else {"decoder.mean", "decoder.log_variance"}
    assert architecture.layers() == {
        "encoder.hidden0": (64, 20),
        "encoder.hidden1": (20, 10),
        "encoder.mean": (10, 4),
        "encoder.log_variance": (10, 4),
        "decoder.hidden0": (4, 10),
        "decoder.hidden1": (10, 20),
        **dict.fromkeys(heads, (20, 64)),
    }


def test_initial_weights_are_glorot_normal_and_the_rest_is_plain():
    architecture = architecture_of(tiny.settings(batch_norm=True, model__hidden=(200, 100), n_z=50), 784)
    parameters = initial_parameters(architecture, [0, 1], tiny.CPU)
    for name, (n_in, n_out) in architecture.layers().items():
        weight = parameters[f"{name}.weight"].double()
        assert weight.shape == (2, n_in, n_out)
        n = n_in * n_out
        variance = 2 / (n_in + n_out)
        # Five standard errors.
        assert (weight.var((1, 2)) - variance).abs().max() < 5 * variance * (2 / n) ** 0.5
        assert weight.mean((1, 2)).abs().max() < 5 * (variance / n) ** 0.5
        assert parameters[f"{name}.bias"].eq(0).all()
        if ".hidden" in name:
            assert parameters[f"{name}.scale"].eq(1).all()
    assert {name.rsplit(".", 1)[0] for name in parameters if name.endswith(".scale")} == {
        "encoder.hidden0",
        "encoder.hidden1",
        "decoder.hidden0",
        "decoder.hidden1",
    }


def test_weights_follow_from_the_seed():
    architecture = architecture_of(tiny.settings(), 9)
    packed = initial_parameters(architecture, [4, 7, 4], tiny.CPU)
    alone = initial_parameters(architecture, [7], tiny.CPU)
    drawn = generator(7, Stream.WEIGHTS, 0).standard_normal((9, 16), dtype=np.float32) * np.float32((2 / 25) ** 0.5)
    np.testing.assert_array_equal(alone["encoder.hidden0.weight"][0].numpy(), drawn)
    for name, tensor in packed.items():
        assert torch.equal(tensor[1], alone[name][0])
        assert torch.equal(tensor[0], tensor[2])
    assert not torch.equal(packed["encoder.mean.weight"][0], packed["encoder.mean.weight"][1])


def test_cells_share_the_weights_of_equal_layers():
    narrow, wide = (
        initial_parameters(architecture_of(tiny.settings(**variant), 9), [0], tiny.CPU)
        for variant in ({"n_z": 3}, {"n_z": 8, "batch_norm": True})
    )
    assert torch.equal(narrow["encoder.hidden0.weight"], wide["encoder.hidden0.weight"])
    assert torch.equal(narrow["decoder.logits.weight"], wide["decoder.logits.weight"])
