"""Triton kernel of Adam for all parameters and moments of a pack; the reference is workers.train.optimizer.update."""

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024

_TENSORS = 24
"""Tensors per launch; if there are more, there are several launches."""


def update(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    moments: tuple[Sequence[Tensor], Sequence[Tensor]],
    rates: Tensor,
    constants: tuple[float, float, float],
) -> None:
    """Apply workers.train.optimizer.update to every tensor in place; parameters and moments must be contiguous."""
    beta1, beta2, epsilon = constants
    # Computed on the host in float64, because 1 - 0.9 in float32 is a different number.
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
    # Find the tensor that this program works on. Only pointers are chosen here, so that the update is compiled once.
    p, g, m, v = ps[0], gs[0], ms[0], vs[0]
    # Triton turns a size of 1 into a constant; adding `zero` keeps it a variable, as the branches below require.
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
