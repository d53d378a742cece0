"""Which latent units exist in a pack whose trials differ in n_z, and are therefore padded to one width.

A unit that does not exist has mu = log sigma^2 = noise = 0. These zeros are selected, not obtained by multiplication, so
z = 0: its terms of every log-density and KL and all gradients by its parameters are exactly 0, and ablating it changes
nothing. Code that counts units, orders them or bounds each from below must ask here which units exist.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MULTIPLE = 8
"""Padded widths are multiples of this, which a GPU's matrix units need to be fast."""


@dataclass(frozen=True, eq=False)
class Units:
    """The latent units of a padded pack's replicas."""

    widths: tuple[int, ...]
    """n_z of every replica."""
    width: int
    """Units in the padded tensors."""
    counts: Int[Tensor, "replica"]
    """`widths` on the device."""
    exists: Bool[Tensor, "replica 1 1 unit"]
    groups: tuple[tuple[int, Int[Tensor, "_own"]], ...]
    """Every n_z with the indices of its replicas."""


def units_of(widths: Sequence[int], device: torch.device) -> Units | None:
    """Return the units of replicas with these n_z; None if all are equal, so that nothing is padded."""
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
    """Return the values with 0 for units that do not exist, even in place of a NaN."""
    return values if units is None else torch.where(units.exists, values, 0.0)
