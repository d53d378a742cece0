"""The independent-pixel baseline: no decoder of its family that ignores z does better, by scipy's optimisers."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import ContinuousBernoulli

from tests.workers import tiny
from tests.workers.measure.second_computation import data_of
from workers.measure import baseline
from workers.measure.baseline import baseline_bound
from workers.model.architecture import architecture_of
from workers.model.inputs import pixel_variance

GAUSSIAN = {"decoder": "gaussian"}
LIMITS = {"tanh": (-1.0, 1.0), "linear_clamped": (-4.0, 4.0), "global": (-20.0, 20.0), "fixed": (-1.7, -1.7)}
FAMILIES = {
    "bernoulli": {},
    **{
        name: {
            **GAUSSIAN,
            "model__decoder_logvar": name,
            "model__decoder_logvar_limit": 4.0,
            "model__decoder_logvar_value": -1.7,
        }
        for name in LIMITS
    },
    "continuous_bernoulli": {"decoder": "continuous_bernoulli"},
}
# Of pixels of 0 and 1 the density of a continuous Bernoulli has no upper bound.
cases = pytest.mark.parametrize(
    ("family", "input"),
    [(f, i) for f in FAMILIES for i in ("static", "threshold", "grey") if i == "grey" or f != "continuous_bernoulli"],
)


def bound(data, family):
    return baseline_bound(data, architecture_of(tiny.settings(**FAMILIES[family]), data.n_x))


def log_likelihood(family, mean, shape, x):
    """Mean over images of independent pixels' log-likelihood; `shape` is a log-variance, or not used."""
    if family == "bernoulli":
        return (x * np.log(mean) + (1 - x) * np.log1p(-mean)).sum(1).mean()
    if family == "continuous_bernoulli":
        # e^(l x) over its integral; `mean` is the logit here.
        near, safe = np.abs(mean) < 1e-6, np.where(np.abs(mean) < 1e-6, 1.0, mean)
        log_integral = np.where(near, mean / 2, np.maximum(safe, 0) + np.log(-np.expm1(-np.abs(safe)) / np.abs(safe)))
        return (mean * x - log_integral).sum(1).mean()
    return scipy.stats.norm(mean, np.exp(shape / 2)).logpdf(x).sum(1).mean()


def best(family, x):
    """The family's parameters that are likeliest of some images, by L-BFGS-B from the middle."""
    n = x.shape[1]
    places = [(-500.0, 500.0) if family == "continuous_bernoulli" else (1e-6, 1 - 1e-6)] * n
    shapes = [] if "bernoulli" in family else [LIMITS[family]] * (1 if family == "global" else n)
    start = np.array([0.5] * n + [sum(limits) / 2 for limits in shapes])

    def loss(values):
        return -log_likelihood(family, values[:n], values[n:], x)

    options = {"maxiter": 5000, "maxfun": 10**6, "ftol": 1e-14, "gtol": 1e-8}
    found = scipy.optimize.minimize(loss, start, method="L-BFGS-B", bounds=places + shapes, options=options)
    return found.x[:n], found.x[n:]


def varying(input, n_test=60):
    """Twelve pixels of digits that are neither always 0 nor always 1."""
    data = data_of({"data__input": input}, n_test=n_test)
    mean = data.train.mean(0)
    chosen = torch.nonzero((mean > 0.05) & (mean < 0.95))[::4, 0][:12]
    assert len(chosen) == 12
    return with_images(data, data.train[:, chosen], data.test[:, chosen])


def with_images(data, train, test):
    """Images that are read as `data` reads its own."""
    others = {"other_measured": train, "other_test": test}
    return dataclasses.replace(data, train=train, measured=train, test=test, test_classes=None, **others)


def exact(images):
    return images.double().numpy()


@cases
def test_it_is_the_best_of_its_family(family, input):
    """Fitted to the training images, counted on the test images."""
    data = varying(input)
    place, shape = best(family, exact(data.train))
    assert bound(data, family) == pytest.approx(log_likelihood(family, place, shape, exact(data.test)), rel=1e-5)
    own = with_images(data, data.train, data.train)
    assert bound(own, family) >= log_likelihood(family, place, shape, exact(data.train)) - 1e-6


