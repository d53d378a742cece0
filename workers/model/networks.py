"""Compute the encoders and decoders of a pack as plain functions of its parameters, and sample its latent layers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from workers.kernels.available import has_kernels
from workers.model.architecture import Architecture, side
from workers.model.densities import (
    bernoulli_log_likelihood,
    biased_bernoulli,
    biased_gaussian,
    continuous_bernoulli_log_likelihood,
    continuous_bernoulli_mean,
    gaussian_density,
    gaussian_log_likelihood,
)
from workers.model.layers import ACTIVATIONS, LOG_VARIANCE_HEADS, Normaliser, batch_statistics, softplus_of
from workers.model.objective import (
    closed_prior_ratio,
    kl_per_unit,
    log_conditional_ratio,
    log_prior_ratio,
    log_ratio_per_unit,
    reparameterise,
)
from workers.replicas.products import affine_product, product
from workers.replicas.units import kept

Parameters = Mapping[str, Tensor]
"""Weights [replica, in, out], biases and batch-norm scales [replica, 1, out], by name."""


@dataclass(frozen=True, eq=False)
class Model:
    """The networks of a pack, ready to be evaluated: parameters, architecture, and a way to batch-normalise."""

    parameters: Parameters
    architecture: Architecture
    normalise: Normaliser


def posterior(
    model: Model, layer: int, below: Float[Tensor, "replica k batch _in"]
) -> tuple[Float[Tensor, "replica k batch unit"], Float[Tensor, "replica k batch unit"]]:
    """Return mu and log sigma^2 of q(z_layer | below), where `below` is the image (k = 1) or samples of the layer below."""
    architecture = model.architecture
    name = side("encoder", layer)
    h = hidden_layers(model, layer, "encoder", below.flatten(1, 2))
    mean = affine(model, f"{name}.mean", h)
    if architecture.encoder_mean_head == "sigmoid":
        mean = torch.sigmoid(mean)
    elif architecture.encoder_mean_head == "activation":
        mean = ACTIVATIONS[architecture.activation](mean)
    head = LOG_VARIANCE_HEADS[architecture.encoder_logvar_head]
    log_variance = head(affine(model, f"{name}.log_variance", h))
    shape = below.shape[1:3]
    # After the heads, because a head can map 0 to 0.5.
    return kept(mean.unflatten(1, shape), architecture.units), kept(log_variance.unflatten(1, shape), architecture.units)


def conditional_prior(
    model: Model, layer: int, above: Float[Tensor, "replica k batch _above"]
) -> tuple[Float[Tensor, "replica k batch unit"], Float[Tensor, "replica k batch unit"]]:
    """Return mean and log-variance of the Gaussian p(z_layer | z_layer+1).

    The mean is linear, and the log-variance has the head of q.
    """
    name = side("decoder", layer + 1)
    h = hidden_layers(model, layer + 1, "decoder", above.flatten(1, 2))
    mean = affine(model, f"{name}.mean", h)
    head = LOG_VARIANCE_HEADS[model.architecture.encoder_logvar_head]
    log_variance = head(affine(model, f"{name}.log_variance", h))
    shape = above.shape[1:3]
    return mean.unflatten(1, shape), log_variance.unflatten(1, shape)


@dataclass(frozen=True)
class Latent:
    """Samples of one stochastic layer, and the q from which they were drawn."""

    mean: Float[Tensor, "replica _k batch unit"]
    log_variance: Float[Tensor, "replica _k batch unit"]
    noise: Float[Tensor, "replica k batch unit"]
    z: Float[Tensor, "replica k batch unit"]


Replace = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Replaces the means and log-variances of the q of a layer, given the layer's number."""


def encode(
    model: Model, x: Float[Tensor, "replica batch pixel"]
) -> tuple[Float[Tensor, "replica 1 batch unit"], Float[Tensor, "replica 1 batch unit"]]:
    """Return mu and log sigma^2 of q(z_1|x)."""
    return posterior(model, 0, x.unsqueeze(1))


