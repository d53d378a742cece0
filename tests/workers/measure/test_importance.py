"""Importance-weighted bounds of many samples against log-mean-exps over the same draws in float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal

from tests.workers import tiny
from tests.workers.measure.second_computation import CELLS, Second, cells, data_of, log_mean_exp, trained
from workers.contract.settings import DataSettings, MeasureSettings
from workers.contract.streams import Stream
from workers.data.arrays import Images
from workers.data.images import load_images
from workers.measure import importance, slices
from workers.measure.importance import Running, bound_of, importance_bounds
from workers.measure.posterior import evaluation_model
from workers.model import networks
from workers.model.inputs import data_from
from workers.model.layers import fixed_statistics

sample_counts = pytest.mark.parametrize("samples", [1, 4, 5, 7, 63, 64, 65, 130])


def bounds_of(learner, data, samples, epoch=1):
    model, _ = evaluation_model(learner.parameters, learner.architecture, data.measured, learner.seeds, epoch)
    return importance_bounds(model, data, learner.seeds, samples, epoch)


def expected_of(log_w):
    """L_1, L_5, L_64 and nll, per image."""
    n, whole = len(log_w), len(log_w) // 5
    nothing = np.full(log_w.shape[1:], np.nan)
    return {
        "l_1": log_w.mean(0),
        "l_5": log_mean_exp(log_w[: 5 * whole].reshape(whole, 5, *log_w.shape[1:]), 1).mean(0) if whole else nothing,
        "l_64": log_mean_exp(log_w[:64]) if n >= 64 else nothing,
        "nll": -log_mean_exp(log_w),
    }


# ---- log-mean-exps of samples that come a few at a time ----


@tiny.LAWS
@given(st.lists(st.integers(1, 10), min_size=1, max_size=30), st.integers(0, 2**32 - 1), st.sampled_from((1.0, 30.0, 1e4)))
def test_any_split_of_the_samples_is_one_log_mean_exp(sizes, seed, spread):
    log_w = spread * np.random.default_rng(seed).standard_normal((sum(sizes), 2, 3)) - 1e4
    running = Running(torch.zeros(2, 3, 1))
    for part in np.split(log_w, np.cumsum(sizes)[:-1]):
        running.add(torch.from_numpy(part).transpose(0, 1))
    found = running.means() | {"nll": -running.whole()}
    for name, expected in expected_of(log_w).items():
        np.testing.assert_allclose(found[name].numpy(), expected, rtol=1e-12, err_msg=name)


@sample_counts
def test_bounds_are_those_of_the_same_draws(samples):
    data = data_of({})
    learner = trained({}, data)
    found = bounds_of(learner, data, samples)
    for replica in range(2):
        log_w, _ = Second(learner, data, {}, replica).log_weights(samples)
        for name, expected in expected_of(log_w).items():
            assert found[name][replica].item() == pytest.approx(expected.mean(), rel=1e-5, nan_ok=True), name


@cells
def test_every_bound_of_every_decoder(cell):
    data = data_of(cell)
    learner = trained(cell, data)
    found = bounds_of(learner, data, 65)
    for replica in range(2):
        log_w, log_mass_w = Second(learner, data, cell, replica).log_weights(65)
        for name, expected in expected_of(log_w).items():
            assert found[name][replica].item() == pytest.approx(expected.mean(), rel=1e-5, abs=1e-4), name
        comparable = -log_mean_exp(log_mass_w).mean() if cell is not CELLS["bernoulli_grey"] else np.nan
        assert found["nll_comparable"][replica].item() == pytest.approx(comparable, rel=1e-5, nan_ok=True)
    if cell.get("decoder", "bernoulli") == "bernoulli" and "data__input" not in cell:
        assert torch.equal(found["nll_comparable"], found["nll"])


def test_images_in_several_parts_have_noise_of_their_own():
    data = data_of({}, n_test=130)
    learner = trained({}, data, seeds=(3,))
    log_w, _ = Second(learner, data, {}).log_weights(7)
    found = bounds_of(learner, data, 7)
    for name, expected in expected_of(log_w).items():
        assert found[name].item() == pytest.approx(expected.mean(), rel=1e-5, nan_ok=True), name


def test_binary_pixels_read_as_grey_are_binary():
    """Grey is what the pixels are, not what the setting says."""
    whole = load_images(DataSettings())
    images = Images((whole.train[:60] > 0.5).astype(np.float32), (whole.test[:9] > 0.5).astype(np.float32), None, None)
    data = data_from(images, "0" * 64, MeasureSettings(images=60), tiny.CPU, "grey")
    for decoder in ("bernoulli", "gaussian"):
        learner = trained({"decoder": decoder}, data)
        found = bounds_of(learner, data, 5)["nll_comparable"]
        for replica in range(2):
            _, log_mass_w = Second(learner, data, {"decoder": decoder}, replica).log_weights(5)
            assert found[replica].item() == pytest.approx(-log_mean_exp(log_mass_w).mean(), rel=1e-5)


# ---- order ----


@pytest.mark.parametrize("name", ["bernoulli_binary", "gaussian_grey", "continuous_bernoulli_grey"])
def test_bounds_rise_with_k(name):
    """L_1 <= L_5 <= -nll on the same draws wherever 5 divides them; with L_64 between, in the mean over draws."""
    data = data_of(CELLS[name], n_test=50)
    learner = trained(CELLS[name], data, seeds=range(12))
    with torch.no_grad():
        # A posterior that is too wide, which the weights must make good.
        learner.parameters["encoder.log_variance.bias"].add_(2.0)
    found = bounds_of(learner, data, 300)
    assert (found["l_1"] < found["l_5"]).all()
    assert (found["l_5"] < -found["nll"]).all()
    for less, more in (("l_5", found["l_64"]), ("l_64", -found["nll"])):
        rise = more - found[less]
        assert rise.mean() > 3 * rise.std() / math.sqrt(12), less
    alone = bounds_of(learner, data, 64)
    torch.testing.assert_close(alone["l_64"], -alone["nll"], rtol=1e-14, atol=0)
    torch.testing.assert_close(alone["l_64"], found["l_64"], rtol=1e-14, atol=0)


# ---- one latent unit: p(x) is an integral ----


@pytest.mark.parametrize("name", [name for name in CELLS if name not in ("two_layers", "batch_norm")])
def test_nll_and_its_comparable_form_are_integrals_over_z(name):
    cell = {**CELLS[name], "n_z": 1}
    data = data_of(cell, n_test=30)
    learner = trained(cell, data, seeds=(0,), epochs=2)
    with torch.no_grad():
        learner.parameters["encoder.log_variance.bias"].add_(1.0)
    second, x = Second(learner, data, cell), data.test.double()
    grid = torch.linspace(-9, 9, 601, dtype=torch.float64)
    prior = Normal(0.0, 1.0).log_prob(grid)[:, None] + math.log(18 / 600)
    with torch.no_grad():
        pixels = second.pixels(grid[:, None, None].expand(-1, len(x), 1))
        exact = [
            -torch.logsumexp(log_p + prior, 0).mean().item()
            for log_p in (pixels.log_prob(x).sum(-1), second.log_mass(pixels, x))
        ]
    found = bounds_of(learner, data, 2000)
    assert found["nll"].item() == pytest.approx(exact[0], abs=0.02)
    assert -found["l_1"].item() > exact[0] + 0.05
    if name != "bernoulli_grey":
        assert found["nll_comparable"].item() == pytest.approx(exact[1], abs=0.02)


# ---- what is taken at a time ----


@pytest.mark.parametrize("name", ["bernoulli_binary", "gaussian_clamped_grey", "two_layers"])
def test_rows_taken_at_once_change_no_number(name, monkeypatch):
    cell = CELLS[name]
    data = data_of(cell, n_test=30)
    learner = trained(cell, data)
    found = []
    for rows in (1, 70, 10**9):
        monkeypatch.setattr(slices, "_ROWS", {"cpu": rows})
        network = networks.Model(learner.parameters, learner.architecture, fixed_statistics({}))
        secondary = bound_of(network, data.test, learner.seeds, 23, 1)
        found.append(bounds_of(learner, data, 65) | {"secondary": secondary})
    for other in found[1:]:
        for key, value in found[0].items():
            torch.testing.assert_close(other[key], value, rtol=1e-6, atol=0, msg=key)


@pytest.mark.parametrize("name", ["gaussian_grey", "two_layers"])
def test_the_secondary_bound_is_that_of_its_own_draws(name):
    cell = CELLS[name]
    data = data_of(cell, n_test=103)
    learner = trained(cell, data)
    network = networks.Model(learner.parameters, learner.architecture, fixed_statistics({}))
    args = network, data.test, learner.seeds, 12, 1
    l_s, l_1 = bound_of(*args)
    assert all(torch.equal(a, b) for a, b in zip(bound_of(*args), (l_s, l_1), strict=True))
    for replica in range(2):
        log_w, _ = Second(learner, data, cell, replica).log_weights(12, Stream.SECONDARY_NOISE, first=1 << 31)
        assert l_s[replica].item() == pytest.approx(log_mean_exp(log_w).mean(), rel=1e-5)
        assert l_1[replica].item() == pytest.approx(log_w.mean(), rel=1e-5)


# ---- negative controls ----


FAULTS = {
    "mean of log weights": lambda m: m.setattr(Running, "whole", lambda self: self.total / self.n),
    "L_64 of all samples": lambda m: m.setattr(importance, "BOUNDS", (1, 5, 65)),
    "other groups": lambda m: m.setattr(importance, "NLL_CHUNK", 9),
    "no ratio of masses": lambda m: m.setattr(importance, "log_ratio", lambda *a: torch.zeros(())),
    "density for mass": lambda m: m.setattr(importance, "_log_mass", _density_of),
    "bins for binary": lambda m: m.setattr(importance, "is_grey", lambda data: False),
}


def _density_of(model, data, x, heads):
    return importance.log_density(model, x, heads)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_check_sees_a_fault(fault, monkeypatch):
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        test_every_bound_of_every_decoder(CELLS["gaussian_grey"])
