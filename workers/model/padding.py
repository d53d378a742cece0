"""Pad the parameters of trials that differ in n_z to one width, and cut them back.

Parameters are drawn at the n_z of their own trial, then padded with zeros. The zeros stay zero, because their gradients are
exactly 0 (see workers/replicas/units.py), and Adam does not move a parameter whose first moment is 0. So the parameters of a
trial in a pack are a pure function of the parameters that it would have alone.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from workers.contract.settings import Settings
from workers.model.architecture import Architecture, architecture_of, initial_parameters
from workers.replicas.units import units_of


def architecture_of_pack(trials: Sequence[Settings], n_x: int, device: torch.device) -> Architecture:
    """Return the architecture that the trials of a pack share; if they differ in n_z, it has the largest n_z."""
    first = architecture_of(trials[0], n_x)
    units = units_of([settings.n_z for settings in trials], device)
    if units is None:
        return first
    assert len(first.latent) == 1, "models of several stochastic layers are packed by n_z"
    return replace(first, latent=(units.width,), units=units)


def initial_parameters_of_pack(
    architecture: Architecture,
    seeds: Sequence[int],
    device: torch.device,
    init: str,
    pixel_mean: Float[Tensor, "pixel"] | None = None,
) -> dict[str, Tensor]:
    """Draw the initial parameters of every replica as if it were alone, padded to the width of the pack."""
    units = architecture.units
    if units is None:
        return initial_parameters(architecture, seeds, device, init, pixel_mean)
    alone = [
        initial_parameters(replace(architecture, latent=(n_z,), units=None), [seed], device, init, pixel_mean)
        for n_z, seed in zip(units.widths, seeds, strict=True)
    ]
    return {name: torch.cat([resized(name, one[name], units.width) for one in alone]) for name in alone[0]}


def resized(name: str, tensor: Tensor, n_z: int) -> Tensor:
    """Return a parameter, a moment or a statistic padded with zeros, or cut, to n_z units of the first latent layer."""
    axis = _axis_of_units(name)
    if axis is None or tensor.shape[axis] == n_z:
        return tensor
    if tensor.shape[axis] > n_z:
        return tensor.narrow(axis, 0, n_z)
    missing = [0, 0] * -axis
    missing[-1] = n_z - tensor.shape[axis]
    return torch.nn.functional.pad(tensor, missing)


def _axis_of_units(name: str) -> int | None:
    """Return the axis of the units of the first latent layer, counted from the end; None if the tensor has none."""
    # Statistics are named after their layer; in files, a prefix and a slash tell which statistic it is.
    layer = name.rpartition("/")[2]
    if layer.startswith(("encoder.mean", "encoder.log_variance")):
        return -1
    return -2 if layer == "decoder.hidden0.weight" else None
