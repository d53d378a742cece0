"""The networks of a trial: the sizes of its layers, and their parameters before training."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from workers.contract.settings import Settings, layers_above
from workers.contract.streams import Stream, generator
from workers.replicas.units import Units


@dataclass(frozen=True)
class Architecture:
    """Everything that decides the shapes and operations of a model; equal for all trials of a pack."""

    n_x: int
    """Pixels per image."""
    latent: tuple[int, ...]
    """Number of units of every stochastic layer, from the image upwards."""
    hidden: tuple[tuple[int, ...], ...]
    """Sizes of the encoder's hidden layers below every stochastic layer, from below; the decoder mirrors them."""
    activation: str
    batch_norm: bool
    bn_scope: str
    decoder: str
    encoder_mean_head: str
    encoder_logvar_head: str
    decoder_logvar: str
    decoder_logvar_value: float
    decoder_logvar_limit: float
    units: Units | None = field(default=None, compare=False)
    """The latent units of every replica if the trials of the pack differ in n_z; None if every replica has all of them."""

    @property
    def n_z(self) -> int:
        """Number of latent units of all stochastic layers together."""
        return sum(self.latent)

    @property
    def pixel_heads(self) -> tuple[str, ...]:
        """Names of the affine layers whose outputs belong to pixels."""
        if self.decoder != "gaussian":
            return ("logits",)
        return ("mean", "log_variance") if self.decoder_logvar in ("tanh", "linear_clamped") else ("mean",)

    def layers(self) -> dict[str, tuple[int, int]]:
        """Return the numbers of inputs and outputs of every affine layer, by name.

        The first stochastic layer comes first, so that equal seeds share its weights, however many layers are above it.
        """
        sizes: dict[str, tuple[int, int]] = {}
        below = self.n_x
        for i, (n_z, hidden) in enumerate(zip(self.latent, self.hidden, strict=True)):
            up, down = [below, *hidden], [n_z, *reversed(hidden)]
            heads = self.pixel_heads if i == 0 else ("mean", "log_variance")
            encoder, decoder = side("encoder", i), side("decoder", i)
            sizes |= {f"{encoder}.hidden{j}": (up[j], up[j + 1]) for j in range(len(hidden))}
            sizes |= {f"{encoder}.{head}": (up[-1], n_z) for head in ("mean", "log_variance")}
            sizes |= {f"{decoder}.hidden{j}": (down[j], down[j + 1]) for j in range(len(hidden))}
            sizes |= {f"{decoder}.{head}": (down[-1], below) for head in heads}
            below = n_z
        return sizes

    def is_normalised(self, name: str) -> bool:
        """Return whether batch normalisation follows an affine layer."""
        if not self.batch_norm:
            return False
        ends_at_pixels = name.startswith("decoder.") and ".hidden" not in name
        return ".hidden" in name or (self.bn_scope == "hidden_and_latent" and not ends_at_pixels)


def side(kind: str, layer: int) -> str:
    """Return the name of the encoder or decoder of a stochastic layer; layers are counted from 0 at the image."""
    return kind if layer == 0 else f"{kind}{layer + 1}"


def architecture_of(settings: Settings, n_x: int) -> Architecture:
    """Return the architecture of a trial on images of n_x pixels."""
    model, above = settings.model, layers_above(settings.model)
    return Architecture(
        n_x=n_x,
        latent=(settings.n_z, *(n_z for _, n_z in above)),
        hidden=(model.hidden, *(hidden for hidden, _ in above)),
        activation=model.activation,
        batch_norm=settings.batch_norm,
        bn_scope=model.bn_scope,
        decoder=settings.decoder,
        encoder_mean_head=model.encoder_mean_head,
        encoder_logvar_head=model.encoder_logvar_head,
        decoder_logvar=model.decoder_logvar,
        decoder_logvar_value=model.decoder_logvar_value,
        decoder_logvar_limit=model.decoder_logvar_limit,
    )


OUTPUT_BIAS_CLIP = 1e-3
"""Mean pixels are kept this far from 0 and 1 before their logit is taken, as in Burda et al.'s code."""


def initial_parameters(
    architecture: Architecture,
    seeds: Sequence[int],
    device: torch.device,
    init: str = "glorot_normal",
    pixel_mean: Float[Tensor, "pixel"] | None = None,
) -> dict[str, Tensor]:
    """Return the parameters before training, each with a leading replica axis.

    Weights have Var(w) = 2 / (n_in + n_out) (Glorot and Bengio 2010), biases are 0 and batch-norm scales 1. Every layer
    draws from its own step of the seed's stream, so that equal seeds share the weights of equal layers.

    Args:
        architecture: the architecture of the pack.
        seeds: one seed per replica.
        device: the device of the parameters.
        init: glorot_normal, or glorot_uniform on +-sqrt(6 / (n_in + n_out)).
        pixel_mean: if given, the logit of this mean is the initial bias of the decoder's output for the pixels' mean.
    """
    parameters: dict[str, Tensor] = {}
    for step, (name, (n_in, n_out)) in enumerate(architecture.layers().items()):
        drawn = [_glorot(generator(seed, Stream.WEIGHTS, step), n_in, n_out, init) for seed in seeds]
        parameters[f"{name}.weight"] = torch.from_numpy(np.stack(drawn)).to(device)
        row = (len(seeds), 1, n_out)
        # The layer's bias is also the shift of batch normalisation (Ioffe and Szegedy 2015, sec. 3.2): one is enough.
        parameters[f"{name}.bias"] = torch.zeros(row, device=device)
        if pixel_mean is not None and name in ("decoder.logits", "decoder.mean"):
            clipped = pixel_mean.double().clamp(OUTPUT_BIAS_CLIP, 1 - OUTPUT_BIAS_CLIP)
            parameters[f"{name}.bias"] += torch.logit(clipped).float().to(device)
        if architecture.is_normalised(name):
            parameters[f"{name}.scale"] = torch.ones(row, device=device)
    if architecture.decoder == "gaussian" and architecture.decoder_logvar == "global":
        start = torch.full((len(seeds), 1, 1), architecture.decoder_logvar_value, device=device)
        parameters["decoder.log_variance"] = start
    return parameters


def _glorot(drawn: np.random.Generator, n_in: int, n_out: int, init: str) -> NDArray[np.float32]:
    if init == "glorot_uniform":
        limit = np.float32((6 / (n_in + n_out)) ** 0.5)
        return (2 * drawn.random((n_in, n_out), dtype=np.float32) - 1) * limit
    return drawn.standard_normal((n_in, n_out), dtype=np.float32) * np.float32((2 / (n_in + n_out)) ** 0.5)


def initial_statistics(architecture: Architecture, replicas: int, device: torch.device) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the initial running mean (0) and variance (1) of every normalised layer, [replica, 1, unit]."""
    return {
        name: (torch.zeros(replicas, 1, n_out, device=device), torch.ones(replicas, 1, n_out, device=device))
        for name, (_, n_out) in architecture.layers().items()
        if architecture.is_normalised(name)
    }
