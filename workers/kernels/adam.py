"""Triton kernel of Adam: parameters and moments of a whole pack in one launch; reference: workers.train.optimizer.update."""

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024

_TENSORS = 24
"""Tensors a launch; more are updated by more launches."""


def update(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    moments: tuple[Sequence[Tensor], Sequence[Tensor]],
    rates: Tensor,
    constants: tuple[float, float, float],
) -> None:
    """optimizer.update of every tensor, in place; parameters and moments lie side by side in memory."""
    beta1, beta2, epsilon = constants
    # By the host in float64: 1 - 0.9 of float32 is another number.
    numbers = beta1, 1 - beta1, beta2, 1 - beta2, epsilon
    for start in range(0, len(parameters), _TENSORS):
        part = slice(start, start + _TENSORS)
        p = tuple(parameters[part])
        g, sizes = tuple(gradient.contiguous() for gradient in gradients[part]), tuple(tensor.numel() for tensor in p)
        grid = (sum(triton.cdiv(size, _BLOCK) for size in sizes),)
        _update[grid](p, g, tuple(moments[0][part]), tuple(moments[1][part]), sizes, rates, *numbers, len(p), _BLOCK)


@triton.jit
def _update(ps, gs, ms, vs, sizes, rates, beta1, rest1, beta2, rest2, epsilon, COUNT: tl.constexpr, BLOCK: tl.constexpr):
    block = tl.program_id(0)
    # The tensor that this program works in; the pointers alone are chosen here, so that the update is compiled once.
    p, g, m, v = ps[0], gs[0], ms[0], vs[0]
    # Triton makes a constant of a size of one, and a variable has to stay one through the branches.
    zero = block * 0
    start, first, n = zero, zero, zero + sizes[0]
    for i in tl.static_range(1, COUNT):
        start += tl.cdiv(sizes[i - 1], BLOCK)
        if block >= start:
            p, g, m, v = ps[i], gs[i], ms[i], vs[i]
            n = zero + sizes[i]
            first = start
    size, root = tl.load(rates), tl.load(rates + 1)
    at = (block - first).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = at < n
    gradient = tl.load(g + at, mask=exists, other=0.0)
    mean = beta1 * tl.load(m + at, mask=exists, other=0.0) + rest1 * gradient
    square = beta2 * tl.load(v + at, mask=exists, other=0.0) + rest2 * gradient * gradient
    tl.store(m + at, mean, mask=exists)
    tl.store(v + at, square, mask=exists)
    old = tl.load(p + at, mask=exists, other=0.0)
    tl.store(p + at, old - size * mean / (root * tl.sqrt_rn(square) + epsilon), mask=exists)
