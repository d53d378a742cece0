"""Triton kernels of the pixels' likelihoods, forward and backward; the references are in workers.model.densities.

The kernels also add the bias of the decoder's last layer, so that the largest tensors of a step are read once in the forward
pass, and read and written once in the backward pass. The gradient of the bias is summed over images within blocks of a fixed
size and then over the blocks, without atomic operations, so that equal input gives equal bits.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import FunctionCtx

_BLOCK = 1024
"""Pixels per program."""

_SAMPLES, _IMAGES = 8, 4
"""Samples that share the pixels of an image in the forward pass; images per program that sums bias gradients backward."""


class Bernoulli(torch.autograd.Function):
    """workers.model.densities.bernoulli_log_likelihood of logits + bias; bias is [replica, 1, pixel] or None."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, logits: Tensor, bias: Tensor | None) -> Tensor:
        """Return the nats of every sample, [replica, k, batch]."""
        x, logits = _rows(x), logits.contiguous()
        ctx.save_for_backward(x, logits, *([] if bias is None else [bias]))
        return _forward(_bernoulli, x, (logits,), (bias,))

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[None, Tensor, Tensor | None]:
        """Return the gradients by logits and bias."""
        x, logits, *rest = ctx.saved_tensors  # type: ignore[attr-defined]
        (grad,), (by_bias,) = _backward(_bernoulli_gradient, grads[0], x, (logits,), (rest[0] if rest else None,))
        return None, grad, by_bias