@tiny.LAWS
@given(st.sampled_from(list(FAMILIES)), st.integers(0, 2**32 - 1), st.sampled_from((1e-3, 0.05, 0.5)))
def test_no_other_parameters_do_better_on_their_own_images(family, seed, size):
    """Shifts of means (of logits) and of variances as far as the head reaches, for images of any spread."""
    rng = np.random.default_rng(seed)
    x = rng.beta(*rng.uniform(0.2, 5, 2), size=(40, 6))
    data = with_images(data_of({"data__input": "grey"}), *[torch.from_numpy(x).float()] * 2)
    found, x = bound(data, family), exact(data.train)
    place, shape = x.mean(0), np.log(x.var(0))
    if family == "global":
        shape = np.log(x.var(0).mean(keepdims=True))
    if family == "continuous_bernoulli":
        place = [
            scipy.optimize.brentq(
                lambda logit, m=m: ContinuousBernoulli(logits=torch.tensor(logit).double()).mean.item() - m, -30, 30
            )
            for m in place
        ]
    shape = np.clip(shape, *LIMITS.get(family, (0, 0)))
    assert found == pytest.approx(log_likelihood(family, np.array(place), shape, x), rel=1e-6, abs=1e-6)
    for _ in range(10):
        moved = place + size * rng.standard_normal(6)
        if family != "continuous_bernoulli":
            moved = np.clip(moved, 1e-3, 1 - 1e-3)
        other = np.clip(shape + size * rng.standard_normal(shape.shape), *LIMITS.get(family, (0, 0)))
        assert log_likelihood(family, moved, other, x) <= found + 1e-9


@pytest.mark.parametrize("family", ["bernoulli", *LIMITS])
def test_dynamic_binarisation_is_fitted_to_all_its_draws(family):
    """p (1 - p) is the variance of a pixel over images and draws."""
    data = varying("dynamic")
    assert data.binarised_anew
    p, rng = exact(data.train), np.random.default_rng(0)
    drawn = torch.from_numpy((rng.random((3000, *p.shape)) < p).reshape(-1, p.shape[1])).float()
    np.testing.assert_allclose(pixel_variance(data), drawn.double().var(0, correction=0), rtol=0.02)
    as_drawn = dataclasses.replace(with_images(data, drawn, data.test), input="static")
    assert bound(data, family) == pytest.approx(bound(as_drawn, family), rel=2e-4)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_pixel_that_never_changes_is_put_half_an_image_away(value):
    """So that a test image that differs costs log 2n nats, and no infinity."""
    n, grey = 50, data_of({"data__input": "grey"})
    data = with_images(grey, torch.full((n, 3), value), torch.full((7, 3), value))
    away = with_images(grey, data.train, 1 - data.test)
    assert bound(data, "bernoulli") == pytest.approx(3 * math.log1p(-1 / (2 * n)), rel=1e-12)
    assert bound(away, "bernoulli") == pytest.approx(-3 * math.log(2 * n), rel=1e-12)
    for name, (least, _) in LIMITS.items():
        log_variance = max(least, -2 * math.log(2 * n))
        pixel = scipy.stats.norm(1 / (2 * n), math.exp(log_variance / 2))
        assert bound(data, name) == pytest.approx(3 * pixel.logpdf(0), rel=1e-9), name
        assert bound(away, name) == pytest.approx(3 * pixel.logpdf(1), rel=1e-9), name
    # The mean 1 / (2n) belongs to a logit of -2n, up to e^-2n.
    assert bound(data, "continuous_bernoulli") == pytest.approx(3 * math.log(2 * n), rel=1e-9)
    assert bound(away, "continuous_bernoulli") == pytest.approx(3 * (math.log(2 * n) - 2 * n), rel=1e-9)


@pytest.mark.parametrize("n", [2, 60_000])
def test_the_logit_of_a_mean_is_found_for_any_number_of_images(n):
    mean = torch.linspace(1 / (2 * n), 1 - 1 / (2 * n), 101, dtype=torch.float64)
    logit = baseline._continuous_bernoulli_logit(mean)
    inner = logit.abs() < 30
    torch.testing.assert_close(ContinuousBernoulli(logits=logit[inner]).mean, mean[inner], rtol=1e-6, atol=1e-8)
    # Far out 1 / (1 - e^-l) - 1 / l is -1 / l.
    torch.testing.assert_close(-1 / logit[~inner & (logit < 0)], mean[~inner & (logit < 0)], rtol=1e-9, atol=0)
    assert (logit.diff() > 0).all()


def test_the_gaussian_baseline_with_tanh_is_below_its_ceiling():
    assert bound(data_of({"data__input": "grey"}), "tanh") <= -0.4189385 * 64


# ---- negative controls ----

FAULTS = {
    "variance of the sample": lambda data: data.train.double().var(0) * 1.1,
    "no variance": lambda data: torch.zeros(data.n_x, dtype=torch.float64),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("family", ["global", "linear_clamped"])
def test_the_check_sees_another_variance(family, fault, monkeypatch):
    monkeypatch.setattr(baseline, "pixel_variance", fault)
    with pytest.raises((AssertionError, ZeroDivisionError)):
        test_it_is_the_best_of_its_family(family, "grey")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_check_sees_another_mean(family, monkeypatch):
    monkeypatch.setattr(baseline, "pixel_mean", lambda data: data.train.double().mean(0) * 0.9)
    with pytest.raises(AssertionError):
        test_it_is_the_best_of_its_family(family, "grey")
