"""What is measured of a pack in every epoch, on fixed images and at beta 1; changes no parameter."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor

from workers.activity import merge, moments, principal_variances
from workers.architecture import Architecture
from workers.data import Data, measured_at
from workers.host import on_host
from workers.layers import Normaliser, batch_statistics, fixed_statistics
from workers.model import (
    Latent,
    Parameters,
    Replace,
    conditional_prior,
    encode,
    hidden_layers,
    kl_of_layers,
    log_likelihood,
    log_ratio,
    sample_latents,
)
from workers.objective import effective_share, iwae_bound
from workers.rng import COUNTER, Seeds, Stream
from workers.units import Units

CHUNK = 100
"""Images at a time. It keys numpy's noise, so a change of it changes numbers."""

ELEMENTS = 2**27
"""Numbers of the decoder's output at a time, of a whole pack on a GPU, where noise is keyed by image and sample."""

SATURATED = 0.01
"""A bounded head is saturated where it is within this share of its range of one of its ends."""

_ROWS = {"cpu": 200, "mps": 2_000}
"""Decoder rows a replica at a time; on a CPU the activations of a pack then stay in the cache. Changes no number."""

Statistics = Mapping[str, tuple[Tensor, Tensor]]
"""Running mean and variance of every batch-normalised layer; empty where they are to be measured anew."""


@dataclass(frozen=True)
class Measurement:
    """The measured columns of an epoch (design: records.EPOCHS), one entry a replica; nats per example."""

    test_bound: Float[Tensor, "replica"]
    test_elbo: Float[Tensor, "replica"]
    test_reconstruction: Float[Tensor, "replica"]
    test_kl: Float[Tensor, "replica"]
    ess: Float[Tensor, "replica"]
    saturated_mean: Float[Tensor, "replica"]
    saturated_log_variance: Float[Tensor, "replica"]
    activity: Float[Tensor, "replica unit"]
    activity_test: Float[Tensor, "replica unit"]
    activity_pca: Float[Tensor, "replica unit"]
    kl_per_unit: Float[Tensor, "replica unit"]
    kl_per_unit_test: Float[Tensor, "replica unit"]
    posterior_mean: Float[Tensor, "replica unit"]
    posterior_variance: Float[Tensor, "replica unit"]
    reconstruction_per_class: Float[Tensor, "replica label"]


@torch.no_grad()
def measure(
    parameters: Parameters,
    architecture: Architecture,
    data: Data,
    seeds: Seeds,
    k: int,
    epoch: int,
    running: Statistics | None = None,
) -> Measurement:
    """Measure every replica on the fixed training and test images; all bounds at beta 1."""
    images = measured_at(data, epoch)
    normalise, train = evaluation_statistics(parameters, architecture, images, seeds, epoch, running)
    train = train or posterior_of(parameters, architecture, images, seeds, normalise, Stream.MEASURED_NOISE, epoch)
    codes, sampled = [], []
    for part, start, x in chunks(data.test, seeds, k):
        noise = seeds.normals(Stream.TEST_NOISE, epoch, (k, len(x)), architecture.latent, part, (0, start))
        inputs = x.expand(len(seeds.index), -1, -1)
        first = encode(parameters, architecture, inputs, normalise)
        log_px, log_w = weigh(parameters, architecture, inputs, first, noise, normalise)
        one = sample_latents(parameters, architecture, first, [drawn[:, :1] for drawn in noise], normalise)
        codes.append(Code(one, kl_of_layers(parameters, architecture, one, normalise)))
        sampled.append((iwae_bound(log_w), log_w.mean(1), log_px.mean(1), effective_share(log_w)))
    bound, elbo, reconstruction, ess = (torch.cat(column, dim=-1) for column in zip(*sampled, strict=True))
    test = _posterior(codes, architecture)
    measured = Measurement(
        test_bound=bound.mean(-1),
        test_elbo=elbo.mean(-1),
        test_reconstruction=reconstruction.mean(-1),
        test_kl=test.kl.sum(-1),
        ess=ess.mean(-1),
        saturated_mean=train.saturated_mean,
        saturated_log_variance=train.saturated_log_variance,
        activity=train.activity,
        activity_test=test.activity,
        activity_pca=train.activity_pca,
        kl_per_unit=train.kl,
        kl_per_unit_test=test.kl,
        posterior_mean=train.mean,
        posterior_variance=train.variance,
        reconstruction_per_class=_per_class(reconstruction, data),
    )
    return on_host(measured)