class Gaussian(torch.autograd.Function):
    """workers.model.densities.gaussian_log_likelihood of two heads with their biases."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, mean: Tensor, log_variance: Tensor, bias: Tensor | None, other_bias: Tensor | None
    ) -> Tensor:
        """Return the nats of every sample, [replica, k, batch]."""
        x, heads = _rows(x), (mean.contiguous(), log_variance.contiguous())
        biases = [] if bias is None or other_bias is None else [bias, other_bias]
        ctx.save_for_backward(x, *heads, *biases)
        return _forward(_gaussian, x, heads, (bias, other_bias))

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[None, Tensor, Tensor, Tensor | None, Tensor | None]:
        """Return the gradients by heads and biases."""
        x, mean, log_variance, *rest = ctx.saved_tensors  # type: ignore[attr-defined]
        biases = (rest[0], rest[1]) if rest else (None, None)
        (a, b), (c, d) = _backward(_gaussian_gradient, grads[0], x, (mean, log_variance), biases)
        return None, a, b, c, d


def _rows(x: Tensor) -> Tensor:
    """Return images whose pixels are contiguous in memory; replicas may share them."""
    return x if x.stride(2) == 1 and x.stride(1) == x.shape[2] else x.contiguous()


def _forward(kernel, x: Tensor, heads: tuple[Tensor, ...], biases: tuple[Tensor | None, ...]) -> Tensor:
    replicas, k, batch, n_x = heads[0].shape
    out = torch.empty(replicas, k, batch, device=x.device)
    grid = (replicas * batch, triton.cdiv(k, _SAMPLES))
    has_bias = biases[0] is not None
    given = [out if bias is None else bias.contiguous() for bias in biases]
    kernel[grid](out, x, *heads, *given, x.stride(0), k, batch, n_x, has_bias, _SAMPLES, _block(n_x))
    return out


def _backward(
    kernel,
    grad: Tensor,
    x: Tensor,
    heads: tuple[Tensor, ...],
    biases: tuple[Tensor | None, ...],
) -> tuple[list[Tensor], list[Tensor | None]]:
    replicas, k, batch, n_x = heads[0].shape
    by_heads = [torch.empty_like(head) for head in heads]
    blocks = triton.cdiv(batch, _IMAGES)
    has_bias = biases[0] is not None
    given = [by_heads[0] if bias is None else bias.contiguous() for bias in biases]
    sums = [torch.empty(replicas, blocks, n_x, device=x.device) if has_bias else by_heads[0] for _ in heads]
    block = _block(n_x)
    grid = (replicas * blocks, triton.cdiv(n_x, block))
    where = (x.stride(0), k, batch, n_x, blocks)
    kernel[grid](*by_heads, *sums, grad.contiguous(), x, *heads, *given, *where, has_bias, _IMAGES, block)
    return by_heads, [part.sum(1, keepdim=True) if has_bias else None for part in sums]


def _block(n_x: int) -> int:
    return min(_BLOCK, int(triton.next_power_of_2(n_x)))


@triton.jit
def logistic(a):
    """Return sigmoid and softplus of a, to 1e-7; no exponential overflows."""
    e = tl.exp(-tl.abs(a))
    # The series of ln(1 + e) = 2 artanh(e / (2 + e)), whose quotient is at most 1/3.
    s = e / (2.0 + e)
    z = s * s
    series = z * (1 / 3 + z * (1 / 5 + z * (1 / 7 + z * (1 / 9 + z * (1 / 11 + z * (1 / 13))))))
    return tl.where(a >= 0, 1.0, e) / (1.0 + e), tl.maximum(a, 0.0) + 2.0 * (s + s * series)


@triton.jit
def _gaussian_pixel(x, a, c):
    """Return error, log-variance, precision and mean of a pixel."""
    mean, _ = logistic(a)
    half, _ = logistic(2.0 * c)
    log_variance = 2.0 * half - 1.0
    return x - mean, log_variance, tl.exp(-log_variance), mean


@triton.jit
def _bernoulli(
    out, x, logits, bias, stride, k, batch, n_x, HAS_BIAS: tl.constexpr, SAMPLES: tl.constexpr, BLOCK: tl.constexpr
):
    replica, image = tl.program_id(0) // batch, tl.program_id(0) % batch
    first = tl.program_id(1) * SAMPLES
    wide = replica.to(tl.int64)
    for sample in range(first, tl.minimum(first + SAMPLES, k)):
        row = (wide * k + sample) * batch + image
        total = tl.zeros([BLOCK], tl.float32)
        for start in range(0, n_x, BLOCK):
            pixel = start + tl.arange(0, BLOCK)
            is_pixel = pixel < n_x
            value = tl.load(x + wide * stride + image * n_x + pixel, mask=is_pixel, other=0.0)
            logit = tl.load(logits + row * n_x + pixel, mask=is_pixel, other=0.0)
            if HAS_BIAS:
                logit += tl.load(bias + wide * n_x + pixel, mask=is_pixel, other=0.0)
            _, soft = logistic(logit)
            total += tl.where(is_pixel, value * logit - soft, 0.0)
        tl.store(out + row, tl.sum(total, 0))


@triton.jit
def _bernoulli_gradient(
    by_logits,
    sums,
    grad,
    x,
    logits,
    bias,
    stride,
    k,
    batch,
    n_x,
    blocks,
    HAS_BIAS: tl.constexpr,
    IMAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    replica, part = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    wide = replica.to(tl.int64)
    pixel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    is_pixel = pixel < n_x
    total = tl.zeros([BLOCK], tl.float32)
    shift = tl.zeros([BLOCK], tl.float32)
    if HAS_BIAS:
        shift += tl.load(bias + wide * n_x + pixel, mask=is_pixel, other=0.0)
    for image in range(part * IMAGES, tl.minimum(part * IMAGES + IMAGES, batch)):
        value = tl.load(x + wide * stride + image * n_x + pixel, mask=is_pixel, other=0.0)
        for sample in range(0, k):
            row = (wide * k + sample) * batch + image
            logit = tl.load(logits + row * n_x + pixel, mask=is_pixel, other=0.0) + shift
            mean, _ = logistic(logit)
            slope = tl.load(grad + row) * (value - mean)
            tl.store(by_logits + row * n_x + pixel, slope, mask=is_pixel)
            total += slope
    if HAS_BIAS:
        tl.store(sums + (wide * blocks + part) * n_x + pixel, total, mask=is_pixel)


@triton.jit
def _gaussian(
    out,
    x,
    mean_head,
    variance_head,
    bias,
    other_bias,
    stride,
    k,
    batch,
    n_x,
    HAS_BIAS: tl.constexpr,
    SAMPLES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    replica, image = tl.program_id(0) // batch, tl.program_id(0) % batch
    first = tl.program_id(1) * SAMPLES
    wide = replica.to(tl.int64)
    for sample in range(first, tl.minimum(first + SAMPLES, k)):
        row = (wide * k + sample) * batch + image
        total = tl.zeros([BLOCK], tl.float32)
        for start in range(0, n_x, BLOCK):
            pixel = start + tl.arange(0, BLOCK)
            is_pixel = pixel < n_x
            value = tl.load(x + wide * stride + image * n_x + pixel, mask=is_pixel, other=0.0)
            a = tl.load(mean_head + row * n_x + pixel, mask=is_pixel, other=0.0)
            c = tl.load(variance_head + row * n_x + pixel, mask=is_pixel, other=0.0)
            if HAS_BIAS:
                a += tl.load(bias + wide * n_x + pixel, mask=is_pixel, other=0.0)
                c += tl.load(other_bias + wide * n_x + pixel, mask=is_pixel, other=0.0)
            error, log_variance, precision, _ = _gaussian_pixel(value, a, c)
            total += tl.where(is_pixel, log_variance + error * error * precision, 0.0)
        tl.store(out + row, -0.5 * (tl.sum(total, 0) + 1.8378770664093453 * n_x))


@triton.jit
def _gaussian_gradient(
    by_mean,
    by_variance,
    sums,
    other_sums,
    grad,
    x,
    mean_head,
    variance_head,
    bias,
    other_bias,
    stride,
    k,
    batch,
    n_x,
    blocks,
    HAS_BIAS: tl.constexpr,
    IMAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    replica, part = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    wide = replica.to(tl.int64)
    pixel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    is_pixel = pixel < n_x
    total, other_total = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    shift, other_shift = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    if HAS_BIAS:
        shift += tl.load(bias + wide * n_x + pixel, mask=is_pixel, other=0.0)
        other_shift += tl.load(other_bias + wide * n_x + pixel, mask=is_pixel, other=0.0)
    for image in range(part * IMAGES, tl.minimum(part * IMAGES + IMAGES, batch)):
        value = tl.load(x + wide * stride + image * n_x + pixel, mask=is_pixel, other=0.0)
        for sample in range(0, k):
            row = (wide * k + sample) * batch + image
            at = row * n_x + pixel
            a = tl.load(mean_head + at, mask=is_pixel, other=0.0) + shift
            c = tl.load(variance_head + at, mask=is_pixel, other=0.0) + other_shift
            error, log_variance, precision, mean = _gaussian_pixel(value, a, c)
            upstream = tl.load(grad + row)
            slope = upstream * error * precision * mean * (1.0 - mean)
            other = 0.5 * upstream * (error * error * precision - 1.0) * (1.0 - log_variance * log_variance)
            tl.store(by_mean + at, slope, mask=is_pixel)
            tl.store(by_variance + at, other, mask=is_pixel)
            total += slope
            other_total += other
    if HAS_BIAS:
        at = (wide * blocks + part) * n_x + pixel
        tl.store(sums + at, total, mask=is_pixel)
        tl.store(other_sums + at, other_total, mask=is_pixel)
