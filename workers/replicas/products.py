"""Matrix products of all replicas at once, [replica, row, in] times [replica, in, out], in the precision of the process.

Torch itself handles ieee, tf32, and bf16 on a CPU. On a GPU no setting makes torch multiply float32 factors as bf16, so they
are rounded here, in the forward and in the backward pass; the sums within a product stay float32.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from workers.replicas.device import precision_in_use


def product(h: Tensor, weight: Tensor) -> Tensor:
    """Return h W of every replica, [replica, row, out]."""
    if h.is_cuda and h.dtype == torch.float32 and precision_in_use() == "bf16":
        out: Tensor = RoundedProduct.apply(h, weight)
        return out
    return torch.bmm(h, weight)


def affine_product(bias: Tensor, h: Tensor, weight: Tensor) -> Tensor:
    """Return h W + b of every replica, [replica, row, out]; the bias is [replica, 1, out]."""
    if h.is_cuda and h.dtype == torch.float32 and precision_in_use() == "bf16":
        return product(h, weight) + bias
    return torch.baddbmm(bias, h, weight)


class RoundedProduct(torch.autograd.Function):
    """A product whose factors are rounded to bf16, in the forward and in the backward pass."""

    @staticmethod
    def forward(ctx: FunctionCtx, h: Tensor, weight: Tensor) -> Tensor:
        """Return h W."""
        h, weight = h.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(h, weight)
        return _product(h, weight)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return the gradients by h, g W', and by W, h' g."""
        h, weight = ctx.saved_tensors  # type: ignore[attr-defined]
        by_h, by_weight = ctx.needs_input_grad  # type: ignore[attr-defined]
        grad = grads[0].bfloat16()
        return (
            _product(grad, weight.transpose(1, 2)) if by_h else None,
            _product(h.transpose(1, 2), grad) if by_weight else None,
        )


def _product(a: Tensor, b: Tensor) -> Tensor:
    if a.is_cuda:
        return torch.bmm(a, b, out_dtype=torch.float32)
    # On a CPU torch cannot return float32 from bf16 factors, so the rounded factors are multiplied as float32.
    return torch.bmm(a.float(), b.float())