def chunks(
    images: Float[Tensor, "image pixel"], seeds: Seeds, k: int = 1
) -> Iterator[tuple[int, int, Float[Tensor, "_chunk pixel"]]]:
    """The images a chunk at a time, each with its number and its first image; by what the generator or the device takes."""
    size = CHUNK
    if seeds.source == COUNTER:
        size = max(CHUNK, ELEMENTS // (len(seeds.index) * images.shape[1] * k))
    for part, x in enumerate(images.split(size)):
        yield part, part * size, x


@torch.no_grad()
def evaluation_statistics(
    parameters: Parameters,
    architecture: Architecture,
    images: Float[Tensor, "image pixel"],
    seeds: Seeds,
    epoch: int,
    running: Statistics | None = None,
) -> tuple[Normaliser, "Posterior | None"]:
    """How to batch-normalise in evaluation: by running statistics, or by those of `images`, measured layer by layer, K = 1.

    Sonderby et al.'s code recomputes them in one pass over the training set before every evaluation; moving averages
    depend on the path of training.

    Returns:
        How to normalise, and the posterior of the images where it comes out of the same pass (else None).
    """
    statistics, train = statistics_of(parameters, architecture, images, seeds, epoch, running)
    return fixed_statistics(statistics), train


@torch.no_grad()
def statistics_of(
    parameters: Parameters,
    architecture: Architecture,
    images: Float[Tensor, "image pixel"],
    seeds: Seeds,
    epoch: int,
    running: Statistics | None = None,
) -> tuple[Statistics, "Posterior | None"]:
    """Mean and variance of every batch-normalised layer in evaluation; see evaluation_statistics."""
    if running or not architecture.batch_norm:
        return running or {}, None
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    note = batch_statistics(seen)
    noise = seeds.normals(Stream.STATISTICS_NOISE, epoch, (1, len(images)), architecture.latent)
    first = encode(parameters, architecture, images.expand(len(seeds.index), -1, -1), note)
    latents = sample_latents(parameters, architecture, first, noise, note)
    for layer, latent in enumerate(latents[1:]):
        conditional_prior(parameters, architecture, layer, latent.z, note)
    hidden_layers(parameters, architecture, 0, "decoder", latents[0].z.flatten(1, 2), note)
    kl = kl_of_layers(parameters, architecture, latents, fixed_statistics(seen))
    return seen, _posterior([Code(latents, kl)], architecture)


@dataclass(frozen=True)
class Code:
    """What the encoders say of some images."""

    latents: Sequence[Latent]
    """One sample an image is enough: means and log-variances are what counts."""
    kl: Float[Tensor, "replica batch unit"]

    @property
    def mean(self) -> Float[Tensor, "replica batch unit"]:
        """mu of all layers side by side; an upper layer's for the first sample below it (Burda et al.'s code)."""
        return torch.cat([latent.mean[:, 0] for latent in self.latents], -1)

    @property
    def log_variance(self) -> Float[Tensor, "replica batch unit"]:
        """log sigma^2 of all layers side by side."""
        return torch.cat([latent.log_variance[:, 0] for latent in self.latents], -1)


@dataclass(frozen=True)
class Posterior:
    """What the encoders say of a set of images, [replica, unit], or [replica] for the shares."""

    activity: Tensor
    activity_pca: Tensor
    kl: Tensor
    mean: Tensor
    variance: Tensor
    saturated_mean: Tensor
    saturated_log_variance: Tensor


@torch.no_grad()
def posterior_of(
    parameters: Parameters,
    architecture: Architecture,
    images: Float[Tensor, "image pixel"],
    seeds: Seeds,
    normalise: Normaliser,
    stream: Stream,
    epoch: int,
) -> Posterior:
    """The posterior of a set of images; upper layers for one sample of what is below them."""
    codes = []
    for part, start, x in chunks(images, seeds):
        noise = _noise_of_codes(seeds, stream, epoch, len(x), architecture, part, start)
        first = encode(parameters, architecture, x.expand(len(seeds.index), -1, -1), normalise)
        latents = sample_latents(parameters, architecture, first, noise, normalise)
        codes.append(Code(latents, kl_of_layers(parameters, architecture, latents, normalise)))
    return _posterior(codes, architecture)


def _noise_of_codes(
    seeds: Seeds, stream: Stream, epoch: int, n: int, architecture: Architecture, part: int, start: int
) -> list[Float[Tensor, "replica k batch _unit"]]:
    if len(architecture.latent) > 1:
        return seeds.normals(stream, epoch, (1, n), architecture.latent, part, (0, start))
    # The samples of a single layer are read by nobody: nothing has to be drawn.
    return [torch.zeros(len(seeds.index), 1, n, architecture.n_z, device=seeds.index.device)]


def _posterior(codes: Iterable[Code], architecture: Architecture) -> Posterior:
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
    """Share of the values of a bounded head that lie at one of its ends; NaN where it has none."""
    if ends is None:
        return parts[0].new_full((len(parts[0]),), torch.nan, dtype=torch.float64)
    values = torch.cat(list(parts), 1)
    if units is None:
        return saturated_share(values, *ends)
    hits = _is_saturated(values, *ends) & units.exists[:, 0]
    return hits.flatten(1).double().sum(1) / (values.shape[1] * units.counts)


def saturated_share(values: Float[Tensor, "replica *axes"], low: float, high: float) -> Float[Tensor, "replica"]:
    """Share of values within SATURATED times (high - low) of low or of high."""
    return _is_saturated(values, low, high).flatten(1).double().mean(1)


def _is_saturated(values: Tensor, low: float, high: float) -> Tensor:
    margin = SATURATED * (high - low)
    return (values < low + margin) | (values > high - margin)


def weigh(
    parameters: Parameters,
    architecture: Architecture,
    x: Float[Tensor, "replica batch pixel"],
    first: tuple[Float[Tensor, "replica 1 batch unit"], Float[Tensor, "replica 1 batch unit"]],
    noise: Sequence[Float[Tensor, "replica k batch _unit"]],
    normalise: Normaliser,
    replace: Replace | None = None,
) -> tuple[Float[Tensor, "replica k batch"], Float[Tensor, "replica k batch"]]:
    """log p(x|z) and log w of every sample, in float64, some samples at a time."""
    columns = []
    for part in at_once(noise, x):
        latents = sample_latents(parameters, architecture, first, part, normalise, replace)
        log_px = log_likelihood(parameters, architecture, x, latents[0].z, normalise).double()
        columns.append((log_px, log_px + log_ratio(parameters, architecture, latents, normalise)))
    log_px, log_w = (torch.cat(column, 1) for column in zip(*columns, strict=True))
    return log_px, log_w


def at_once(noise: Sequence[Tensor], x: Float[Tensor, "replica batch pixel"]) -> Iterator[tuple[Tensor, ...]]:
    """The noise of as many samples at a time as the device takes well; changes no number."""
    k = max(1, rows_at_once(x) // x.shape[1])
    return zip(*(drawn.split(k, dim=1) for drawn in noise), strict=True)


def rows_at_once(x: Float[Tensor, "replica batch pixel"]) -> int:
    """Decoder rows a replica that the device takes well at once."""
    return _ROWS.get(x.device.type) or max(1, ELEMENTS // (x.shape[0] * x.shape[2]))


def _per_class(reconstruction: Tensor, data: Data) -> Tensor:
    """Mean log p(x|z) of the test images of every class; NaN where a class has none; no entry without labels."""
    if data.test_classes is None:
        return reconstruction.new_zeros(len(reconstruction), 0)
    # Not one_hot, which looks at the classes on the host.
    classes = torch.arange(data.n_classes, device=reconstruction.device)
    member = (data.test_classes.unsqueeze(1) == classes).to(reconstruction.dtype)
    return (reconstruction @ member) / member.sum(0)
