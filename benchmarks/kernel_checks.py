"""Checks every Triton kernel against its reference in torch, on shapes that no block size divides."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from workers.contract.settings_table import settings_from
from workers.contract.streams import Stream
from workers.kernels import adam as kernels_adam
from workers.kernels import available as kernels
from workers.kernels import bound as kernels_bound
from workers.kernels import latent as kernels_latent
from workers.kernels import layers as kernels_layers
from workers.kernels import norm as kernels_norm
from workers.kernels import philox as kernels_philox
from workers.kernels import philox_reference as philox
from workers.kernels import pixels as kernels_pixels
from workers.model.densities import bernoulli_log_likelihood, gaussian_log_likelihood
from workers.model.layers import ACTIVATIONS, BATCH_NORM_EPSILON, batch_statistics
from workers.model.objective import closed_prior_ratio, iwae_bound, log_prior_ratio, reparameterise
from workers.train.optimizer import rates_at, update

TOLERANCE = 3e-6
"""Relative to the largest number, for float32 against float32: sums of a thousand terms and the device's exponential."""

_KEYS = (0, 5, 2**63 - 1)


def normals(device: torch.device) -> float:
    """Return the absolute error of normals up to 6; they are exactly 0 for units that a replica does not have."""
    worst = 0.0
    for shape in ((1, 1, 1), (2, 3, 5), (3, 7, 50), (1, 100, 8)):
        for step, first in ((3, (0, 0)), (2**33 + 7, (9, 10_000))):
            place = (Stream.NOISE, 1, step, shape, first)
            found = kernels_philox.normals(torch.tensor(_KEYS, device=device), *place).cpu()
            again = kernels_philox.normals(
                torch.tensor(_KEYS, device=device), *place[:2], torch.tensor([step], device=device), *place[3:]
            )
            assert torch.equal(found, again.cpu()), "a step on the device is another step"
            expected = philox.normals(torch.tensor(_KEYS), *place)
            worst = max(worst, (found - expected).abs().max().item())
            counts = torch.tensor([1, shape[2] // 2 + 1, shape[2]])
            exists = (torch.arange(shape[2]) < counts.unsqueeze(1)).view(-1, 1, 1, shape[2])
            padded = kernels_philox.normals(torch.tensor(_KEYS, device=device), *place, counts.to(device)).cpu()
            assert torch.equal(padded, torch.where(exists, found, 0.0)), "a draw depends on its replica's units"
    return worst


def batch(device: torch.device) -> float:
    """Check that gathered and binarised batches agree exactly."""
    for n_x in (1, 21, 150):
        pixels = torch.rand(40, n_x, generator=torch.Generator().manual_seed(n_x))
        pixels[:, ::3] = 0
        images, index, keys = torch.randint(40, (3, 33)), torch.tensor([0, 2, 0, 1]), torch.tensor([4, 2**62, 4, 1])
        drawn = philox.uniforms(keys, Stream.BINARISATION, 12, (33, n_x))
        for stream, expected in (
            (Stream.BINARISATION, (drawn < pixels[images][index]).float()),
            (None, pixels[images][index]),
        ):
            where = keys.to(device), index.to(device)
            found = kernels_philox.batch(pixels.to(device), images.to(device), where, stream, 12)
            assert torch.equal(found.cpu(), expected)
    return 0.0


def bernoulli(device: torch.device) -> float:
    """Return the error of the Bernoulli log-likelihood, with and without bias, forward and backward."""
    return max(_pixels(device, shape, 1, bias) for shape in _PIXELS for bias in (False, True))


def gaussian(device: torch.device) -> float:
    """Return the error of the Gaussian log-likelihood, with and without biases, forward and backward."""
    return max(_pixels(device, shape, 2, bias) for shape in _PIXELS for bias in (False, True))


_PIXELS = ((1, 1, 1, 1), (2, 3, 5, 7), (1, 9, 2, 32), (1, 2, 1, 1030))


def _pixels(device: torch.device, shape: tuple[int, ...], heads: int, has_bias: bool) -> float:
    draw = _draws(device)
    replicas, _, batch, n_x = shape
    x = draw(replicas, batch, n_x).sigmoid()
    x = torch.where(draw(replicas, batch, n_x) > 0, x, x.round())
    shared = x[:1].expand(replicas, -1, -1)
    raw = [(20 * draw(*shape)).requires_grad_() for _ in range(heads)]
    biases = [draw(replicas, 1, n_x).requires_grad_() if has_bias else None for _ in range(heads)]
    function = (kernels_pixels.Bernoulli if heads == 1 else kernels_pixels.Gaussian).apply
    reference = bernoulli_log_likelihood if heads == 1 else gaussian_log_likelihood

    def expected(pixels: Tensor) -> Tensor:
        summed = [a if b is None else a + b.unsqueeze(1) for a, b in zip(raw, biases, strict=True)]
        return reference(pixels.expand(replicas, -1, -1), *summed)

    return max(
        _both(partial(function, pixels, *raw, *biases), partial(expected, pixels), [*raw, *biases], draw)
        for pixels in ((x, shared) if replicas > 1 else (x,))
    )


def softplus(device: torch.device) -> float:
    """Return the error of the softplus layer, with and without bias."""
    worst = 0.0
    for shape in ((1, 1, 1), (2, 5, 7), (3, 100, 70)):
        draw = _draws(device)
        a, bias = (10 * draw(*shape)).requires_grad_(), draw(shape[0], 1, shape[2]).requires_grad_()
        for b in (None, bias):
            found, reference = partial(kernels_layers.Softplus.apply, a, b), ACTIVATIONS["softplus"]
            worst = max(worst, _both(found, partial(reference, a if b is None else a + b), [a, b], draw))
    return worst


def batch_norm(device: torch.device) -> float:
    """Return the error of batch normalisation: result, mean, variance and gradients."""
    worst = 0.0
    for shape in ((1, 2, 1), (2, 65, 7), (3, 200, 33)):
        draw = _draws(device)
        a, scale, shift = (
            (3 * draw(*size) + 2).requires_grad_() for size in (shape, (shape[0], 1, shape[2]), (shape[0], 1, shape[2]))
        )
        seen: dict[str, tuple[Tensor, Tensor]] = {}
        found = partial(_normalised, a, scale, shift)
        worst = max(worst, _both(found, partial(batch_statistics(seen), "layer", a, scale, shift), [a, scale, shift], draw))
        _, mean, variance = kernels_norm.BatchNorm.apply(a, scale, shift, BATCH_NORM_EPSILON)
        worst = max(worst, _error(mean, seen["layer"][0]), _error(variance, seen["layer"][1]))
    return worst


def _normalised(a: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return kernels_norm.BatchNorm.apply(a, scale, shift, BATCH_NORM_EPSILON)[0]


def latent(device: torch.device) -> float:
    """Return the error of samples and of both ratios to the prior, for distributions shared by samples or not."""
    worst = 0.0
    for replicas, own, k, images, units in ((1, 1, 1, 1, 1), (2, 1, 3, 5, 7), (2, 3, 3, 5, 7), (1, 1, 4, 9, 50)):
        draw = _draws(device)
        mean, log_variance = (draw(replicas, own, images, units).requires_grad_() for _ in range(2))
        noise, z = draw(replicas, k, images, units), draw(replicas, k, images, units).requires_grad_()
        cases = [
            (kernels_latent.Sample, reparameterise, (mean, log_variance, noise)),
            (kernels_latent.PriorRatio, log_prior_ratio, (z, log_variance, noise)),
            (kernels_latent.ClosedRatio, closed_prior_ratio, (mean, log_variance)),
        ]
        for function, reference, given in cases:
            leaves = [tensor for tensor in given if tensor.requires_grad]
            worst = max(
                worst, _both(lambda f=function, g=given: f.apply(*g), lambda f=reference, g=given: f(*g), leaves, draw)
            )
    return worst


def bounds(device: torch.device) -> float:
    """Return the error of the training objective and of L_K at beta 1."""
    worst = 0.0
    for replicas, k, own, images in ((1, 1, 1, 1), (3, 5, 5, 40), (2, 4, 1, 33)):
        draw = _draws(device)
        log_px, ratio = (10 * draw(replicas, n, images) for n in (k, own))
        beta, leaves = draw(replicas, 1, 1).sigmoid(), [log_px.requires_grad_(), ratio.requires_grad_()]

        def expected(weight: Tensor, log_px: Tensor = log_px, ratio: Tensor = ratio) -> Tensor:
            return iwae_bound(log_px + weight * ratio)

        found = kernels_bound.Bounds.apply(log_px, ratio, beta)
        worst = max(worst, _error(found[1], expected(torch.ones_like(beta))))
        worst = max(worst, _both(lambda: found[0], lambda: expected(beta), leaves, draw))  # noqa: B023
    return worst


def adam(device: torch.device) -> float:
    """Return the error of Adam: tensors of every size, more than one launch takes, and one of them NaN."""
    worst = 0.0
    shapes = [(1, 1, 1), (3, 7, 50), (2, 1, 1025), (2, 1, 1)] * 7
    for mode in ("tf1", "torch"):
        draw, s = _draws(device), settings_from({"training.epsilon_mode": mode, "training.beta2": 0.999}).training
        whole = [[draw(*shape) for shape in shapes] for _ in range(4)]
        whole[1][1][0, 0, 0] = torch.nan
        whole[3] = [v.abs() for v in whole[3]]
        rates = torch.tensor([rates_at(3, 0.01, s)], device=device)
        constants = s.beta1, s.beta2, s.epsilon
        found, expected = ([[tensor.clone() for tensor in row] for row in whole] for _ in range(2))
        kernels_adam.update(found[0], found[1], (found[2], found[3]), rates, constants)
        for p, g, m, v in zip(*expected, strict=True):
            update(p, g, m, v, rates, constants)
        for row, other in zip(found, expected, strict=True):
            worst = max(worst, *(_error(a, b) for a, b in zip(row, other, strict=True)))
    return worst


CHECKS: Mapping[str, Callable[[torch.device], float]] = {
    "normal numbers": normals,
    "batch": batch,
    "bernoulli": bernoulli,
    "gaussian": gaussian,
    "softplus": softplus,
    "batch norm": batch_norm,
    "latent": latent,
    "bounds": bounds,
    "adam": adam,
}
"""Each returns its largest error; the references run on the same device, except for the integers of Philox."""


@contextmanager
def without_kernels() -> Iterator[None]:
    """Run everything inside by torch, on every device."""
    devices = kernels.DEVICES[:]
    kernels.DEVICES.clear()
    try:
        yield
    finally:
        kernels.DEVICES[:] = devices


def _draws(device: torch.device) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(shape, generator=generator).to(device)


def _both(
    found: Callable[[], Tensor], expected: Callable[[], Tensor], leaves: Sequence[Tensor | None], draw: Callable[..., Tensor]
) -> float:
    """Return the larger error of values and gradients."""
    given = [leaf for leaf in leaves if leaf is not None]
    a = found()
    with without_kernels():
        b = expected()
    slope = draw(*a.shape)
    pairs = zip(torch.autograd.grad(a, given, slope), torch.autograd.grad(b, given, slope), strict=True)
    return max(_error(a, b), *(_error(x, y) for x, y in pairs))


def _error(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    assert torch.equal(found.isnan(), expected.isnan())
    a, b = found.detach().nan_to_num(), expected.detach().nan_to_num()
    return ((a - b).abs().max() / b.abs().max().clamp(min=1)).item()
