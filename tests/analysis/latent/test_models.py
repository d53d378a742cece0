"""Models read from weights files give what a float64 reference gives."""

import numpy as np
import pytest
import torch

from analysis.latent.models import codes, decode, read_model, reconstruct
from tests.analysis.latent.trained_study import CPU, ID, edited
from tests.workers import reference
from workers.contract.errors import RecordError
from workers.contract.settings_table import settings_from
from workers.model.architecture import architecture_of, initial_parameters, initial_statistics
from workers.store.folder import FolderStore
from workers.store.keys import weights_key
from workers.train.checkpoint import State, weights_to_bytes

CELLS = {
    "bernoulli": {},
    "batch norm": {"batch_norm": True, "model.bn_scope": "hidden_and_latent"},
    "gaussian tanh": {"decoder": "gaussian", "model.encoder_mean_head": "sigmoid", "model.activation": "tanh"},
    "gaussian clamped": {"decoder": "gaussian", "model.decoder_logvar": "linear_clamped", "model.activation": "relu"},
    "gaussian global": {"decoder": "gaussian", "model.decoder_logvar": "global", "batch_norm": True},
    "gaussian fixed": {"decoder": "gaussian", "model.decoder_logvar": "fixed", "model.encoder_mean_head": "activation"},
    "continuous": {"decoder": "continuous_bernoulli", "model.activation": "leaky_relu"},
    "deep": {"model.layers_above": "7-6-z4-5-z2", "batch_norm": True, "model.bn_scope": "hidden_and_latent"},
    "deep, no batch norm": {"model.layers_above": "6-z2", "decoder": "gaussian", "model.encoder_mean_head": "sigmoid"},
}


def store_random(root, **values):
    """Weights of random size, stored as a worker does; and what they were."""
    settings = settings_from({"n_z": 5, "model.hidden": (9, 8), **values})
    architecture = architecture_of(settings, 16)
    draw = torch.Generator().manual_seed(5)

    def noisy(tensor):
        return tensor + 0.5 * torch.randn(tensor.shape, generator=draw)

    parameters = {name: noisy(t) for name, t in initial_parameters(architecture, [0, 1], CPU).items()}
    statistics = {
        name: (noisy(mean), (variance + torch.rand(variance.shape, generator=draw)))
        for name, (mean, variance) in initial_statistics(architecture, 2, CPU).items()
    }
    facts = {"trial_id": ID, "epoch": 7, "settings": settings.model_dump(mode="json")}
    state = State(7, 70, parameters, {}, (None, None), 1.0)
    assert FolderStore(root).create(weights_key(ID, 7), weights_to_bytes(state, 1, facts, statistics))
    return settings, parameters, {name: (m[1, 0].double(), v[1, 0].double()) for name, (m, v) in statistics.items()}


@pytest.mark.parametrize("values", CELLS.values(), ids=CELLS)
def test_outputs_are_those_of_the_float64_reference(tmp_path, values):
    settings, parameters, statistics = store_random(tmp_path, **values)
    model = read_model(tmp_path, ID)
    assert (model.epoch, model.settings) == (7, settings)
    other = reference.Model(parameters, settings, replica=1)
    x = torch.rand(1200, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)  # more than one part
    means = [x]
    for layer in range(len(other.layers)):
        means.append(other.posterior(means[-1], statistics, layer=layer).loc)

    def pixels(z):
        h = other.hidden("decoder", z, statistics)
        if settings.decoder == "gaussian":
            return torch.sigmoid(other.affine("decoder.mean", h))
        logits = other.affine("decoder.logits", h)
        if settings.decoder == "bernoulli":
            return torch.sigmoid(logits)
        # torch's ContinuousBernoulli ends at logits of 36.
        return 0.5 + 0.5 / torch.tanh(logits / 2) - 1 / logits

    with torch.no_grad():
        # The hidden layers' softplus is hand-written, to 1e-7.
        tolerance = {"rtol": 1e-6, "atol": 1e-7}
        np.testing.assert_allclose(codes(model, x.numpy()), means[-1].numpy(), **tolerance)
        np.testing.assert_allclose(codes(model, x.numpy(), layer=0), means[1].numpy(), **tolerance)
        np.testing.assert_allclose(reconstruct(model, x.numpy()), pixels(means[1]).numpy(), **tolerance)
        z = [*[None] * (len(other.layers) - 1), torch.linspace(-3, 3, 20 * other.layers[-1][1]).double().reshape(20, -1)]
        for layer in reversed(range(len(other.layers) - 1)):
            z[layer] = other.prior(layer, z, statistics).loc
        np.testing.assert_allclose(decode(model, z[-1].detach().numpy()), pixels(z[0]).numpy(), **tolerance)


def test_planted_weights_give_the_codes_and_pixels_that_were_planted(tmp_path):
    settings = settings_from({"n_z": 2, "model.hidden": (4,), "model.activation": "relu"})
    weights = {
        "encoder.hidden0.weight": torch.eye(4),
        "encoder.hidden0.bias": torch.zeros(1, 4),
        "encoder.mean.weight": torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0], [-1.0, 0.0]]),
        "encoder.mean.bias": torch.tensor([[0.5, -1.0]]),
        "encoder.log_variance.weight": torch.zeros(4, 2),
        "encoder.log_variance.bias": torch.zeros(1, 2),
        "decoder.hidden0.weight": torch.tensor([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]]),
        "decoder.hidden0.bias": torch.zeros(1, 4),
        "decoder.logits.weight": torch.eye(4),
        "decoder.logits.bias": torch.zeros(1, 4),
    }
    facts = {"trial_id": ID, "epoch": 3, "settings": settings.model_dump(mode="json")}
    state = State(3, 30, {name: tensor[None] for name, tensor in weights.items()}, {}, (None,), 1.0)
    FolderStore(tmp_path).create(weights_key(ID, 3), weights_to_bytes(state, 0, facts, {}))
    model = read_model(str(tmp_path), ID)
    x = np.array([[1.0, 0.0, 1.0, 0.0], [0.25, 0.5, 0.0, 1.0]])
    assert codes(model, x).tolist() == [[1.5, -1.0], [-0.25, 0.0]]
    expected = 1 / (1 + np.exp(-np.array([[1.5, 0, 0, 1.0], [0, 0.25, 0, 0]])))
    np.testing.assert_allclose(reconstruct(model, x), expected, rtol=1e-12)
    np.testing.assert_allclose(decode(model, np.array([[1.5, -1.0], [-0.25, 0.0]])), expected, rtol=1e-12)


def test_the_longest_training_is_read_unless_another_is_asked_for(tmp_path):
    store_random(tmp_path)
    store = FolderStore(tmp_path)
    raw = store.read(weights_key(ID, 7))
    for epoch in (900, 1_000_000):
        store.create(weights_key(ID, epoch), edited(raw, facts=lambda f, epoch=epoch: f.update(epoch=epoch)))
    assert read_model(tmp_path, ID).epoch == 1_000_000
    assert read_model(tmp_path, ID, epochs=7).epoch == 7
    with pytest.raises(RecordError, match=r"000008\.safetensors: .*missing"):
        read_model(tmp_path, ID, epochs=8)
    with pytest.raises(RecordError, match=r"weights/ffffffffffffffff-\*\.safetensors: .*missing"):
        read_model(tmp_path, "f" * 16)
