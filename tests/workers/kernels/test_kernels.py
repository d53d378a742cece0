"""Triton's kernels through its interpreter against torch, kernel by kernel and in whole steps."""

import subprocess
import sys

import pytest
import torch

from benchmarks.kernel_checks import CHECKS, TOLERANCE
from tests import ROOT
from tests.workers.variants import CELLS, TWO, learner_of, settings_of
from workers.kernels import available as kernels
from workers.kernels import pixels as kernels_pixels
from workers.kernels.available import has_kernels

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def on_the_cpu():
    """Whatever has kernels takes them on the CPU too."""
    kernels.DEVICES.append("cpu")
    yield
    kernels.DEVICES.remove("cpu")


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_a_kernel_computes_what_torch_does(check):
    assert check(DEVICE) < TOLERANCE


def test_a_check_sees_a_wrong_kernel(monkeypatch):
    right = kernels_pixels.Bernoulli.apply
    monkeypatch.setattr(kernels_pixels.Bernoulli, "apply", lambda x, *rest: right(x * 0.999, *rest))
    assert CHECKS["bernoulli"](DEVICE) > TOLERANCE


def test_the_cpu_has_no_kernels_of_its_own():
    assert not has_kernels(torch.zeros(1))
    assert kernels.DEVICES == ["cuda"]


STEPS = {
    "k1": {"k": 1},
    "warm": {"k": 3, "warmup": 2},
    "gaussian": {**CELLS["pixels_tanh"], "k": 2},
    "normed": {**CELLS["normed_running"], "model.bn_scope": "hidden_and_latent"},
    "vae_analytic": CELLS["vae_analytic"],
    "two_dreg": {**TWO, "objective.gradient": "dreg", "k": 3, "model.encoder_mean_head": "activation"},
    "sum": {"objective.batch_reduction": "sum", "training.epsilon_mode": "torch", "k": 1},
    "padded": {"k": 3, "n_z": (2, 9), "warmup": 2},
    "padded_k1": {"k": 1, "n_z": (2, 9)},
    "padded_normed": {**CELLS["normed_running"], "model.bn_scope": "hidden_and_latent", "n_z": (2, 9)},
}


@pytest.mark.skipif(DEVICE.type == "cuda", reason="this machine has a GPU: tests/workers/train/test_on_gpu.py")
@pytest.mark.parametrize("cell", STEPS.values(), ids=STEPS)
def test_a_step_with_kernels_is_torchs(cell, on_the_cpu):
    """Draws, inputs, forward, backward and update; the interpreter takes some milliseconds a launch and image."""
    small = {"training.batch_size": 4, "model.hidden": (6,), "n_z": 3, **cell}
    widths = small["n_z"] if isinstance(small["n_z"], tuple) else (small["n_z"],) * 2
    members = [settings_of(small, {"seed": seed, "n_z": n_z}) for seed, n_z in zip((0, 5), widths, strict=True)]
    learners = [learner_of(*members, on_device=True) for _ in range(2)]
    for learner, devices in zip(learners, (["cuda"], ["cuda", "cpu"]), strict=True):
        kernels.DEVICES[:] = devices
        tables = learner.device_epoch.tables
        tables.rates.copy_(torch.tensor([0.01, 1.0]))
        tables.betas.fill_(0.3)
        tables.t.fill_(1)
        tables.orders.copy_(torch.arange(tables.orders.numel()).view_as(tables.orders) % 100)
        for size in (4, 3):
            learner._device_step(size, update=True)
    one, other = learners
    torch.testing.assert_close(one.device_epoch.tables.totals, other.device_epoch.tables.totals, rtol=1e-6, atol=1e-6)
    for name, parameter in one.parameters.items():
        torch.testing.assert_close(parameter, other.parameters[name], rtol=1e-4, atol=2e-5, msg=name)
    for name, pair in one.statistics.items():
        for a, b in zip(pair, other.statistics[name], strict=True):
            # The second step's statistics are those of the updated parameters, and can be no closer than they are.
            torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5)


def test_no_module_needs_triton():
    """It does not exist on a Mac."""
    program = "import sys; sys.modules['triton'] = None; import workers.train.attempts"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=300)
