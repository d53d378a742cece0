"""The parts of which networks are made: activations, heads, batch normalisation; owns no parameters and no shapes."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from workers.densities import softplus

Normaliser = Callable[[str, Tensor, Tensor, Tensor], Tensor]
"""Batch-normalises [replica, row, unit] of the layer of that name, with scale and shift [replica, 1, unit]."""

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
    # By hand: autograd through the same lines passes over the rows three times as often.

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
        # Ioffe and Szegedy 2015, sec. 3: the gradient less its mean and less its part along the normalised input.
        grad_a = torch.addcmul(grad_shift / -n, normalised, grad_scale / -n).add_(grad).mul_(inverse * scale)
        return grad_a, grad_scale, grad_shift


def _leaky_relu(a: Tensor) -> Tensor:
    return torch.nn.functional.leaky_relu(a, LEAKY_SLOPE)


ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "softplus": _Softplus.apply,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": _leaky_relu,
}


def _log_softplus(a: Tensor) -> Tensor:
    # softplus(a) = e^a (1 - e^a / 2 + ...) far below 0, where its logarithm would be that of a denormal.
    safe = a.clamp(min=-15.0)
    return torch.where(a < -15.0, a, torch.log(torch.nn.functional.softplus(safe)))


LOG_VARIANCE_HEADS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda a: a,
    "tanh": torch.tanh,
    "softplus": _log_softplus,
    "linear_sd": lambda a: 2 * a,
}


def batch_statistics(seen: dict[str, tuple[Tensor, Tensor]] | None = None) -> Normaliser:
    """Normalise with the mean and variance of the rows at hand (Ioffe and Szegedy 2015, alg. 1); note them in `seen`."""

    def normalise(name: str, a: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        out, mean, variance = _BatchNorm.apply(a, scale, shift)
        if seen is not None:
            seen[name] = (mean, variance)
        return out  # type: ignore[no-any-return]  # autograd.Function.apply is untyped

    return normalise


def running_statistics(running: dict[str, tuple[Tensor, Tensor]], momentum: float) -> Normaliser:
    """Normalise as batch_statistics does, and move `running` towards the batch as torch's BatchNorm1d does.

    running = (1 - momentum) running + momentum batch, where the batch's variance has the divisor n - 1.
    """
    fresh: dict[str, tuple[Tensor, Tensor]] = {}
    plain = batch_statistics(fresh)

    def normalise(name: str, a: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        out = plain(name, a, scale, shift)
        rows = a.shape[1]
        batch = fresh[name][0], fresh[name][1] * (rows / max(1, rows - 1))
        # Not in place: a stored state holds the tensors of its own epoch.
        running[name] = tuple(torch.lerp(old, new, momentum) for old, new in zip(running[name], batch, strict=True))  # type: ignore[assignment]
        return out

    return normalise


def fixed_statistics(seen: Mapping[str, tuple[Tensor, Tensor]]) -> Normaliser:
    """Normalise with statistics that were measured before, so that no image changes another's result."""

    def normalise(name: str, a: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        mean, variance = seen[name]
        slope = torch.rsqrt(variance + BATCH_NORM_EPSILON) * scale
        return torch.addcmul(shift - mean * slope, a, slope)

    return normalise
