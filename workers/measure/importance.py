"""Compute importance-weighted bounds of many samples on the test images, a few samples at a time, in nats per example."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from workers.contract.streams import Stream
from workers.measure.slices import at_once, chunks, rows_at_once
from workers.model.architecture import Architecture
from workers.model.densities import continuous_bernoulli_mass_of_grey, gaussian_mass_of_binary, gaussian_mass_of_grey
from workers.model.inputs import Data
from workers.model.networks import (
    Model,
    Replace,
    decoder_log_variance,
    encode,
    log_density,
    log_likelihood,
    log_ratio,
    pixels,
    sample_latents,
)
from workers.replicas.seeds import NUMPY, Seeds


def weigh(
    model: Model,
    x: Float[Tensor, "replica batch pixel"],
    first: tuple[Float[Tensor, "replica 1 batch unit"], Float[Tensor, "replica 1 batch unit"]],
    noise: Sequence[Float[Tensor, "replica k batch _unit"]],
    replace: Replace | None = None,
) -> tuple[Float[Tensor, "replica k batch"], Float[Tensor, "replica k batch"]]:
    """Return log p(x|z) and log w of every sample in float64, computed some samples at a time."""
    columns = []
    for part in at_once(noise, x):
        latents = sample_latents(model, first, part, replace)
        log_px = log_likelihood(model, x, latents[0].z).double()
        columns.append((log_px, log_px + log_ratio(model, latents)))
    log_px, log_w = (torch.cat(column, 1) for column in zip(*columns, strict=True))
    return log_px, log_w


NLL_CHUNK = 10
"""Number of importance samples at a time. It is part of the key of numpy's noise, so changing it changes numbers."""

BOUNDS = (1, 5, 64)
"""The K of the bounds L_K that are measured besides L_S, whatever K a model was trained with."""


@torch.no_grad()
def importance_bounds(
    model: Model, data: Data, seeds: Seeds, samples: int, epoch: int, look: Callable[[], None] = lambda: None
) -> dict[str, Float[Tensor, "replica"]]:
    """Estimate nll = -L_S with S = `samples`, L_K for K in BOUNDS, and nll_comparable, in nats per example.

    Burda et al. 2016, sec. 5, take S = 5000. All bounds come from the same draws: L_1 and L_5 are means over all groups of
    1 or 5 samples, and L_64 uses the first 64 samples (NaN if S is less than 64). `look` is called before every group.
    """
    comparable = _mass_of(model.architecture, data)
    totals: dict[str, Tensor] = {}
    for part, image, x in chunks(data.test, seeds, NLL_CHUNK):
        inputs = x.expand(len(seeds.index), -1, -1)
        first = encode(model, inputs)
        bounds, masses = Running(inputs), Running(inputs)
        for group, start, k in groups(samples, seeds, inputs):
            look()
            # Part and group share one word of the counter; 2^32 groups per part are enough.
            key = (part << 32) + group
            noise = seeds.normals(Stream.NLL_NOISE, epoch, (k, len(x)), model.architecture.latent, key, (start, image))
            log_w, log_mass_w = [], []
            for some in at_once(noise, inputs):
                latents = sample_latents(model, first, some)
                heads = pixels(model, latents[0].z)
                ratio = log_ratio(model, latents)
                log_w.append(log_density(model, inputs, heads).double() + ratio)
                if comparable == "mass":
                    log_mass_w.append(_log_mass(model, data, inputs, heads).double() + ratio)
            bounds.add(torch.cat(log_w, 1))
            if comparable == "mass":
                masses.add(torch.cat(log_mass_w, 1))
        found = bounds.means() | {"nll": -bounds.whole()}
        found["nll_comparable"] = -masses.whole() if comparable == "mass" else found["nll"]
        for name, value in found.items():
            totals[name] = totals.get(name, 0) + value.sum(-1)
    result = {name: total / len(data.test) for name, total in totals.items()}
    if comparable == "none":
        result["nll_comparable"] = torch.full_like(result["nll"], torch.nan)
    return result


