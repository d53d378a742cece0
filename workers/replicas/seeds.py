"""Random numbers as functions of (seed, stream, step): a trial draws the same ones alone, in any pack and after a resume."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workers.contract.streams import Stream, generator
from workers.kernels import philox_reference as philox
from workers.kernels.available import has_kernels
from workers.replicas.units import Units, kept

NUMPY, COUNTER = "numpy-philox", "philox4x32"
"""The generators, as provenance names them: numpy's on the CPU, positioned once per step, and one positioned per number.

With either, numpy draws initial weights, orders and everything that belongs to the data, so that these are equal everywhere.
"""


def generator_of(device: torch.device) -> str:
    """Return the generator whose numbers a device trains and measures with."""
    return COUNTER if device.type == "cuda" else NUMPY


class Seeds:
    """The seeds of a pack; replicas with equal seeds draw equal numbers."""

    def __init__(
        self, seeds: Sequence[int], device: torch.device, source: str | None = None, units: Units | None = None
    ) -> None:
        """Keep `seeds`, one per replica; `source` is a generator (None: the device's), `units` those of a padded pack."""
        self._units = units
        self.unique = sorted(set(seeds))
        self.source = source or generator_of(device)
        self._device = device
        self.index = torch.tensor([self.unique.index(seed) for seed in seeds], device=device)
        self.keys = torch.tensor(list(seeds), device=device)
        self._unique_keys = torch.tensor(self.unique, device=device)

    def spread(self, drawn: Tensor) -> Tensor:
        """Return one entry per replica from one entry per distinct seed."""
        return drawn.index_select(0, self.index)

    def normal(self, stream: Stream, step: int, shape: tuple[int, ...], part: int = 0) -> Float[Tensor, "replica ..."]:
        """Draw the standard normal numbers of a step from numpy's generator, [replica, *shape]."""
        drawn = np.empty((len(self.unique), *shape), dtype=np.float32)
        for row, seed in zip(drawn, self.unique, strict=True):
            generator(seed, stream, step, part).standard_normal(dtype=np.float32, out=row)
        return self.spread(torch.from_numpy(drawn).to(self._device))

    def normals(
        self,
        stream: Stream,
        step: int | Int[Tensor, "1"],
        rows: tuple[int, int],
        latent: Sequence[int],
        part: int = 0,
        first: tuple[int, int] = (0, 0),
    ) -> list[Float[Tensor, "replica k batch _unit"]]:
        """Draw standard normal numbers for every stochastic layer; those of the first do not depend on the layers above.

        Args:
            stream: the purpose of the numbers.
            step: the training step, or the epoch of an evaluation; only the counter-based generator accepts a tensor.
            rows: numbers of samples and images.
            latent: the number of units of every layer.
            part: which part of the images, for numpy's generator, which cannot start at a given row.
            first: the first sample and the first image, for the counter-based generator.
        """
        if self.source == COUNTER:
            where = self.keys, stream
            return [
                device_normals(*where, layer, step, (*rows, n_z), first, self._units) for layer, n_z in enumerate(latent)
            ]
        assert isinstance(step, int)
        if self._units:
            return [self._padded_normal(stream, step, rows, part, self._units)]
        # The layer is in the top byte of the counter's word for the part.
        return [self.normal(stream, step, (*rows, n_z), part=(layer << 56) + part) for layer, n_z in enumerate(latent)]

    def _padded_normal(self, stream: Stream, step: int, rows: tuple[int, int], part: int, units: Units) -> Tensor:
        """Draw `normal` at each replica's own n_z, on which numpy's numbers depend; 0 for units that do not exist."""
        drawn = torch.zeros(len(self.index), *rows, units.width, device=self._device)
        for n_z, own in units.groups:
            drawn[own, ..., :n_z] = self.normal(stream, step, (*rows, n_z), part)[own]
        return drawn

    def uniform(self, stream: Stream, step: int | Int[Tensor, "1"], shape: tuple[int, ...]) -> Float[Tensor, "seed ..."]:
        """Draw uniform numbers in [0, 1), one row per distinct seed; the counter-based generator needs two axes."""
        if self.source == COUNTER:
            batch, pixels = shape
            return philox.uniforms(self._unique_keys, stream, step, (batch, pixels))
        assert isinstance(step, int)
        drawn = np.empty((len(self.unique), *shape), dtype=np.float32)
        for row, seed in zip(drawn, self.unique, strict=True):
            generator(seed, stream, step).random(dtype=np.float32, out=row)
        return torch.from_numpy(drawn).to(self._device)

    def permutations(self, stream: Stream, step: int, n: int) -> Tensor:
        """Draw an order of n images, one row per distinct seed; numpy draws it on every device, once per epoch."""
        orders = torch.from_numpy(np.stack([generator(seed, stream, step).permutation(n) for seed in self.unique]))
        return to_device(orders, self._device)


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Copy to the device without making the host wait."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


def device_normals(
    keys: Int[Tensor, "replica"],
    stream: int,
    layer: int,
    step: int | Int[Tensor, "1"],
    shape: tuple[int, int, int],
    first: tuple[int, int],
    units: Units | None = None,
) -> Float[Tensor, "replica k batch unit"]:
    """Draw philox_reference.normals, with the kernel where there is one; 0 for units that do not exist."""
    if has_kernels(keys):
        from workers.kernels import philox as kernels_philox

        counts = units.counts if units else None
        return kernels_philox.normals(keys, stream, layer, step, shape, first, counts)
    return kept(philox.normals(keys, stream, layer, step, shape, first), units)
