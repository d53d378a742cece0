"""Random numbers as functions of (seed, stream, step): the same alone, in any pack and after a resume; owns no state."""

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
"""The generators, as provenance names them: numpy's on the CPU by the step; on the device by every single number.

Both draw initial weights, orders and everything that belongs to the data with numpy, so that these are equal everywhere.
"""


def generator_of(device: torch.device) -> str:
    """The generator whose numbers a device trains and measures with."""
    return COUNTER if device.type == "cuda" else NUMPY


class Seeds:
    """The seeds of a pack: equal seeds have equal draws."""

    def __init__(
        self, seeds: Sequence[int], device: torch.device, source: str | None = None, units: Units | None = None
    ) -> None:
        """`seeds` has one entry a replica; `source` is a generator (None: the device's); `units` are a padded pack's."""
        self._units = units
        self.unique = sorted(set(seeds))
        self.source = source or generator_of(device)
        self._device = device
        self.index = torch.tensor([self.unique.index(seed) for seed in seeds], device=device)
        self.keys = torch.tensor(list(seeds), device=device)
        self._unique_keys = torch.tensor(self.unique, device=device)

    def spread(self, drawn: Tensor) -> Tensor:
        """From one entry a distinct seed to one entry a replica."""
        return drawn.index_select(0, self.index)

    def normal(self, stream: Stream, step: int, shape: tuple[int, ...], part: int = 0) -> Float[Tensor, "replica ..."]:
        """Standard normal numbers of a step from numpy's generator, [replica, *shape]."""
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
        """Standard normal numbers for every stochastic layer; those of the first do not depend on what lies above.

        Args:
            stream: what they are for.
            step: of training, or the epoch of an evaluation; a tensor for the counter-based generator alone.
            rows: samples and images.
            latent: units of every layer.
            part: which rows, for numpy's generator, which knows no single one.
            first: which rows, for the counter-based one: the sample and the image that they begin at.
        """
        if self.source == COUNTER:
            where = self.keys, stream
            return [
                device_normals(*where, layer, step, (*rows, n_z), first, self._units) for layer, n_z in enumerate(latent)
            ]
        assert isinstance(step, int)
        if self._units:
            return [self._padded_normal(stream, step, rows, part, self._units)]
        # The layer stands in the top byte of the counter's word for the part.
        return [self.normal(stream, step, (*rows, n_z), part=(layer << 56) + part) for layer, n_z in enumerate(latent)]

    def _padded_normal(self, stream: Stream, step: int, rows: tuple[int, int], part: int, units: Units) -> Tensor:
        """`normal` at the n_z of every replica, as numpy's numbers depend on it; 0 for units that do not exist."""
        drawn = torch.zeros(len(self.index), *rows, units.width, device=self._device)
        for n_z, own in units.groups:
            drawn[own, ..., :n_z] = self.normal(stream, step, (*rows, n_z), part)[own]
        return drawn

    def uniform(self, stream: Stream, step: int | Int[Tensor, "1"], shape: tuple[int, ...]) -> Float[Tensor, "seed ..."]:
        """Uniform numbers in [0, 1) of a step, one row a distinct seed; two axes for the counter-based generator."""
        if self.source == COUNTER:
            batch, pixels = shape
            return philox.uniforms(self._unique_keys, stream, step, (batch, pixels))
        assert isinstance(step, int)
        drawn = np.empty((len(self.unique), *shape), dtype=np.float32)
        for row, seed in zip(drawn, self.unique, strict=True):
            generator(seed, stream, step).random(dtype=np.float32, out=row)
        return torch.from_numpy(drawn).to(self._device)

    def permutations(self, stream: Stream, step: int, n: int) -> Tensor:
        """An order of n images, one row a distinct seed; numpy's on every device, once an epoch."""
        orders = torch.from_numpy(np.stack([generator(seed, stream, step).permutation(n) for seed in self.unique]))
        return to_device(orders, self._device)


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """A copy on the device that the host does not wait for."""
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
    """philox.normals, by its kernel where there is one; 0 for units that do not exist."""
    if has_kernels(keys):
        from workers.kernels import philox as kernels_philox

        counts = units.counts if units else None
        return kernels_philox.normals(keys, stream, layer, step, shape, first, counts)
    return kept(philox.normals(keys, stream, layer, step, shape, first), units)
