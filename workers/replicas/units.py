"""Which latent units exist where a pack's trials differ in n_z: the shorter ones are padded to one width.

A unit that does not exist has mu = log sigma^2 = noise = 0, chosen and never multiplied in, so z = 0: its terms of every
log-density and KL and all gradients by its parameters are exactly 0, and an ablation finds it silent already. What counts
units, orders them or bounds each from below asks here which exist.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MULTIPLE = 8
"""Padded widths are multiples of it, as matrix units of a GPU like them."""


@dataclass(frozen=True, eq=False)
class Units:
    """The latent units of a padded pack's replicas."""

    widths: tuple[int, ...]
    """n_z of every replica."""
    width: int
    """Units that the tensors have."""
    counts: Int[Tensor, "replica"]
    """`widths` on the device."""
    exists: Bool[Tensor, "replica 1 1 unit"]
    groups: tuple[tuple[int, Int[Tensor, "_own"]], ...]
    """Every n_z with its replicas."""


def units_of(widths: Sequence[int], device: torch.device) -> Units | None:
    """The units of replicas of so many; None if all have as many, where nothing is padded."""
    if len(set(widths)) == 1:
        return None
    width = -(-max(widths) // MULTIPLE) * MULTIPLE
    counts = torch.tensor(list(widths), device=device)
    groups = []
    for n_z in sorted(set(widths)):
        groups.append((n_z, torch.tensor([i for i, own in enumerate(widths) if own == n_z], device=device)))
    exists = (torch.arange(width, device=device) < counts.unsqueeze(1)).view(-1, 1, 1, width)
    return Units(tuple(widths), width, counts, exists, tuple(groups))


def kept(values: Float[Tensor, "replica _k _batch unit"], units: Units | None) -> Float[Tensor, "replica _k _batch unit"]:
    """The values of units that exist, and 0 for those that do not, whatever stood there."""
    return values if units is None else torch.where(units.exists, values, 0.0)
