"""Compute the bound of a decoder that ignores its latent units, in nats per example."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from workers.model.architecture import Architecture
from workers.model.densities import LOG_2PI, continuous_bernoulli_log_likelihood, continuous_bernoulli_mean
from workers.model.inputs import Data, pixel_mean, pixel_variance


def baseline_bound(data: Data, architecture: Architecture) -> float:
    """Return the mean log-likelihood of the test images under independent pixels that were fitted to the training images.

    It is the best that a decoder of the same family can reach if it ignores z. Every pixel has the mean of the training
    images, kept 1/(2 n) away from 0 and 1 for n training images. A Gaussian pixel also has their variance, limited to the
    range of the head of the log-variance; a global head has one variance for all pixels.
    """
    n = len(data.train)
    mean = pixel_mean(data).clamp(1 / (2 * n), 1 - 1 / (2 * n))
    x = data.test.double()
    if architecture.decoder == "bernoulli":
        return float((x * mean.log() + (1 - x) * (1 - mean).log()).sum(-1).mean())
    if architecture.decoder == "continuous_bernoulli":
        logit = _continuous_bernoulli_logit(mean).expand(1, 1, len(x), -1)
        return float(continuous_bernoulli_log_likelihood(x[None], logit).mean())
    spread = pixel_variance(data) + (pixel_mean(data) - mean).square()
    match architecture.decoder_logvar:
        case "tanh":
            variance = spread.clamp(math.exp(-1), math.exp(1))
        case "linear_clamped":
            limit = architecture.decoder_logvar_limit
            variance = spread.clamp(math.exp(-limit), math.exp(limit))
        case "global":
            variance = spread.mean().expand(len(mean))
        case _:
            variance = torch.full_like(mean, math.exp(architecture.decoder_logvar_value))
    density = -0.5 * (LOG_2PI + variance.log() + (x - mean).square() / variance)
    return float(density.sum(-1).mean())


def _continuous_bernoulli_logit(mean: Float[Tensor, "pixel"]) -> Float[Tensor, "pixel"]:
    """Return the logit whose continuous Bernoulli has the given mean, by bisection; it maximises the likelihood."""
    low, high = torch.full_like(mean, -1e6), torch.full_like(mean, 1e6)
    for _ in range(100):
        middle = (low + high) / 2
        is_below = continuous_bernoulli_mean(middle) < mean
        low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
    return (low + high) / 2
