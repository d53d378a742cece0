"""Triton kernels of batch normalisation, forward and backward; the reference is in workers.model.layers.

One program handles some units of one replica and loops over all rows; what it reads again is still in the cache.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import FunctionCtx

_ROWS, _UNITS = 64, 16
"""Rows at a time, and units per program."""


class BatchNorm(torch.autograd.Function):
    """Batch normalisation by the given rows; it also returns the rows' mean and variance, [replica, 1, unit]."""

    @staticmethod
    def forward(ctx: FunctionCtx, a: Tensor, scale: Tensor, shift: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return the normalised, scaled and shifted rows, and their mean and variance (divisor n) before that."""
        a, scale, shift = a.contiguous(), scale.contiguous(), shift.contiguous()
        out, mean, variance = torch.empty_like(a), torch.empty_like(scale), torch.empty_like(scale)
        _norm[_grid(a)](out, mean, variance, a, scale, shift, epsilon, *a.shape[1:], _ROWS, _UNITS)
        ctx.save_for_backward(a, mean, variance, scale)
        ctx.epsilon = epsilon  # type: ignore[attr-defined]
        ctx.mark_non_differentiable(mean, variance)
        ctx.set_materialize_grads(False)
        return out, mean, variance

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Return the gradients by input, scale and shift."""
        a, mean, variance, scale = ctx.saved_tensors  # type: ignore[attr-defined]
        by_a, by_scale, by_shift = torch.empty_like(a), torch.empty_like(scale), torch.empty_like(scale)
        given = grads[0].contiguous(), a, mean, variance, scale, ctx.epsilon  # type: ignore[attr-defined]
        _norm_gradient[_grid(a)](by_a, by_scale, by_shift, *given, *a.shape[1:], _ROWS, _UNITS)
        return by_a, by_scale, by_shift, None


def _grid(a: Tensor) -> tuple[int, int]:
    return len(a), -(-a.shape[2] // _UNITS)


@triton.jit
def _place(units, UNITS: tl.constexpr):
    """Return this program's replica and units, their offsets in [replica, unit], and which of them exist."""
    replica = tl.program_id(0).to(tl.int64)
    unit = tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    return replica, unit, replica * units + unit, unit < units


@triton.jit
def _norm(out, mean_of, variance_of, a, scale, shift, epsilon, rows, units, ROWS: tl.constexpr, UNITS: tl.constexpr):
    replica, unit, place, exists = _place(units, UNITS)
    total = tl.zeros([ROWS, UNITS], tl.float32)
    for start in range(0, rows, ROWS):
        row = start + tl.arange(0, ROWS)
        mask = (row < rows)[:, None] & exists[None, :]
        total += tl.load(a + (replica * rows + row)[:, None] * units + unit[None, :], mask=mask, other=0.0)
    mean = tl.sum(total, 0) / rows
    # Squares of deviations from the mean: a mean of squares loses a variance that is small beside the mean.
    total = tl.zeros([ROWS, UNITS], tl.float32)
    for start in range(0, rows, ROWS):
        row = start + tl.arange(0, ROWS)
        mask = (row < rows)[:, None] & exists[None, :]
        value = tl.load(a + (replica * rows + row)[:, None] * units + unit[None, :], mask=mask, other=0.0)
        centred = tl.where(mask, value - mean[None, :], 0.0)
        total += centred * centred
    variance = tl.sum(total, 0) / rows
    tl.store(mean_of + place, mean, mask=exists)
    tl.store(variance_of + place, variance, mask=exists)
    inverse = 1.0 / tl.sqrt_rn(variance + epsilon)
    slope, level = tl.load(scale + place, mask=exists, other=0.0), tl.load(shift + place, mask=exists, other=0.0)
    for start in range(0, rows, ROWS):
        row = start + tl.arange(0, ROWS)
        mask = (row < rows)[:, None] & exists[None, :]
        at = (replica * rows + row)[:, None] * units + unit[None, :]
        normalised = (tl.load(a + at, mask=mask, other=0.0) - mean[None, :]) * inverse[None, :]
        tl.store(out + at, level[None, :] + normalised * slope[None, :], mask=mask)


@triton.jit
def _norm_gradient(
    by_a,
    by_scale,
    by_shift,
    grad,
    a,
    mean_of,
    variance_of,
    scale,
    epsilon,
    rows,
    units,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
):
    replica, unit, place, exists = _place(units, UNITS)
    mean = tl.load(mean_of + place, mask=exists, other=0.0)
    inverse = 1.0 / tl.sqrt_rn(tl.load(variance_of + place, mask=exists, other=0.0) + epsilon)
    slopes, products = tl.zeros([ROWS, UNITS], tl.float32), tl.zeros([ROWS, UNITS], tl.float32)
    for start in range(0, rows, ROWS):
        row = start + tl.arange(0, ROWS)
        mask = (row < rows)[:, None] & exists[None, :]
        at = (replica * rows + row)[:, None] * units + unit[None, :]
        normalised = (tl.load(a + at, mask=mask, other=0.0) - mean[None, :]) * inverse[None, :]
        slope = tl.load(grad + at, mask=mask, other=0.0)
        slopes += slope
        products += slope * normalised
    level, along = tl.sum(slopes, 0), tl.sum(products, 0)
    tl.store(by_shift + place, level, mask=exists)
    tl.store(by_scale + place, along, mask=exists)
    factor = inverse * tl.load(scale + place, mask=exists, other=0.0)
    for start in range(0, rows, ROWS):
        row = start + tl.arange(0, ROWS)
        mask = (row < rows)[:, None] & exists[None, :]
        at = (replica * rows + row)[:, None] * units + unit[None, :]
        normalised = (tl.load(a + at, mask=mask, other=0.0) - mean[None, :]) * inverse[None, :]
        # Ioffe and Szegedy 2015, sec. 3: the gradient minus its mean and minus its part along the normalised input.
        slope = tl.load(grad + at, mask=mask, other=0.0) - (level / rows)[None, :] - normalised * (along / rows)[None, :]
        tl.store(by_a + at, slope * factor[None, :], mask=mask)
