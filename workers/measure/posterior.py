"""Compute statistics over images of the approximate posterior of every unit."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor

from workers.contract.streams import Stream
from workers.measure.activity import merge, moments, principal_variances
from workers.measure.slices import chunks
from workers.model.architecture import Architecture
from workers.model.layers import batch_statistics, fixed_statistics
from workers.model.networks import (
    Latent,
    Model,
    Parameters,
    conditional_prior,
    encode,
    hidden_layers,
    kl_of_layers,
    sample_latents,
)
from workers.replicas.seeds import Seeds
from workers.replicas.units import Units

SATURATED = 0.01
"""A value of a bounded head is saturated if its distance to an end is below this share of the range."""


Statistics = Mapping[str, tuple[Tensor, Tensor]]
"""Mean and variance of every batch-normalised layer, by name; empty if they must be measured."""


@torch.no_grad()
def evaluation_model(
    parameters: Parameters,
    architecture: Architecture,
    images: Float[Tensor, "image pixel"],
    seeds: Seeds,
    epoch: int,
    running: Statistics | None = None,
) -> tuple[Model, "Posterior | None"]:
    """Return the model for evaluation, batch-normalised by `running` or by statistics of `images` measured with K = 1.

    The code of Sonderby et al. recomputes the statistics in one pass over the training set before every evaluation, because
    moving averages depend on the path of training.

    Returns:
        The model, and the posterior of the images if the same pass computes it, else None.
    """
    statistics, train = statistics_of(parameters, architecture, images, seeds, epoch, running)
    return Model(parameters, architecture, fixed_statistics(statistics)), train


@torch.no_grad()
def statistics_of(
    parameters: Parameters,
    architecture: Architecture,
    images: Float[Tensor, "image pixel"],
    seeds: Seeds,
    epoch: int,
    running: Statistics | None = None,
) -> tuple[Statistics, "Posterior | None"]:
    """Return mean and variance of every batch-normalised layer for evaluation, and a posterior; see evaluation_model."""
    if running or not architecture.batch_norm:
        return running or {}, None
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    noting = Model(parameters, architecture, batch_statistics(seen))
    noise = seeds.normals(Stream.STATISTICS_NOISE, epoch, (1, len(images)), architecture.latent)
    first = encode(noting, images.expand(len(seeds.index), -1, -1))
    latents = sample_latents(noting, first, noise)
    for layer, latent in enumerate(latents[1:]):
        conditional_prior(noting, layer, latent.z)
    hidden_layers(noting, 0, "decoder", latents[0].z.flatten(1, 2))
    kl = kl_of_layers(Model(parameters, architecture, fixed_statistics(seen)), latents)
    return seen, posterior_of_codes([Code(latents, kl)], architecture)


@dataclass(frozen=True)
class Code:
    """The outputs of the encoders for some images."""

    latents: Sequence[Latent]
    """One sample per image is enough, because only means and log-variances are used."""
    kl: Float[Tensor, "replica batch unit"]

    @property
    def mean(self) -> Float[Tensor, "replica batch unit"]:
        """mu of all layers side by side; upper layers are given one sample of the one below, as in Burda et al.'s code."""
        return torch.cat([latent.mean[:, 0] for latent in self.latents], -1)

    @property
    def log_variance(self) -> Float[Tensor, "replica batch unit"]:
        """log sigma^2 of all layers side by side."""
        return torch.cat([latent.log_variance[:, 0] for latent in self.latents], -1)


@dataclass(frozen=True)
class Posterior:
    """Statistics of the encoders' outputs over a set of images: [replica, unit], or [replica] for the shares."""

    activity: Tensor
    activity_pca: Tensor
    kl: Tensor
    mean: Tensor
    variance: Tensor
    saturated_mean: Tensor
    saturated_log_variance: Tensor


@torch.no_grad()
def posterior_of(model: Model, images: Float[Tensor, "image pixel"], seeds: Seeds, stream: Stream, epoch: int) -> Posterior:
    """Return the statistics of the posterior over images; upper layers are given one sample of the layer below."""
    codes = []
    for part, start, x in chunks(images, seeds):
        noise = _noise_of_codes(seeds, stream, epoch, len(x), model.architecture, part, start)
        first = encode(model, x.expand(len(seeds.index), -1, -1))
        latents = sample_latents(model, first, noise)
        codes.append(Code(latents, kl_of_layers(model, latents)))
    return posterior_of_codes(codes, model.architecture)


def _noise_of_codes(
    seeds: Seeds, stream: Stream, epoch: int, n: int, architecture: Architecture, part: int, start: int
) -> list[Float[Tensor, "replica k batch _unit"]]:
    if len(architecture.latent) > 1:
        return seeds.normals(stream, epoch, (1, n), architecture.latent, part, (0, start))
    # The samples of a single layer are not used, so nothing has to be drawn.
    return [torch.zeros(len(seeds.index), 1, n, architecture.n_z, device=seeds.index.device)]


def posterior_of_codes(codes: Iterable[Code], architecture: Architecture) -> Posterior:
    """Return the statistics of the posterior over images whose codes are given in chunks."""
    codes, units = list(codes), architecture.units
    parts = ((moments(code.mean), moments(code.kl), moments(torch.exp(code.log_variance))) for code in codes)
    mean, kl, variance = (reduce(merge, column) for column in zip(*parts, strict=True))
    return Posterior(
        activity=mean.variance,
        activity_pca=principal_variances([code.mean for code in codes], mean, architecture.latent, units),
        kl=kl.mean,
        mean=mean.mean,
        variance=variance.mean,
        saturated_mean=_saturated([code.mean for code in codes], _ends_of_mean(architecture), units),
        saturated_log_variance=_saturated(
            [code.log_variance for code in codes], (-1.0, 1.0) if architecture.encoder_logvar_head == "tanh" else None, units
        ),
    )


def _ends_of_mean(architecture: Architecture) -> tuple[float, float] | None:
    if architecture.encoder_mean_head == "sigmoid":
        return 0.0, 1.0
    is_tanh = (architecture.encoder_mean_head, architecture.activation) == ("activation", "tanh")
    return (-1.0, 1.0) if is_tanh else None


def _saturated(parts: Sequence[Tensor], ends: tuple[float, float] | None, units: Units | None) -> Float[Tensor, "replica"]:
    """Return the share of the values of a head that lie at one of its ends; NaN if the head is unbounded."""
    if ends is None:
        return parts[0].new_full((len(parts[0]),), torch.nan, dtype=torch.float64)
    values = torch.cat(list(parts), 1)
    if units is None:
        return saturated_share(values, *ends)
    hits = _is_saturated(values, *ends) & units.exists[:, 0]
    return hits.flatten(1).double().sum(1) / (values.shape[1] * units.counts)


def saturated_share(values: Float[Tensor, "replica *axes"], low: float, high: float) -> Float[Tensor, "replica"]:
    """Return the share of values whose distance to low or high is below SATURATED * (high - low)."""
    return _is_saturated(values, low, high).flatten(1).double().mean(1)


def _is_saturated(values: Tensor, low: float, high: float) -> Tensor:
    margin = SATURATED * (high - low)
    return (values < low + margin) | (values > high - margin)
