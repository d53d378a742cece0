"""Log-densities and log-probabilities of pixels given the outputs of the decoder, in nats, summed over pixels.

x is [replica, batch, pixel]; the decoder's outputs are [replica, k, batch, pixel].
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import FunctionCtx

from workers.kernels.available import has_kernels

LOG_2PI = math.log(2 * math.pi)

BINS = 256
"""Grey levels of a pixel: bin v is centred on v / 255."""


def bernoulli_log_likelihood(
    x: Float[Tensor, "replica batch pixel"], logits: Float[Tensor, "replica k batch pixel"]
) -> Float[Tensor, "replica k batch"]:
    """Return log p(x|z) = sum_d x_d l_d - softplus(l_d), where y = sigmoid(l); the paper's sec. 2.3.2.

    On grey pixels this is minus the cross-entropy of x and y, which is not a log-likelihood.
    """
    if has_kernels(logits):
        return biased_bernoulli(x, logits)
    out: Tensor = _Bernoulli.apply(x, logits)
    return out


def continuous_bernoulli_log_likelihood(
    x: Float[Tensor, "replica batch pixel"], logits: Float[Tensor, "replica k batch pixel"]
) -> Float[Tensor, "replica k batch"]:
    """Return the log-density of x in [0, 1]: sum_d log C(l_d) + x_d l_d - softplus(l_d), C(l) = l / tanh(l / 2), C(0) = 2.

    Loaiza-Ganem and Cunningham 2019 (arXiv:1907.06845), in terms of the logit l of their lambda.
    """
    return bernoulli_log_likelihood(x, logits) + _log_normaliser(logits).sum(-1)


def gaussian_log_likelihood(
    x: Float[Tensor, "replica batch pixel"],
    mean_head: Float[Tensor, "replica k batch pixel"],
    log_variance_head: Float[Tensor, "replica k batch pixel"],
) -> Float[Tensor, "replica k batch"]:
    """Return the log-density of x under N(sigmoid(a), exp(tanh(c))), summed over pixels; the paper's sec. 2.3.1.

    As log sigma^2 >= -1, it is at most -0.4189 nats per pixel, whatever the model learns.
    """
    if has_kernels(mean_head):
        return biased_gaussian(x, (mean_head, log_variance_head))
    out: Tensor = _Gaussian.apply(x, mean_head, log_variance_head)
    return out


def biased_bernoulli(
    x: Float[Tensor, "replica batch pixel"],
    logits: Float[Tensor, "replica k batch pixel"],
    bias: Float[Tensor, "replica 1 pixel"] | None = None,
) -> Float[Tensor, "replica k batch"]:
    """Return bernoulli_log_likelihood of logits + bias; needs kernels (has_kernels)."""
    from workers.kernels import pixels as kernels_pixels

    out: Tensor = kernels_pixels.Bernoulli.apply(x, logits, bias)
    return out


def biased_gaussian(
    x: Float[Tensor, "replica batch pixel"],
    heads: tuple[Float[Tensor, "replica k batch pixel"], Float[Tensor, "replica k batch pixel"]],
    biases: tuple[Tensor, Tensor] | tuple[None, None] = (None, None),
) -> Float[Tensor, "replica k batch"]:
    """Return gaussian_log_likelihood of the heads plus their biases; needs kernels (has_kernels)."""
    from workers.kernels import pixels as kernels_pixels

    out: Tensor = kernels_pixels.Gaussian.apply(x, *heads, *biases)
    return out


def gaussian_density(
    x: Float[Tensor, "replica batch pixel"],
    mean_head: Float[Tensor, "replica k batch pixel"],
    log_variance: Float[Tensor, "replica #k #batch #pixel"],
) -> Float[Tensor, "replica k batch"]:
    """Return the log-density of x under N(sigmoid(a), sigma^2) for any log sigma^2."""
    error = x.unsqueeze(1) - torch.sigmoid(mean_head)
    return -0.5 * (LOG_2PI + log_variance + torch.exp(-log_variance) * error * error).sum(-1)


def gaussian_mass_of_binary(
    x: Float[Tensor, "replica batch pixel"],
    mean: Float[Tensor, "replica k batch pixel"],
    log_variance: Float[Tensor, "replica #k #batch #pixel"],
) -> Float[Tensor, "replica k batch"]:
    """Return log P(x) of binary pixels under the density renormalised to {0, 1}: P(1) = sigmoid((2 mu - 1) / (2 sigma^2)).

    These nats can be compared with those of a Bernoulli decoder; see row 4 of the questions in docs/settings.md.
    """
    return bernoulli_log_likelihood(x, (mean - 0.5) * torch.exp(-log_variance))


def gaussian_mass_of_grey(
    x: Float[Tensor, "replica batch pixel"],
    mean: Float[Tensor, "replica k batch pixel"],
    log_variance: Float[Tensor, "replica #k #batch #pixel"],
) -> Float[Tensor, "replica k batch"]:
    """Return log P of the one of 256 bins that contains x; the first and the last bin include the tails."""
    low, high = _edges(x)
    scale = torch.exp(-0.5 * log_variance.double())
    a, b = (low.unsqueeze(1) - mean) * scale, (high.unsqueeze(1) - mean) * scale
    # In the lower tail both cumulative probabilities are small, so that their difference is exact.
    is_upper = a > 0
    a, b = torch.where(is_upper, -b, a), torch.where(is_upper, -a, b)
    log_a, log_b = torch.special.log_ndtr(a), torch.special.log_ndtr(b)
    total: Tensor = (log_b + torch.log(-torch.expm1(log_a - log_b))).sum(-1)
    return total


def continuous_bernoulli_mass_of_grey(
    x: Float[Tensor, "replica batch pixel"], logits: Float[Tensor, "replica k batch pixel"]
) -> Float[Tensor, "replica k batch"]:
    """Return log P of the one of 256 bins that contains x, F(x) = expm1(l x) / expm1(l); the outer bins end at 0 and 1."""
    low, high = (edge.clamp(0, 1).unsqueeze(1) for edge in _edges(x))
    width, exact = high - low, logits.double()
    # Replacing x by 1 - x turns a negative logit into a positive one.
    positive = exact.abs().clamp(min=1e-8)
    start = torch.where(exact < 0, 1 - high, low)
    # Use only 1 - e^-a, because e^a overflows for large logits (10^5 occurs).
    share = torch.log(-torch.expm1(-positive * width)) - torch.log(-torch.expm1(-positive))
    return (positive * (start + width - 1) + share).sum(-1)


def continuous_bernoulli_mean(logits: Float[Tensor, "*axes pixel"]) -> Float[Tensor, "*axes pixel"]:
    """Return E[x] = 1 / (1 - e^-l) - 1 / l, which is 1/2 at l = 0."""
    exact = logits.double()
    is_small = exact.abs() < 1e-3
    safe = torch.where(is_small, torch.ones_like(exact), exact)
    mean: Tensor = torch.where(is_small, 0.5 + exact / 12, -1 / torch.expm1(-safe) - 1 / safe)
    return mean.to(logits.dtype)


def softplus(a: Tensor) -> Tensor:
    """Return ln(1 + e^a) = max(a, 0) - ln sigmoid(|a|) with an absolute error of 1e-7, without a gradient.

    On a CPU torch's softplus and log1p take 10 ns per element, and this takes 1.5 ns.
    """
    log_sigmoid = a.abs().sigmoid_().log_()
    return torch.relu(a).sub_(log_sigmoid)


def _edges(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lower and the upper edge of the bin of x; the outer edges are infinite."""
    level = torch.round(x.double() * (BINS - 1))
    low = torch.where(level == 0, -math.inf, (level - 0.5) / (BINS - 1))
    return low, torch.where(level == BINS - 1, math.inf, (level + 0.5) / (BINS - 1))


