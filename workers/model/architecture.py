"""Which networks a trial has: the sizes of its layers, and their parameters before training; computes nothing with them."""

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
    """What decides the shapes and operations of a model; equal for all trials of a pack."""

    n_x: int
    """Pixels."""
    latent: tuple[int, ...]
    """Units of every stochastic layer, from the image upwards."""
    hidden: tuple[tuple[int, ...], ...]
    """Hidden layers of the encoder below every stochastic layer, upwards; its decoder mirrors them."""
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
    """Which latent units every replica has, where a pack's trials differ in n_z; None: all of them."""

    @property
    def n_z(self) -> int:
        """Latent units of all stochastic layers."""
        return sum(self.latent)

    @property
    def pixel_heads(self) -> tuple[str, ...]:
        """Affine layers that end at the pixels."""
        if self.decoder != "gaussian":
            return ("logits",)
        return ("mean", "log_variance") if self.decoder_logvar in ("tanh", "linear_clamped") else ("mean",)

    def layers(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of every affine layer, by name.

        The first stochastic layer comes first, so that equal seeds share its weights however many lie above.
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
        """Whether batch normalisation follows an affine layer."""
        if not self.batch_norm:
            return False
        ends_at_pixels = name.startswith("decoder.") and ".hidden" not in name
        return ".hidden" in name or (self.bn_scope == "hidden_and_latent" and not ends_at_pixels)


def side(kind: str, layer: int) -> str:
    """The name of the encoder or decoder of a stochastic layer, counted from 0 at the image."""
    return kind if layer == 0 else f"{kind}{layer + 1}"


def architecture_of(settings: Settings, n_x: int) -> Architecture:
    """The architecture of a trial on images of n_x pixels."""
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
    """Glorot weights, Var(w) = 2 / (n_in + n_out) (Glorot and Bengio 2010), zero biases, unit batch-norm scales.

    Every layer draws from its own step of the seed's stream, so equal seeds share the weights of equal layers.

    Args:
        architecture: of the pack.
        seeds: one a replica.
        device: where they will be.
        init: glorot_normal, or glorot_uniform on +-sqrt(6 / (n_in + n_out)).
        pixel_mean: where given, the bias of the pixels' mean is its logit.
    """
    parameters: dict[str, Tensor] = {}
    for step, (name, (n_in, n_out)) in enumerate(architecture.layers().items()):
        drawn = [_glorot(generator(seed, Stream.WEIGHTS, step), n_in, n_out, init) for seed in seeds]
        parameters[f"{name}.weight"] = torch.from_numpy(np.stack(drawn)).to(device)
        row = (len(seeds), 1, n_out)
        # The shift of batch normalisation is the layer's bias (Ioffe and Szegedy 2015, sec. 3.2): one of both is enough.
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
    """Running means of 0 and variances of 1 of every normalised layer."""
    return {
        name: (torch.zeros(replicas, 1, n_out, device=device), torch.ones(replicas, 1, n_out, device=device))
        for name, (_, n_out) in architecture.layers().items()
        if architecture.is_normalised(name)
    }
