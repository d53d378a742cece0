"""Triton kernels of bias and softplus in one pass, forward and backward; the reference is in workers.model.layers."""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import FunctionCtx

from workers.kernels.pixels import logistic

_ROWS, _UNITS = 16, 64
"""Rows and units per program."""


class Softplus(torch.autograd.Function):
    """softplus(a + bias) with a [replica, row, unit] and bias [replica, 1, unit] or None."""

    @staticmethod
    def forward(ctx: FunctionCtx, a: Tensor, bias: Tensor | None) -> Tensor:
        """Return the activation."""
        a = a.contiguous()
        ctx.save_for_backward(a, *([] if bias is None else [bias]))
        out = torch.empty_like(a)
        given = out if bias is None else bias.contiguous()
        _softplus[_grid(a)](out, a, given, *a.shape[1:], _blocks(a), bias is not None, _ROWS, _UNITS)
        return out

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the gradients by a and bias; the latter is summed within blocks of rows, then over blocks."""
        a, *rest = ctx.saved_tensors  # type: ignore[attr-defined]
        by_a, blocks = torch.empty_like(a), _blocks(a)
        sums = torch.empty(len(a), blocks, a.shape[2], device=a.device) if rest else by_a
        given = rest[0].contiguous() if rest else by_a
        _softplus_gradient[_grid(a)](
            by_a, sums, grads[0].contiguous(), a, given, *a.shape[1:], blocks, bool(rest), _ROWS, _UNITS
        )
        return by_a, sums.sum(1, keepdim=True) if rest else None


def _blocks(a: Tensor) -> int:
    return -(-a.shape[1] // _ROWS)


def _grid(a: Tensor) -> tuple[int, int]:
    return len(a) * _blocks(a), -(-a.shape[2] // _UNITS)


@triton.jit
def _tile(rows, units, blocks, ROWS: tl.constexpr, UNITS: tl.constexpr):
    """Return this program's replica, block and units, its offsets in [replica, row, unit], and which of them exist."""
    replica, block = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks
    row = block * ROWS + tl.arange(0, ROWS)
    unit = tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    exists = (row < rows)[:, None] & (unit < units)[None, :]
    return replica, block, unit, (replica * rows + row)[:, None] * units + unit[None, :], exists


@triton.jit
def _softplus(out, a, bias, rows, units, blocks, HAS_BIAS: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr):
    replica, _, unit, at, exists = _tile(rows, units, blocks, ROWS, UNITS)
    value = tl.load(a + at, mask=exists, other=0.0)
    if HAS_BIAS:
        value += tl.load(bias + replica * units + unit, mask=unit < units, other=0.0)[None, :]
    _, soft = logistic(value)
    tl.store(out + at, soft, mask=exists)


@triton.jit
def _softplus_gradient(
    by_a, sums, grad, a, bias, rows, units, blocks, HAS_BIAS: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr
):
    replica, block, unit, at, exists = _tile(rows, units, blocks, ROWS, UNITS)
    value = tl.load(a + at, mask=exists, other=0.0)
    if HAS_BIAS:
        value += tl.load(bias + replica * units + unit, mask=unit < units, other=0.0)[None, :]
    mean, _ = logistic(value)
    slope = tl.load(grad + at, mask=exists, other=0.0) * mean
    tl.store(by_a + at, slope, mask=exists)
    if HAS_BIAS:
        tl.store(sums + (replica * blocks + block) * units + unit, tl.sum(slope, 0), mask=unit < units)
