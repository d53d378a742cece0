"""What is measured of a pack: every epoch on fixed images, and nll once at the end; changes no parameter."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor

from workers.activity import merge, moments
from workers.data import Data
from workers.model import (
    Architecture,
    Normaliser,
    Parameters,
    batch_statistics,
    encode,
    fixed_statistics,
    hidden_layers,
    log_likelihood,
)
from workers.objective import effective_share, iwae_bound, kl_per_unit, log_prior_ratio, reparameterise
from workers.rng import Seeds, Stream

CHUNK = 100
"""Images at a time. It keys the noise, so a change of it changes numbers."""

NLL_CHUNK = 10
"""Importance samples at a time for nll; keys the noise too."""

_ROWS = {"cpu": 200, "cuda": 20_000, "mps": 2_000}
"""Decoder rows a replica at a time; on a CPU the activations of a pack then stay in the cache. Changes no number."""


@dataclass(frozen=True)
class Measurement:
    """The measured columns of an epoch (design: records.EPOCHS), one entry a replica; nats per example."""

    test_bound: Float[Tensor, "replica"]
    test_elbo: Float[Tensor, "replica"]
    test_reconstruction: Float[Tensor, "replica"]
    test_kl: Float[Tensor, "replica"]
    ess: Float[Tensor, "replica"]
    activity: Float[Tensor, "replica unit"]
    activity_test: Float[Tensor, "replica unit"]
    kl_per_unit: Float[Tensor, "replica unit"]
    kl_per_unit_test: Float[Tensor, "replica unit"]
    posterior_mean: Float[Tensor, "replica unit"]
    posterior_variance: Float[Tensor, "replica unit"]
    reconstruction_per_class: Float[Tensor, "replica label"]


@torch.no_grad()
def measure(parameters: Parameters, architecture: Architecture, data: Data, seeds: Seeds, k: int, epoch: int) -> Measurement:
    """Measure every replica on the fixed training and test images; all bounds at beta 1."""
    normalise, posterior = evaluation_statistics(parameters, architecture, data, seeds, epoch)
    train = posterior or _posterior(
        [_encode(parameters, architecture, x, seeds, normalise) for x in data.measured.split(CHUNK)]
    )
    codes, sampled = [], []
    for part, x in enumerate(data.test.split(CHUNK)):
        mean, log_variance = _encode(parameters, architecture, x, seeds, normalise)
        noise = seeds.normal(Stream.TEST_NOISE, epoch, (k, len(x), mean.shape[-1]), part=part)
        log_px, log_w = _sampled(parameters, architecture, x, mean, log_variance, noise, normalise)
        codes.append((mean, log_variance))
        sampled.append((iwae_bound(log_w), log_w.mean(1), log_px.mean(1), effective_share(log_w)))
    bound, elbo, reconstruction, ess = (torch.cat(column, dim=-1) for column in zip(*sampled, strict=True))
    test = _posterior(codes)
    return Measurement(
        test_bound=bound.mean(-1),
        test_elbo=elbo.mean(-1),
        test_reconstruction=reconstruction.mean(-1),
        test_kl=test.kl.sum(-1),
        ess=ess.mean(-1),
        activity=train.activity,
        activity_test=test.activity,
        kl_per_unit=train.kl,
        kl_per_unit_test=test.kl,
        posterior_mean=train.mean,
        posterior_variance=train.variance,
        reconstruction_per_class=_per_class(reconstruction, data),
    )


@torch.no_grad()
def negative_log_likelihood(
    parameters: Parameters, architecture: Architecture, data: Data, seeds: Seeds, samples: int, epoch: int
) -> Float[Tensor, "replica"]:
    """nll = -L_S on the test images, in nats per example, S = `samples`; Burda et al. 2016, sec. 5 (S = 5000)."""
    normalise, _ = evaluation_statistics(parameters, architecture, data, seeds, epoch)
    total = torch.zeros(len(seeds.index), dtype=torch.float64, device=data.test.device)
    for part, x in enumerate(data.test.split(CHUNK)):
        mean, log_variance = _encode(parameters, architecture, x, seeds, normalise)
        log_sum = torch.full(mean.shape[:2], -math.inf, dtype=torch.float64, device=x.device)
        for group, start in enumerate(range(0, samples, NLL_CHUNK)):
            k = min(NLL_CHUNK, samples - start)
            # Part and group share the counter's word: 2^32 groups a part are enough.
            noise = seeds.normal(Stream.NLL_NOISE, epoch, (k, len(x), mean.shape[-1]), part=(part << 32) + group)
            _, log_w = _sampled(parameters, architecture, x, mean, log_variance, noise, normalise)
            log_sum = torch.logaddexp(log_sum, torch.logsumexp(log_w, dim=1))
        total += (log_sum - math.log(samples)).sum(-1)
    return -total / len(data.test)


@torch.no_grad()
def evaluation_statistics(
    parameters: Parameters, architecture: Architecture, data: Data, seeds: Seeds, epoch: int
) -> tuple[Normaliser, "Posterior | None"]:
    """Batch-norm statistics for evaluation: measured anew, layer by layer, on all fixed training images with K = 1.

    Sonderby et al.'s code recomputes them in one pass over the training set before every evaluation; moving averages
    would depend on the path of training.

    Returns:
        How to normalise, and the posterior of the fixed training images, which comes out of the same pass (None without
        batch normalisation).
    """
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    if not architecture.batch_norm:
        return fixed_statistics(seen), None
    note = batch_statistics(seen)
    mean, log_variance = _encode(parameters, architecture, data.measured, seeds, note)
    noise = seeds.normal(Stream.STATISTICS_NOISE, epoch, (1, *mean.shape[1:]))
    hidden_layers(parameters, architecture, "decoder", reparameterise(mean, log_variance, noise)[:, 0], note)
    return fixed_statistics(seen), _posterior([(mean, log_variance)])


def baseline_bound(data: Data, decoder: str) -> float:
    """Mean log-likelihood of the test images when every pixel is independent, with the training images' frequencies.

    The best that a decoder of the same family can do if it ignores z: Bernoulli pixels, or Gaussian pixels with
    log sigma^2 in [-1, 1] as in the model. Nats per example.
    """
    n = len(data.train)
    p = data.train.double().mean(0).clamp(1 / (2 * n), 1 - 1 / (2 * n))
    x = data.test.double()
    if decoder == "bernoulli":
        return float((x * p.log() + (1 - x) * (1 - p).log()).sum(-1).mean())
    variance = (p * (1 - p)).clamp(math.exp(-1), math.exp(1))
    density = -0.5 * (math.log(2 * math.pi) + variance.log() + (x - p).square() / variance)
    return float(density.sum(-1).mean())


@dataclass(frozen=True)
class Posterior:
    """What the encoder says of a set of images, [replica, unit]."""

    activity: Tensor
    kl: Tensor
    mean: Tensor
    variance: Tensor


def _posterior(codes: Iterable[tuple[Tensor, Tensor]]) -> Posterior:
    """From mu and log sigma^2 of the parts of a set of images."""
    parts = ((moments(mean), moments(kl_per_unit(mean, lv)), moments(torch.exp(lv))) for mean, lv in codes)
    mean, kl, variance = (reduce(merge, column) for column in zip(*parts, strict=True))
    return Posterior(mean.variance, kl.mean, mean.mean, variance.mean)


def _encode(
    parameters: Parameters, architecture: Architecture, x: Tensor, seeds: Seeds, normalise: Normaliser
) -> tuple[Tensor, Tensor]:
    return encode(parameters, architecture, x.expand(len(seeds.index), -1, -1), normalise)


def _sampled(
    parameters: Parameters,
    architecture: Architecture,
    x: Tensor,
    mean: Tensor,
    log_variance: Tensor,
    noise: Tensor,
    normalise: Normaliser,
) -> tuple[Tensor, Tensor]:
    """log p(x|z) and log w of every sample, [replica, k, image], in float64."""
    z = reparameterise(mean, log_variance, noise)
    inputs = x.expand(len(mean), -1, -1)
    at_once = max(1, _ROWS[x.device.type] // len(x))
    log_px = torch.cat(
        [log_likelihood(parameters, architecture, inputs, part, normalise) for part in z.split(at_once, dim=1)], 1
    )
    log_px = log_px.double()
    return log_px, log_px + log_prior_ratio(z, log_variance, noise)


def _per_class(reconstruction: Tensor, data: Data) -> Tensor:
    """Mean log p(x|z) of the test images of every class; NaN where a class has none; no entry without labels."""
    if data.test_classes is None:
        return reconstruction.new_zeros(len(reconstruction), 0)
    member = torch.nn.functional.one_hot(data.test_classes, data.n_classes).to(reconstruction.dtype)
    return (reconstruction @ member) / member.sum(0)
