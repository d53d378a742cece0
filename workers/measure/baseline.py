"""What a decoder reaches that ignores its latent units: independent pixels, in nats per example."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from workers.model.architecture import Architecture
from workers.model.densities import LOG_2PI, continuous_bernoulli_log_likelihood, continuous_bernoulli_mean
from workers.model.inputs import Data, pixel_mean, pixel_variance


def baseline_bound(data: Data, architecture: Architecture) -> float:
    """Mean log-likelihood of the test images when every pixel is independent, fitted to the training images.

    What a decoder of the same family does at best if it ignores z: Bernoulli pixels of the training images' means;
    Gaussian pixels of their means and variances, as far as the head of the log-variance reaches (one variance for all
    pixels if it is global); continuous Bernoulli pixels of their means. Means are kept 1/(2 n) from 0 and 1.
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
    """The logit whose continuous Bernoulli has a mean: the maximum of its likelihood; by bisection."""
    low, high = torch.full_like(mean, -1e6), torch.full_like(mean, 1e6)
    for _ in range(100):
        middle = (low + high) / 2
        is_below = continuous_bernoulli_mean(middle) < mean
        low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
    return (low + high) / 2