def groups(samples: int, seeds: Seeds, x: Float[Tensor, "replica batch pixel"]) -> Iterator[tuple[int, int, int]]:
    """Divide samples into groups that fit into memory; yield the number, the first sample and the size of each group."""
    size = NLL_CHUNK if seeds.source == NUMPY else max(1, rows_at_once(x) // x.shape[1])
    for group, start in enumerate(range(0, samples, size)):
        yield group, start, min(size, samples - start)


@dataclass
class Running:
    """Accumulate bounds over samples that come a few at a time, for every image of a chunk."""

    like: Tensor
    n: int = 0
    log_sum: Tensor = field(init=False)
    log_sum_64: Tensor = field(init=False)
    total: Tensor = field(init=False)
    total_5: Tensor = field(init=False)
    groups_of_5: int = 0
    _left: Tensor = field(init=False)

    def __post_init__(self) -> None:
        zeros = torch.zeros(self.like.shape[:2], dtype=torch.float64, device=self.like.device)
        self.log_sum, self.log_sum_64 = zeros - math.inf, zeros - math.inf
        self.total, self.total_5 = zeros.clone(), zeros.clone()
        self._left = zeros.unsqueeze(1)[:, :0]

    def add(self, log_w: Float[Tensor, "replica k batch"]) -> None:
        """Add more samples."""
        self.log_sum = torch.logaddexp(self.log_sum, torch.logsumexp(log_w, dim=1))
        if self.n < BOUNDS[-1]:
            first = log_w[:, : BOUNDS[-1] - self.n]
            self.log_sum_64 = torch.logaddexp(self.log_sum_64, torch.logsumexp(first, dim=1))
        self.total += log_w.sum(1)
        waiting = torch.cat([self._left, log_w], 1)
        whole = waiting.shape[1] // 5
        if whole:
            groups = waiting[:, : 5 * whole].unflatten(1, (whole, 5))
            self.total_5 += (torch.logsumexp(groups, dim=2) - math.log(5)).sum(1)
        self.groups_of_5 += whole
        self._left = waiting[:, 5 * whole :]
        self.n += log_w.shape[1]

    def whole(self) -> Float[Tensor, "replica batch"]:
        """Return L_n of the n samples added so far."""
        return self.log_sum - math.log(self.n)

    def means(self) -> dict[str, Float[Tensor, "replica batch"]]:
        """Return L_1, L_5 and L_64; NaN where there are too few samples."""
        few = torch.full_like(self.total, torch.nan)
        return {
            "l_1": self.total / self.n,
            "l_5": self.total_5 / self.groups_of_5 if self.groups_of_5 else few,
            "l_64": self.log_sum_64 - math.log(BOUNDS[-1]) if self.n >= BOUNDS[-1] else few,
        }


def is_grey(data: Data) -> bool:
    """Return whether the inputs are grey levels other than just 0 and 1."""
    return data.input == "grey" and data.other_test is not None


def _mass_of(architecture: Architecture, data: Data) -> str:
    """Return how nll_comparable is found: from probability masses (mass), as nll itself (same), or not at all (none)."""
    if architecture.decoder == "bernoulli":
        return "none" if is_grey(data) else "same"
    return "mass"


def _log_mass(model: Model, data: Data, x: Tensor, heads: tuple[Tensor, ...]) -> Float[Tensor, "replica k batch"]:
    """Return log P(x|z), the probability mass of discrete pixels: 0 and 1, or 256 grey levels."""
    if model.architecture.decoder == "continuous_bernoulli":
        return continuous_bernoulli_mass_of_grey(x, heads[0])
    log_variance = decoder_log_variance(model, heads)
    mean = torch.sigmoid(heads[0])
    return (gaussian_mass_of_grey if is_grey(data) else gaussian_mass_of_binary)(x, mean, log_variance)


@torch.no_grad()
def bound_of(
    model: Model,
    test: Tensor,
    seeds: Seeds,
    samples: int,
    epoch: int,
    swap: Replace | None = None,
    look: Callable[[], None] = lambda: None,
) -> tuple[Float[Tensor, "replica"], Float[Tensor, "replica"]]:
    """Return L_S and L_1, averaged over some images, with S = `samples`; every call uses the same noise."""
    total = torch.zeros(2, len(seeds.index), dtype=torch.float64, device=test.device)
    for part, image, x in chunks(test, seeds, NLL_CHUNK):
        inputs = x.expand(len(seeds.index), -1, -1)
        first = encode(model, inputs)
        bounds = Running(inputs)
        for group, start, k in groups(samples, seeds, inputs):
            look()
            key = (part << 32) + (1 << 31) + group
            noise = seeds.normals(Stream.SECONDARY_NOISE, epoch, (k, len(x)), model.architecture.latent, key, (start, image))
            bounds.add(weigh(model, inputs, first, noise, swap)[1])
        total += torch.stack([bounds.whole(), bounds.means()["l_1"]]).sum(-1)
    l_s, l_1 = total / len(test)
    return l_s, l_1
