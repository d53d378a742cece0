"""Triton kernels that sample latent units and compute log p(z) - log q(z|x), forward and backward.

The references are in workers.model.objective. One program handles some images and all units of a layer, and loops over the
samples.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import FunctionCtx

_IMAGES = 4
"""Images per program."""


class Sample(torch.autograd.Function):
    """workers.model.objective.reparameterise."""

    @staticmethod
    def forward(ctx: FunctionCtx, mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
        """Return z of every sample."""
        mean, log_variance, noise = mean.contiguous(), log_variance.contiguous(), noise.contiguous()
        ctx.save_for_backward(log_variance, noise)
        z = torch.empty_like(noise)
        _sample[_grid(noise)](z, mean, log_variance, noise, *_sizes(noise, mean))
        return z

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return the gradients by mean and log-variance, summed over the samples that share them."""
        log_variance, noise = ctx.saved_tensors  # type: ignore[attr-defined]
        by_mean, by_log_variance = torch.empty_like(log_variance), torch.empty_like(log_variance)
        given = grads[0].contiguous(), log_variance, noise
        _sample_gradient[_grid(noise)](by_mean, by_log_variance, *given, *_sizes(noise, log_variance))
        return by_mean, by_log_variance, None


class PriorRatio(torch.autograd.Function):
    """workers.model.objective.log_prior_ratio."""

    @staticmethod
    def forward(ctx: FunctionCtx, z: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
        """Return the nats of every sample, [replica, k, batch]."""
        z, log_variance, noise = z.contiguous(), log_variance.contiguous(), noise.contiguous()
        ctx.save_for_backward(z)
        ctx.shared = log_variance.shape  # type: ignore[attr-defined]
        out = torch.empty(z.shape[:3], device=z.device)
        _ratio[_grid(z)](out, z, log_variance, noise, *_sizes(z, log_variance))
        return out

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return the gradients by z and log-variance; the noise has none."""
        (z,) = ctx.saved_tensors  # type: ignore[attr-defined]
        by_z, by_log_variance = torch.empty_like(z), z.new_empty(ctx.shared)  # type: ignore[attr-defined]
        sizes = _sizes(z, by_log_variance)
        _ratio_gradient[_grid(z)](by_z, by_log_variance, grads[0].contiguous(), z, *sizes)
        return by_z, by_log_variance, None


class ClosedRatio(torch.autograd.Function):
    """workers.model.objective.closed_prior_ratio."""

    @staticmethod
    def forward(ctx: FunctionCtx, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Return the nats of every row, [replica, k, batch]."""
        mean, log_variance = mean.contiguous(), log_variance.contiguous()
        ctx.save_for_backward(mean, log_variance)
        out = torch.empty(mean.shape[:3], device=mean.device)
        _closed[_grid(mean)](out, mean, log_variance, *_sizes(mean, mean))
        return out

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients by mean and log-variance."""
        mean, log_variance = ctx.saved_tensors  # type: ignore[attr-defined]
        by_mean, by_log_variance = torch.empty_like(mean), torch.empty_like(mean)
        given = grads[0].contiguous(), mean, log_variance
        _closed_gradient[_grid(mean)](by_mean, by_log_variance, *given, *_sizes(mean, mean))
        return by_mean, by_log_variance


def _grid(z: Tensor) -> tuple[int]:
    return (z.shape[0] * triton.cdiv(z.shape[2], _IMAGES),)


def _sizes(z: Tensor, shared: Tensor) -> tuple[int, int, int, int, bool, int, int]:
    """Return the numbers of samples, distributions (1 or as many), images and units, and whether there is 1 distribution."""
    units = z.shape[3]
    return z.shape[1], shared.shape[1], z.shape[2], units, shared.shape[1] == 1, _IMAGES, int(triton.next_power_of_2(units))


@triton.jit
def _tile(batch, units, IMAGES: tl.constexpr, UNITS: tl.constexpr):
    """Return this program's replica and images, the offsets of its units within one sample, and which of them exist."""
    blocks = tl.cdiv(batch, IMAGES)
    replica = (tl.program_id(0) // blocks).to(tl.int64)
    image = (tl.program_id(0) % blocks) * IMAGES + tl.arange(0, IMAGES)
    unit = tl.arange(0, UNITS)
    exists = (image < batch)[:, None] & (unit < units)[None, :]
    return replica, image, image[:, None] * units + unit[None, :], exists


@triton.jit
def _sample(
    z, mean, log_variance, noise, k, own, batch, units, SHARED: tl.constexpr, IMAGES: tl.constexpr, UNITS: tl.constexpr
):
    replica, _, at, exists = _tile(batch, units, IMAGES, UNITS)
    for sample in range(0, k):
        place = replica * own * batch * units + at
        if not SHARED:
            place += sample * batch * units
        deviation = tl.exp(0.5 * tl.load(log_variance + place, mask=exists, other=0.0))
        drawn = (replica * k + sample) * batch * units + at
        value = tl.load(mean + place, mask=exists, other=0.0) + deviation * tl.load(noise + drawn, mask=exists, other=0.0)
        tl.store(z + drawn, value, mask=exists)


@triton.jit
def _sample_gradient(
    by_mean,
    by_log_variance,
    grad,
    log_variance,
    noise,
    k,
    own,
    batch,
    units,
    SHARED: tl.constexpr,
    IMAGES: tl.constexpr,
    UNITS: tl.constexpr,
):
    replica, _, at, exists = _tile(batch, units, IMAGES, UNITS)
    total, other = tl.zeros([IMAGES, UNITS], tl.float32), tl.zeros([IMAGES, UNITS], tl.float32)
    for sample in range(0, k):
        drawn = (replica * k + sample) * batch * units + at
        slope = tl.load(grad + drawn, mask=exists, other=0.0)
        scaled = 0.5 * slope * tl.load(noise + drawn, mask=exists, other=0.0)
        if SHARED:
            total += slope
            other += scaled
        else:
            deviation = tl.exp(0.5 * tl.load(log_variance + drawn, mask=exists, other=0.0))
            tl.store(by_mean + drawn, slope, mask=exists)
            tl.store(by_log_variance + drawn, scaled * deviation, mask=exists)
    if SHARED:
        place = replica * batch * units + at
        tl.store(by_mean + place, total, mask=exists)
        deviation = tl.exp(0.5 * tl.load(log_variance + place, mask=exists, other=0.0))
        tl.store(by_log_variance + place, other * deviation, mask=exists)


@triton.jit
def _ratio(
    out, z, log_variance, noise, k, own, batch, units, SHARED: tl.constexpr, IMAGES: tl.constexpr, UNITS: tl.constexpr
):
    replica, image, at, exists = _tile(batch, units, IMAGES, UNITS)
    for sample in range(0, k):
        place = replica * own * batch * units + at
        if not SHARED:
            place += sample * batch * units
        drawn = (replica * k + sample) * batch * units + at
        value = tl.load(z + drawn, mask=exists, other=0.0)
        eps = tl.load(noise + drawn, mask=exists, other=0.0)
        terms = eps * eps - value * value + tl.load(log_variance + place, mask=exists, other=0.0)
        tl.store(out + (replica * k + sample) * batch + image, 0.5 * tl.sum(terms, 1), mask=image < batch)


@triton.jit
def _ratio_gradient(
    by_z,
    by_log_variance,
    grad,
    z,
    k,
    own,
    batch,
    units,
    SHARED: tl.constexpr,
    IMAGES: tl.constexpr,
    UNITS: tl.constexpr,
):
    replica, image, at, exists = _tile(batch, units, IMAGES, UNITS)
    total = tl.zeros([IMAGES, UNITS], tl.float32)
    for sample in range(0, k):
        drawn = (replica * k + sample) * batch * units + at
        slope = tl.load(grad + (replica * k + sample) * batch + image, mask=image < batch, other=0.0)[:, None]
        tl.store(by_z + drawn, -slope * tl.load(z + drawn, mask=exists, other=0.0), mask=exists)
        if SHARED:
            total += 0.5 * slope
        else:
            tl.store(by_log_variance + drawn, 0.5 * slope + tl.zeros([IMAGES, UNITS], tl.float32), mask=exists)
    if SHARED:
        tl.store(by_log_variance + replica * batch * units + at, total, mask=exists)


@triton.jit
def _closed(out, mean, log_variance, k, own, batch, units, SHARED: tl.constexpr, IMAGES: tl.constexpr, UNITS: tl.constexpr):
    replica, image, at, exists = _tile(batch, units, IMAGES, UNITS)
    for sample in range(0, k):
        place = (replica * k + sample) * batch * units + at
        mu, wide = tl.load(mean + place, mask=exists, other=0.0), tl.load(log_variance + place, mask=exists, other=0.0)
        # Units that do not exist add 0 + e^0 - 1 - 0 = 0.
        terms = mu * mu + tl.exp(wide) - 1.0 - wide
        tl.store(out + (replica * k + sample) * batch + image, -0.5 * tl.sum(terms, 1), mask=image < batch)


@triton.jit
def _closed_gradient(
    by_mean,
    by_log_variance,
    grad,
    mean,
    log_variance,
    k,
    own,
    batch,
    units,
    SHARED: tl.constexpr,
    IMAGES: tl.constexpr,
    UNITS: tl.constexpr,
):
    replica, image, at, exists = _tile(batch, units, IMAGES, UNITS)
    for sample in range(0, k):
        place = (replica * k + sample) * batch * units + at
        slope = tl.load(grad + (replica * k + sample) * batch + image, mask=image < batch, other=0.0)[:, None]
        tl.store(by_mean + place, -slope * tl.load(mean + place, mask=exists, other=0.0), mask=exists)
        wide = tl.load(log_variance + place, mask=exists, other=0.0)
        tl.store(by_log_variance + place, -0.5 * slope * (tl.exp(wide) - 1.0), mask=exists)
