"""Define the parts of networks: activations, heads of the log-variance, and batch normalisation."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from workers.kernels.available import has_kernels
from workers.model.densities import softplus

Normaliser = Callable[[str, Tensor, Tensor, Tensor], Tensor]
"""Batch-normalises the values [replica, row, unit] of a named layer, with scale and shift [replica, 1, unit]."""

BATCH_NORM_EPSILON = 1e-5

LEAKY_SLOPE = 0.01


class _Softplus(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, a: Tensor) -> Tensor:
        ctx.save_for_backward(a)
        return softplus(a)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> Tensor:
        (a,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return torch.sigmoid(a).mul_(grads[0])


class _BatchNorm(torch.autograd.Function):
    # Written by hand, because autograd through the same lines passes over the rows three times as often.

    @staticmethod
    def forward(ctx: FunctionCtx, a: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean = a.mean(1, keepdim=True)
        centred = a - mean
        variance = centred.square().mean(1, keepdim=True)
        inverse = torch.rsqrt(variance + BATCH_NORM_EPSILON)
        normalised = centred.mul_(inverse)
        ctx.save_for_backward(normalised, inverse, scale)
        ctx.mark_non_differentiable(mean, variance)
        return torch.addcmul(shift, normalised, scale), mean, variance

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        normalised, inverse, scale = ctx.saved_tensors  # type: ignore[attr-defined]
        grad = grads[0]
        n = grad.shape[1]
        grad_shift = grad.sum(1, keepdim=True)
        grad_scale = (grad * normalised).sum(1, keepdim=True)
        # Ioffe and Szegedy 2015, sec. 3: the gradient minus its mean and minus its part along the normalised input.
        grad_a = torch.addcmul(grad_shift / -n, normalised, grad_scale / -n).add_(grad).mul_(inverse * scale)
        return grad_a, grad_scale, grad_shift


def softplus_of(a: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return softplus(a), or softplus(a + bias), of a hidden layer [replica, row, unit]."""
    if has_kernels(a):
        from workers.kernels import layers as kernels_layers

        return kernels_layers.Softplus.apply(a, bias)  # type: ignore[no-any-return]
    return _Softplus.apply(a if bias is None else a + bias)  # type: ignore[no-any-return]


def _leaky_relu(a: Tensor) -> Tensor:
    return torch.nn.functional.leaky_relu(a, LEAKY_SLOPE)


ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "softplus": softplus_of,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": _leaky_relu,
}


def _log_softplus(a: Tensor) -> Tensor:
    # Far below 0, softplus(a) = e^a (1 - e^a / 2 + ...), so its logarithm is a. softplus itself may be a denormal there.
    safe = a.clamp(min=-15.0)
    return torch.where(a < -15.0, a, torch.log(torch.nn.functional.softplus(safe)))


LOG_VARIANCE_HEADS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda a: a,
    "tanh": torch.tanh,
    "softplus": _log_softplus,
    "linear_sd": lambda a: 2 * a,
}


def batch_statistics(seen: dict[str, tuple[Tensor, Tensor]] | None = None) -> Normaliser:
    """Normalise with mean and variance of the given rows (Ioffe and Szegedy 2015, alg. 1), and record them in `seen`."""

    def normalise(name: str, a: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        out, mean, variance = _batch_norm(a, scale, shift)
        if seen is not None:
            seen[name] = (mean, variance)
        return out

    return normalise


def _batch_norm(a: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if has_kernels(a):
        from workers.kernels import norm as kernels_norm

        return kernels_norm.BatchNorm.apply(a, scale, shift, BATCH_NORM_EPSILON)  # type: ignore[no-any-return]
    return _BatchNorm.apply(a, scale, shift)  # type: ignore[no-any-return]  # autograd.Function.apply is untyped


def running_statistics(running: Mapping[str, tuple[Tensor, Tensor]], momentum: float) -> Normaliser:
    """Normalise as batch_statistics does, and update `running` as torch's BatchNorm1d does.

    running = (1 - momentum) running + momentum batch,   where the batch's variance has the divisor n - 1
    """
    fresh: dict[str, tuple[Tensor, Tensor]] = {}
    plain = batch_statistics(fresh)

    def normalise(name: str, a: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        out = plain(name, a, scale, shift)
        rows = a.shape[1]
        batch = fresh[name][0], fresh[name][1] * (rows / max(1, rows - 1))
        # In place, because a CUDA graph of the step uses these very tensors.
        for old, new in zip(running[name], batch, strict=True):
            old.lerp_(new, momentum)
        return out

    return normalise


def fixed_statistics(seen: Mapping[str, tuple[Tensor, Tensor]]) -> Normaliser:
    """Normalise with given statistics, so that no image changes the result of another."""

    def normalise(name: str, a: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        mean, variance = seen[name]
        slope = torch.rsqrt(variance + BATCH_NORM_EPSILON) * scale
        return torch.addcmul(shift - mean * slope, a, slope)

    return normalise
