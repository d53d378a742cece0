"""Estimate the mutual information of image and latent units, and the KL from the aggregate posterior to the prior."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from workers.contract.streams import Stream
from workers.measure.slices import chunks
from workers.model.densities import LOG_2PI
from workers.model.networks import Model, encode, log_ratio, sample_latents
from workers.replicas.seeds import Seeds

_ROWS = 500
"""Number of images at a time; one number for each pair of them with any image is held in memory."""


@torch.no_grad()
def mutual_information(
    model: Model, images: Float[Tensor, "image pixel"], seeds: Seeds, epoch: int
) -> dict[str, Float[Tensor, "replica"]]:
    """Estimate I_q(x; z) and KL(q(z) || p(z)) on the fixed training images, in nats, from one sample per image.

        I = mean_i [ log q(z_i|x_i) - log (1/n) sum_j q(z_i|x_j) ]
        KL(q(z) || p(z)) = mean_i [ log q(z_i|x_i) - log p(z_i) ] - I

    He et al. 2019 (arXiv:1901.05534), in float64. The estimate of I cannot exceed log n, so log n must be well above it.
    Upper layers add nothing to I, because z_2 depends on x only through z_1.
    """
    replicas, n = len(seeds.index), len(images)
    codes, whole = [], torch.zeros(replicas, dtype=torch.float64, device=images.device)
    for part, start, x in chunks(images, seeds):
        noise = seeds.normals(Stream.AGGREGATE_NOISE, epoch, (1, len(x)), model.architecture.latent, part, (0, start))
        first = encode(model, x.expand(replicas, -1, -1))
        latents = sample_latents(model, first, noise)
        whole -= log_ratio(model, latents).double().sum((1, 2))
        codes.append((latents[0].mean[:, 0], latents[0].log_variance[:, 0], latents[0].z[:, 0]))
    mean, log_variance, z = (torch.cat(column, 1).double() for column in zip(*codes, strict=True))
    owns = list(zip(mean, log_variance, z, strict=True))
    if model.architecture.units:
        owns = [tuple(t[:, :n_z] for t in own) for own, n_z in zip(owns, model.architecture.units.widths, strict=True)]
    information = torch.stack([(_log_q(*own) - _log_aggregate(*own)).mean() for own in owns])
    return {"mutual_information": information, "marginal_kl": whole / n - information}


def _log_q(mean: Tensor, log_variance: Tensor, z: Tensor) -> Float[Tensor, "image"]:
    return -0.5 * (LOG_2PI + log_variance + (z - mean).square() * torch.exp(-log_variance)).sum(-1)


def _log_aggregate(mean: Tensor, log_variance: Tensor, z: Tensor) -> Float[Tensor, "image"]:
    """Return log (1/n) sum_j q(z_i|x_j); the square is expanded, so that matrix products compute all pairs."""
    precision = torch.exp(-log_variance)
    constant = -0.5 * (LOG_2PI + log_variance + mean * mean * precision).sum(-1)
    rows = [
        torch.logsumexp(constant - 0.5 * (part * part) @ precision.T + part @ (mean * precision).T, dim=1)
        for part in z.split(_ROWS)
    ]
    return torch.cat(rows) - math.log(len(z))