def sample_latents(
    model: Model,
    first: tuple[Float[Tensor, "replica 1 batch unit"], Float[Tensor, "replica 1 batch unit"]],
    noise: Sequence[Float[Tensor, "replica k batch _unit"]],
    replace: Replace | None = None,
) -> list[Latent]:
    """Sample the stochastic layers from the bottom up: z_1 ~ q(z_1|x), z_2 ~ q(z_2|z_1), ...; Burda et al. 2016, sec. 3.

    Args:
        model: the networks of the pack.
        first: mu and log sigma^2 of q(z_1|x), from `encode`.
        noise: standard normal numbers for each layer, [replica, k, batch, units of the layer].
        replace: replaces the q of a layer; see Replace.
    """
    latents: list[Latent] = []
    for layer, drawn in enumerate(noise):
        q = first if layer == 0 else posterior(model, layer, latents[-1].z)
        mean, log_variance = q if replace is None else replace(layer, *q)
        latents.append(Latent(mean, log_variance, drawn, reparameterise(mean, log_variance, drawn)))
    return latents


def pixels(model: Model, z: Float[Tensor, "replica k batch unit"]) -> tuple[Tensor, ...]:
    """Return the outputs of the decoder in the order of architecture.pixel_heads, each [replica, k, batch, pixel].

    Batch statistics, where they are used, are taken over all K * batch rows of a replica.
    """
    h = hidden_layers(model, 0, "decoder", z.flatten(1, 2))
    shape = z.shape[1:3]
    return tuple(affine(model, f"decoder.{head}", h).unflatten(1, shape) for head in model.architecture.pixel_heads)


def decoder_log_variance(model: Model, heads: tuple[Tensor, ...]) -> Float[Tensor, "replica #k #batch #pixel"]:
    """Return log sigma^2 of the Gaussian decoder."""
    architecture = model.architecture
    match architecture.decoder_logvar:
        case "tanh":
            return torch.tanh(heads[1])
        case "linear_clamped":
            return heads[1].clamp(-architecture.decoder_logvar_limit, architecture.decoder_logvar_limit)
        case "global":
            return model.parameters["decoder.log_variance"].unsqueeze(1)
    return heads[0].new_full((len(heads[0]), 1, 1, 1), architecture.decoder_logvar_value)


def log_density(
    model: Model, x: Float[Tensor, "replica batch pixel"], heads: tuple[Tensor, ...]
) -> Float[Tensor, "replica k batch"]:
    """Return log p(x|z) in nats, summed over pixels, from the outputs of the decoder."""
    match model.architecture.decoder:
        case "bernoulli":
            return bernoulli_log_likelihood(x, heads[0])
        case "continuous_bernoulli":
            return continuous_bernoulli_log_likelihood(x, heads[0])
    if model.architecture.decoder_logvar == "tanh":
        return gaussian_log_likelihood(x, *heads)
    return gaussian_density(x, heads[0], decoder_log_variance(model, heads))


def log_likelihood(
    model: Model, x: Float[Tensor, "replica batch pixel"], z: Float[Tensor, "replica k batch unit"]
) -> Float[Tensor, "replica k batch"]:
    """Return log p(x|z_1) in nats, summed over pixels."""
    if has_kernels(z) and _has_pixel_kernel(model.architecture):
        return _fused_log_likelihood(model, x, z)
    return log_density(model, x, pixels(model, z))


def _has_pixel_kernel(architecture: Architecture) -> bool:
    if architecture.decoder == "gaussian":
        return architecture.decoder_logvar == "tanh"
    return architecture.decoder == "bernoulli"


def _fused_log_likelihood(
    model: Model, x: Float[Tensor, "replica batch pixel"], z: Float[Tensor, "replica k batch unit"]
) -> Float[Tensor, "replica k batch"]:
    """Return log p(x|z_1) by a kernel that also adds the biases of the decoder's heads."""
    h = hidden_layers(model, 0, "decoder", z.flatten(1, 2))
    names = [f"decoder.{head}" for head in model.architecture.pixel_heads]
    raw = [product(h, model.parameters[f"{name}.weight"]).unflatten(1, z.shape[1:3]) for name in names]
    biases = [model.parameters[f"{name}.bias"] for name in names]
    if model.architecture.decoder == "bernoulli":
        return biased_bernoulli(x, raw[0], biases[0])
    return biased_gaussian(x, (raw[0], raw[1]), (biases[0], biases[1]))


