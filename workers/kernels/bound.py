"""Triton kernels of the objective and of L_K at beta 1, forward and backward; the reference is workers.model.objective."""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import FunctionCtx

_IMAGES = 32
"""Images per program, which loops over their samples."""


class Bounds(torch.autograd.Function):
    """L_K of log p(x|z) + beta r, and L_K of log p(x|z) + r without a gradient; all samples may share one r."""

    @staticmethod
    def forward(ctx: FunctionCtx, log_px: Tensor, ratio: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        """Return both bounds in nats, each [replica, batch]."""
        log_px, ratio, beta = log_px.contiguous(), ratio.contiguous(), beta.contiguous()
        objective, bound = (torch.empty(len(log_px), log_px.shape[2], device=log_px.device) for _ in range(2))
        ctx.save_for_backward(log_px, ratio, beta, objective)
        _bounds[_grid(log_px)](objective, bound, log_px, ratio, beta, *_sizes(log_px, ratio))
        ctx.mark_non_differentiable(bound)
        ctx.set_materialize_grads(False)
        return objective, bound

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return the gradients by log p(x|z), weights that sum to 1 over the samples, and by r, beta times these."""
        log_px, ratio, beta, objective = ctx.saved_tensors  # type: ignore[attr-defined]
        by_px, by_ratio = torch.empty_like(log_px), torch.empty_like(ratio)
        given = grads[0].contiguous(), log_px, ratio, beta, objective
        _bounds_gradient[_grid(log_px)](by_px, by_ratio, *given, *_sizes(log_px, ratio))
        return by_px, by_ratio, None


def _grid(log_px: Tensor) -> tuple[int, int]:
    return len(log_px), -(-log_px.shape[2] // _IMAGES)


def _sizes(log_px: Tensor, ratio: Tensor) -> tuple[int, int, bool, int]:
    return log_px.shape[1], log_px.shape[2], ratio.shape[1] == 1, _IMAGES


@triton.jit
def _log_w(log_px, ratio, beta, replica, sample, k, batch, image, SHARED: tl.constexpr):
    """Return log p(x|z) + beta r and log p(x|z) + r of a sample; 0 where there is no image."""
    at = (replica * k + sample) * batch + image
    own = replica * batch + image if SHARED else at
    p = tl.load(log_px + at, mask=image < batch, other=0.0)
    r = tl.load(ratio + own, mask=image < batch, other=0.0)
    return p + beta * r, p + r


@triton.jit
def _bounds(objective, bound, log_px, ratio, beta, k, batch, SHARED: tl.constexpr, IMAGES: tl.constexpr):
    replica = tl.program_id(0).to(tl.int64)
    image = tl.program_id(1) * IMAGES + tl.arange(0, IMAGES)
    weight = tl.load(beta + replica)
    top, other_top = _log_w(log_px, ratio, weight, replica, 0, k, batch, image, SHARED)
    for sample in range(1, k):
        a, b = _log_w(log_px, ratio, weight, replica, sample, k, batch, image, SHARED)
        # A NaN must stay a NaN.
        top = tl.maximum(top, a, propagate_nan=tl.PropagateNan.ALL)
        other_top = tl.maximum(other_top, b, propagate_nan=tl.PropagateNan.ALL)
    total, other_total = tl.zeros([IMAGES], tl.float32), tl.zeros([IMAGES], tl.float32)
    for sample in range(0, k):
        a, b = _log_w(log_px, ratio, weight, replica, sample, k, batch, image, SHARED)
        total += tl.exp(a - top)
        other_total += tl.exp(b - other_top)
    at = replica * batch + image
    tl.store(objective + at, top + tl.log(total / k), mask=image < batch)
    tl.store(bound + at, other_top + tl.log(other_total / k), mask=image < batch)


@triton.jit
def _bounds_gradient(
    by_px,
    by_ratio,
    grad,
    log_px,
    ratio,
    beta,
    objective,
    k,
    batch,
    SHARED: tl.constexpr,
    IMAGES: tl.constexpr,
):
    replica = tl.program_id(0).to(tl.int64)
    image = tl.program_id(1) * IMAGES + tl.arange(0, IMAGES)
    weight = tl.load(beta + replica)
    at = replica * batch + image
    level = tl.load(objective + at, mask=image < batch, other=0.0)
    upstream = tl.load(grad + at, mask=image < batch, other=0.0) / k
    total = tl.zeros([IMAGES], tl.float32)
    for sample in range(0, k):
        a, _ = _log_w(log_px, ratio, weight, replica, sample, k, batch, image, SHARED)
        slope = upstream * tl.exp(a - level)
        place = (replica * k + sample) * batch + image
        tl.store(by_px + place, slope, mask=image < batch)
        if SHARED:
            total += slope
        else:
            tl.store(by_ratio + place, slope * weight, mask=image < batch)
    if SHARED:
        tl.store(by_ratio + at, total * weight, mask=image < batch)
