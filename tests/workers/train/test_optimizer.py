"""Adam against its own formulas in numpy."""

import numpy as np
import pytest
import torch

from tests.workers import reference, tiny
from workers.train.optimizer import Adam

# From gradients that epsilon outweighs to some that it does not touch.
SCALES = 10.0 ** np.linspace(-8, 2, 11)


def trained(settings, steps):
    rng = np.random.default_rng(0)
    shapes = {"p": (2, 3, 11), "q": (1, 11)}
    expected = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    parameters = {name: torch.from_numpy(values.copy()).requires_grad_() for name, values in expected.items()}
    optimizer, plain = Adam(parameters, settings.training), reference.Adam(settings)
    for t in range(1, steps + 1):
        gradients = {name: rng.standard_normal(shape) * SCALES for name, shape in shapes.items()}
        optimizer.step(
            [torch.from_numpy(gradient.copy()) for gradient in gradients.values()], t, settings.training.learning_rate
        )
        expected = plain.step(expected, gradients)
    for name, p in parameters.items():
        np.testing.assert_allclose(optimizer.moments[name]["exp_avg"].numpy(), plain.m[name], rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(optimizer.moments[name]["exp_avg_sq"].numpy(), plain.v[name], rtol=1e-12, atol=1e-30)
        np.testing.assert_allclose(p.detach().numpy(), expected[name], rtol=1e-12, atol=1e-15)
    return parameters["p"].detach().numpy()


@pytest.mark.parametrize("mode", ["tf1", "torch"])
@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.9), (0.9, 0.999), (0.0, 0.5)], ids=str)
def test_is_kingma_and_bas(mode, beta1, beta2):
    settings = tiny.settings(training__epsilon_mode=mode, training__beta1=beta1, training__beta2=beta2)
    trained(settings, steps=12)


def test_the_place_of_epsilon_matters():
    tf1 = trained(tiny.settings(training__epsilon_mode="tf1"), steps=3)
    other = trained(tiny.settings(training__epsilon_mode="torch"), steps=3)
    assert np.abs(tf1 - other).max() > 1e-4


def test_a_step_is_about_the_learning_rate():
    """Kingma and Ba 2015, sec. 2.1: the first step of a clear gradient is alpha, whatever its size."""
    p = torch.zeros(1, 1, 2, dtype=torch.float64, requires_grad=True)
    settings = tiny.settings(training__epsilon=1e-12).training
    Adam({"p": p}, settings).step([torch.tensor([[[5.0, -1e4]]], dtype=torch.float64)], 1, settings.learning_rate)
    np.testing.assert_allclose(p.detach().numpy().ravel(), [-1e-3, 1e-3], rtol=1e-9)