def log_ratio(model: Model, latents: Sequence[Latent], closed_form: bool = False) -> Float[Tensor, "replica #k batch"]:
    """Return log p(z) - log q(z|x) in nats, summed over all stochastic layers.

    The top layer has the prior N(0, I), and the layers below have conditional priors. With closed_form the top layer
    contributes -KL(q || p) instead, which has the same mean; if it is the only layer, the axis of samples has length 1.
    """
    top = latents[-1]
    if closed_form:
        total = closed_prior_ratio(top.mean, top.log_variance)
    else:
        total = log_prior_ratio(top.z, top.log_variance, top.noise)
    for layer, (latent, above) in enumerate(pairwise(latents)):
        p = conditional_prior(model, layer, above.z)
        total = total + log_conditional_ratio(latent.z, latent.log_variance, latent.noise, p)
    return total


def path_log_ratio(model: Model, latents: Sequence[Latent]) -> Float[Tensor, "replica k batch"]:
    """Return log_ratio with a q that depends on the encoder's parameters only through the samples.

    This leaves the score of q out of the gradient; Roeder et al. 2017 (arXiv:1703.09194). The q of a layer still depends on
    the samples below it, so upper encoders are evaluated a second time, with batch statistics that are not recorded.
    """
    detached = {name: tensor.detach() for name, tensor in model.parameters.items()}
    fixed = Model(detached, model.architecture, batch_statistics())
    terms: list[Tensor] = []
    for layer, latent in enumerate(latents):
        q = (latent.mean.detach(), latent.log_variance.detach())
        if layer > 0:
            q = posterior(fixed, layer, latents[layer - 1].z)
        is_top = layer == len(latents) - 1
        p = None if is_top else conditional_prior(model, layer, latents[layer + 1].z)
        terms.append(log_ratio_per_unit(latent.z, q, p).sum(-1))
    return reduce(torch.add, terms)


def kl_of_layers(model: Model, latents: Sequence[Latent]) -> Float[Tensor, "replica batch unit"]:
    """Return the KL of every unit from q to its prior in nats, with the layers side by side.

    The top layer has the closed form; for the layers below it is the mean of log q - log p over samples. The sum over
    units is E[log q(z|x) - log p(z)], which for one layer is KL(q(z|x) || p(z)).
    """
    found = []
    for layer, (latent, above) in enumerate(pairwise(latents)):
        p = conditional_prior(model, layer, above.z)
        found.append(-log_ratio_per_unit(latent.z, (latent.mean, latent.log_variance), p).mean(1))
    top = latents[-1]
    return torch.cat([*found, kl_per_unit(top.mean, top.log_variance).mean(1)], -1)


def pixel_mean_of(architecture: Architecture, heads: tuple[Tensor, ...]) -> Float[Tensor, "replica k batch pixel"]:
    """Return E[x|z] for every pixel."""
    if architecture.decoder == "continuous_bernoulli":
        return continuous_bernoulli_mean(heads[0])
    return torch.sigmoid(heads[0])


def hidden_layers(
    model: Model, layer: int, kind: str, h: Float[Tensor, "replica row _in"]
) -> Float[Tensor, "replica row _out"]:
    """Apply the hidden layers of one stochastic layer; `kind` is encoder or decoder."""
    parameters, architecture = model.parameters, model.architecture
    activate = ACTIVATIONS[architecture.activation]
    for i in range(len(architecture.hidden[layer])):
        name = f"{side(kind, layer)}.hidden{i}"
        if has_kernels(h) and architecture.activation == "softplus" and not architecture.is_normalised(name):
            h = softplus_of(product(h, parameters[f"{name}.weight"]), parameters[f"{name}.bias"])
        else:
            h = activate(affine(model, name, h))
    return h


def affine(model: Model, name: str, h: Float[Tensor, "replica row _in"]) -> Float[Tensor, "replica row _out"]:
    """Apply an affine layer, batch-normalised if the architecture asks for it."""
    parameters = model.parameters
    if model.architecture.is_normalised(name):
        a = product(h, parameters[f"{name}.weight"])
        return model.normalise(name, a, parameters[f"{name}.scale"], parameters[f"{name}.bias"])
    return affine_product(parameters[f"{name}.bias"], h, parameters[f"{name}.weight"])
