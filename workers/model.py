"""The multilayer perceptrons of a pack: parameters with a leading replica axis, encoder and decoder as plain functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import FunctionCtx

from workers.objective import bernoulli_log_likelihood, gaussian_log_likelihood, softplus
from workers.rng import Stream, generator
from workers.settings import Settings

Parameters = Mapping[str, Tensor]
"""Weights [replica, in, out], biases and batch-norm scales [replica, 1, out], by name."""

Normaliser = Callable[[str, Tensor, Tensor, Tensor], Tensor]
"""Batch-normalises [replica, row, unit] of the layer of that name, with scale and shift [replica, 1, unit]."""

BATCH_NORM_EPSILON = 1e-5


class _Softplus(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, a: Tensor) -> Tensor:
        ctx.save_for_backward(a)
        return softplus(a)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> Tensor:
        (a,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return torch.sigmoid(a).mul_(grads[0])


class _BatchNorm(torch.autograd.Function):
    # By hand: autograd through the same lines passes over the rows three times as often.

    @staticmethod
    def forward(ctx: FunctionCtx, a: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean = a.mean(1, keepdim=True)
        centred = a - mean
        variance = centred.square().mean(1, keepdim=True)
        inverse = torch.rsqrt(variance + BATCH_NORM_EPSILON)
        normalised = centred.mul_(inverse)
        ctx.save_for_backward(normalised, inverse, scale)
        ctx.mark_non_differentiable(mean, variance)
        return torch.addcmul(shift, normalised, scale), mean, variance

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        normalised, inverse, scale = ctx.saved_tensors  # type: ignore[attr-defined]
        grad = grads[0]
        n = grad.shape[1]
        grad_shift = grad.sum(1, keepdim=True)
        grad_scale = (grad * normalised).sum(1, keepdim=True)
        # Ioffe and Szegedy 2015, sec. 3: the gradient less its mean and less its part along the normalised input.
        grad_a = torch.addcmul(grad_shift / -n, normalised, grad_scale / -n).add_(grad).mul_(inverse * scale)
        return grad_a, grad_scale, grad_shift


ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "softplus": _Softplus.apply,
    "tanh": torch.tanh,
    "relu": torch.relu,
}


@dataclass(frozen=True)
class Architecture:
    """What decides the shapes and operations of a model; equal for all trials of a pack."""

    n_x: int
    """Pixels."""
    n_z: int
    """Latent units."""
    hidden: tuple[int, ...]
    """Units of the encoder's hidden layers, from the image inwards; the decoder mirrors them."""
    activation: str
    batch_norm: bool
    decoder: str
    """bernoulli | gaussian"""

    def layers(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of every affine layer, by name, in the order in which they are computed."""
        encoder = [self.n_x, *self.hidden]
        decoder = [self.n_z, *reversed(self.hidden)]
        heads = ("logits",) if self.decoder == "bernoulli" else ("mean", "log_variance")
        sizes = {f"encoder.hidden{i}": (encoder[i], encoder[i + 1]) for i in range(len(self.hidden))}
        sizes |= {f"encoder.{head}": (encoder[-1], self.n_z) for head in ("mean", "log_variance")}
        sizes |= {f"decoder.hidden{i}": (decoder[i], decoder[i + 1]) for i in range(len(self.hidden))}
        return sizes | {f"decoder.{head}": (decoder[-1], self.n_x) for head in heads}


def architecture_of(settings: Settings, n_x: int) -> Architecture:
    """The architecture of a trial on images of n_x pixels."""
    return Architecture(
        n_x=n_x,
        n_z=settings.n_z,
        hidden=settings.model.hidden,
        activation=settings.model.activation,
        batch_norm=settings.batch_norm,
        decoder=settings.decoder,
    )


def initial_parameters(architecture: Architecture, seeds: list[int], device: torch.device) -> dict[str, Tensor]:
    """Glorot normal weights, Var(w) = 2 / (n_in + n_out) (Glorot and Bengio 2010), zero biases, unit batch-norm scales.

    Every layer draws from its own step of the seed's stream, so equal seeds share the weights of equal layers.
    """
    parameters: dict[str, Tensor] = {}
    for step, (name, (n_in, n_out)) in enumerate(architecture.layers().items()):
        deviation = np.float32((2 / (n_in + n_out)) ** 0.5)
        drawn = [
            generator(seed, Stream.WEIGHTS, step).standard_normal((n_in, n_out), dtype=np.float32) * deviation
            for seed in seeds
        ]
        parameters[f"{name}.weight"] = torch.from_numpy(np.stack(drawn)).to(device)
        row = (len(seeds), 1, n_out)
        # The shift of batch normalisation is the layer's bias (Ioffe and Szegedy 2015, sec. 3.2): one of both is enough.
        parameters[f"{name}.bias"] = torch.zeros(row, device=device)
        if architecture.batch_norm and ".hidden" in name:
            parameters[f"{name}.scale"] = torch.ones(row, device=device)
    return parameters


def encode(
    parameters: Parameters, architecture: Architecture, x: Float[Tensor, "replica row pixel"], normalise: Normaliser
) -> tuple[Float[Tensor, "replica row unit"], Float[Tensor, "replica row unit"]]:
    """mu and log sigma^2 of q(z|x); both heads are linear."""
    h = hidden_layers(parameters, architecture, "encoder", x, normalise)
    return _affine(parameters, "encoder.mean", h), _affine(parameters, "encoder.log_variance", h)


def log_likelihood(
    parameters: Parameters,
    architecture: Architecture,
    x: Float[Tensor, "replica batch pixel"],
    z: Float[Tensor, "replica k batch unit"],
    normalise: Normaliser,
) -> Float[Tensor, "replica k batch"]:
    """log p(x|z) in nats. Batch statistics, where used, are those of all K * batch rows of a replica."""
    replicas, k, batch, n_z = z.shape
    h = hidden_layers(parameters, architecture, "decoder", z.reshape(replicas, k * batch, n_z), normalise)
    if architecture.decoder == "bernoulli":
        return bernoulli_log_likelihood(x, _affine(parameters, "decoder.logits", h).unflatten(1, (k, batch)))
    mean = _affine(parameters, "decoder.mean", h).unflatten(1, (k, batch))
    return gaussian_log_likelihood(x, mean, _affine(parameters, "decoder.log_variance", h).unflatten(1, (k, batch)))


def batch_statistics(seen: dict[str, tuple[Tensor, Tensor]] | None = None) -> Normaliser:
    """Normalise with the mean and variance of the rows at hand (Ioffe and Szegedy 2015, alg. 1); note them in `seen`."""

    def normalise(name: str, a: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        out, mean, variance = _BatchNorm.apply(a, scale, shift)
        if seen is not None:
            seen[name] = (mean, variance)
        return out  # type: ignore[no-any-return]  # autograd.Function.apply is untyped

    return normalise


def fixed_statistics(seen: Mapping[str, tuple[Tensor, Tensor]]) -> Normaliser:
    """Normalise with statistics that were measured before, so that no image changes another's result."""

    def normalise(name: str, a: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        mean, variance = seen[name]
        slope = torch.rsqrt(variance + BATCH_NORM_EPSILON) * scale
        return torch.addcmul(shift - mean * slope, a, slope)

    return normalise


def hidden_layers(
    parameters: Parameters,
    architecture: Architecture,
    side: str,
    h: Float[Tensor, "replica row _in"],
    normalise: Normaliser,
) -> Float[Tensor, "replica row _out"]:
    """The hidden layers of the encoder or the decoder: affine, batch normalisation where asked for, activation."""
    activate = ACTIVATIONS[architecture.activation]
    for i in range(len(architecture.hidden)):
        name = f"{side}.hidden{i}"
        if architecture.batch_norm:
            a = torch.bmm(h, parameters[f"{name}.weight"])
            h = activate(normalise(name, a, parameters[f"{name}.scale"], parameters[f"{name}.bias"]))
        else:
            h = activate(_affine(parameters, name, h))
    return h


def _affine(parameters: Parameters, name: str, h: Tensor) -> Tensor:
    return torch.baddbmm(parameters[f"{name}.bias"], h, parameters[f"{name}.weight"])
