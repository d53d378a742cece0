"""Random numbers as functions of (seed, stream, step): the same alone, in any pack and after a resume; owns no state."""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

GENERATOR = "numpy-philox"
"""What provenance records: drawn on the CPU for every device, so that CPU and GPU see equal numbers."""

EVALUATION_SEED = 0
"""Of the evaluation images and their binarisation; never a trial's seed."""


class Stream(IntEnum):
    """Independent sequences of one seed. A number, once used, keeps its meaning."""

    WEIGHTS = 0
    ORDER = 1
    BINARISATION = 2
    NOISE = 3
    TEST_NOISE = 4
    NLL_NOISE = 5
    STATISTICS_NOISE = 6
    EVALUATION_IMAGES = 7
    EVALUATION_BINARISATION = 8
    SUBSET = 9
    REDRAWN = 10
    MEASURED_NOISE = 11
    SECONDARY_NOISE = 12
    AGGREGATE_NOISE = 13


def generator(seed: int, stream: Stream, step: int, part: int = 0) -> np.random.Generator:
    """A generator that stands at the start of a step.

    Philox4x64 (Salmon et al. 2011): key = (seed, stream); the counter's upper words hold step and part, so that no two
    steps overlap before 2^128 draws.
    """
    key = np.array([seed, stream], dtype=np.uint64)
    counter = np.array([0, 0, part, step], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


class Seeds:
    """The seeds of a pack: equal seeds draw once and share what they drew."""

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        """`seeds` has one entry a replica."""
        self.unique = sorted(set(seeds))
        self._device = device
        self.index = torch.tensor([self.unique.index(seed) for seed in seeds], device=device)

    def spread(self, drawn: Tensor) -> Tensor:
        """From one entry a distinct seed to one entry a replica."""
        return drawn.index_select(0, self.index)

    def normal(self, stream: Stream, step: int, shape: tuple[int, ...], part: int = 0) -> Float[Tensor, "replica ..."]:
        """Standard normal numbers of a step, [replica, *shape]."""
        drawn = np.empty((len(self.unique), *shape), dtype=np.float32)
        for row, seed in zip(drawn, self.unique, strict=True):
            generator(seed, stream, step, part).standard_normal(dtype=np.float32, out=row)
        return self.spread(torch.from_numpy(drawn).to(self._device))

    def normals(
        self, stream: Stream, step: int, rows: tuple[int, int], latent: Sequence[int], part: int = 0
    ) -> list[Float[Tensor, "replica k batch _unit"]]:
        """Standard normal numbers for every stochastic layer; those of the first are what `normal` draws."""
        # The layer stands in the top byte of the counter's word for the part.
        return [self.normal(stream, step, (*rows, n_z), part=(layer << 56) + part) for layer, n_z in enumerate(latent)]

    def uniform(self, stream: Stream, step: int, shape: tuple[int, ...]) -> Float[Tensor, "seed ..."]:
        """Uniform numbers in [0, 1) of a step, one row a distinct seed."""
        drawn = np.empty((len(self.unique), *shape), dtype=np.float32)
        for row, seed in zip(drawn, self.unique, strict=True):
            generator(seed, stream, step).random(dtype=np.float32, out=row)
        return torch.from_numpy(drawn).to(self._device)

    def permutations(self, stream: Stream, step: int, n: int) -> Tensor:
        """An order of n images, one row a distinct seed."""
        orders = [generator(seed, stream, step).permutation(n) for seed in self.unique]
        return torch.from_numpy(np.stack(orders)).to(self._device)