def _log_normaliser(logits: Tensor) -> Tensor:
    """Return log(l / tanh(l / 2)), near l = 0 by its series because the quotient is 0 / 0 there."""
    half = 0.5 * logits
    is_small = half.abs() < 5e-3
    safe = torch.where(is_small, torch.ones_like(half), half)
    square = torch.where(is_small, half, torch.zeros_like(half)).square()
    series = square * (1 / 3 - 7 / 90 * square)
    value: Tensor = math.log(2) + torch.where(is_small, series, torch.log(safe / torch.tanh(safe)))
    return value


class _Bernoulli(torch.autograd.Function):
    # The gradient is written by hand because autograd would keep three tensors of the size of the decoder's output, the
    # largest tensors of a step.

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, logits: Tensor) -> Tensor:
        ctx.save_for_backward(x, logits)
        return (x.unsqueeze(1) * logits).sub_(softplus(logits)).sum(-1)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[None, Tensor]:
        x, logits = ctx.saved_tensors  # type: ignore[attr-defined]
        grad = torch.sigmoid(logits).sub_(x.unsqueeze(1)).mul_(-grads[0].unsqueeze(-1))
        return None, grad


class _Gaussian(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, mean_head: Tensor, log_variance_head: Tensor) -> Tensor:
        mean = torch.sigmoid(mean_head)
        # tanh(c) = 2 sigmoid(2c) - 1: torch's own tanh is six times slower on a CPU.
        log_variance = torch.sigmoid(2 * log_variance_head).mul_(2).sub_(1)
        error = x.unsqueeze(1) - mean
        scaled = torch.exp(-log_variance).mul_(error)
        ctx.save_for_backward(mean, log_variance, error, scaled)
        total = torch.addcmul(log_variance, error, scaled).sum(-1)
        return total.add_(LOG_2PI * x.shape[-1]).mul_(-0.5)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[None, Tensor, Tensor]:
        mean, log_variance, error, scaled = ctx.saved_tensors  # type: ignore[attr-defined]
        grad = grads[0].unsqueeze(-1)
        # d/da = (x - m)/s2 * m (1 - m);  d/dc = 1/2 ((x - m)^2 / s2 - 1) (1 - tanh(c)^2)
        grad_mean = (mean - mean * mean).mul_(scaled).mul_(grad)
        grad_log_variance = (error * scaled).sub_(1).mul_(1 - log_variance * log_variance).mul_(0.5 * grad)
        return None, grad_mean, grad_log_variance
