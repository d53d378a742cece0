"""Adam against its own formulas in numpy."""

import numpy as np
import pytest
import tiny
import torch
from reference import Adam

from workers.optimizer import adam, step

# From gradients that epsilon outweighs to some that it does not touch.
SCALES = 10.0 ** np.linspace(-8, 2, 11)


def trained(settings, steps):
    rng = np.random.default_rng(0)
    p = torch.from_numpy(rng.standard_normal((2, 3, 11))).requires_grad_()
    expected = {"p": p.detach().numpy().copy()}
    optimizer, reference = adam([p], settings.training), Adam(settings)
    for t in range(1, steps + 1):
        gradient = rng.standard_normal((2, 3, 11)) * SCALES
        p.grad = torch.from_numpy(gradient.copy())
        step(optimizer, settings.training, t)
        expected = reference.step(expected, {"p": gradient})
    return p.detach().numpy(), expected["p"]


@pytest.mark.parametrize("mode", ["tf1", "torch"])
@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.9), (0.9, 0.999), (0.0, 0.5)], ids=str)
def test_is_kingma_and_bas(mode, beta1, beta2):
    settings = tiny.settings(training__epsilon_mode=mode, training__beta1=beta1, training__beta2=beta2)
    found, expected = trained(settings, steps=12)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


def test_the_place_of_epsilon_matters():
    tf1, _ = trained(tiny.settings(training__epsilon_mode="tf1"), steps=3)
    other, _ = trained(tiny.settings(training__epsilon_mode="torch"), steps=3)
    assert np.abs(tf1 - other).max() > 1e-4


def test_a_step_is_about_the_learning_rate():
    """Kingma and Ba 2015, sec. 2.1: the first step of a clear gradient is alpha, whatever its size."""
    p = torch.zeros(1, 1, 2, dtype=torch.float64, requires_grad=True)
    settings = tiny.settings(training__epsilon=1e-12).training
    p.grad = torch.tensor([[[5.0, -1e4]]], dtype=torch.float64)
    step(adam([p], settings), settings, 1)
    np.testing.assert_allclose(p.detach().numpy().ravel(), [-1e-3, 1e-3], rtol=1e-9)
