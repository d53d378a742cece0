"""Estimate roughly what a pack costs: enough to choose borders, to run long packs first and to show the time left."""

import math
from itertools import pairwise

from workers.contract.setting_texts import named_classes
from workers.contract.settings import Settings, layers_above
from workers.contract.trial import Pack
from workers.data.images import Known

SECONDS_BETWEEN_BORDERS = 10.0

_FLOPS_PER_SECOND = {"cpu": 4e10, "cuda": 5e12, "mps": 5e11}
"""Of one process in eager PyTorch: the first was measured on a two-core machine, the other two are guesses."""

_STEP_SECONDS = {"cpu": 1e-3, "cuda": 2e-4, "mps": 1e-3}
"""What an optimizer step of a pack costs beside its arithmetic: the first was measured, the other two are guesses."""

_MEASURING_SECONDS = 4e-3
"""What measuring an epoch costs beside its arithmetic, and making its rows."""

_CLASSES = 10
"""Classes of digits, MNIST and Fashion-MNIST, all about equally large; a guess for your own data."""


def epoch_seconds(pack: Pack, data: Known, device: str) -> float:
    """Return the seconds of one epoch of a pack with its measurements: the arithmetic of its affine layers, and fixed costs.

    An epoch of a small model is all fixed costs, so that by its arithmetic alone it would have no border for hours.
    """
    arithmetic = sum(_epoch_flops(trial.settings, data) for trial in pack.trials) / _FLOPS_PER_SECOND[device]
    return arithmetic + fixed_seconds(pack, data, device)


def fixed_seconds(pack: Pack, data: Known, device: str) -> float:
    """Return the seconds of an epoch of a pack beside its arithmetic, which do not depend on the size of its model."""
    settings = pack.trials[0].settings
    steps = math.ceil(images_of(settings, data)[0] / settings.training.batch_size)
    return steps * _STEP_SECONDS[device] + _MEASURING_SECONDS


def border_every(pack_epoch_seconds: float, epochs: int) -> int:
    """Return the epochs between borders: about ten seconds' worth, so that a commit costs a small part of what it saves."""
    return max(1, min(epochs, round(SECONDS_BETWEEN_BORDERS / pack_epoch_seconds)))


def _epoch_flops(settings: Settings, data: Known) -> float:
    encoder, decoder, above = weights_of(settings, data.n_x)
    sampled = settings.k * (decoder + above)
    n, n_test = images_of(settings, data)
    measured = min(n, settings.measure.images)
    # One multiplication and one addition per weight; once forward, twice as much backward.
    training = 6 * n * (encoder + sampled)
    measuring = 2 * (measured * (encoder + above) + n_test * (encoder + sampled))
    statistics = 2 * measured * (encoder + decoder + above) if settings.batch_norm else 0
    return training + measuring + statistics


def images_of(settings: Settings, data: Known) -> tuple[int, float]:
    """Return approximately how many training and test images a trial uses."""
    n = max(1, data.n_train - settings.data.n_valid)
    n_test: float = data.n_test
    if (classes := named_classes(settings.data.classes)) is not None:
        share = min(1, len(classes) / _CLASSES)
        n, n_test = max(1, round(n * share)), n_test * share if settings.data.subset == "classes" else n_test
    return n, n_test


def heads_of(settings: Settings) -> int:
    """Return how many layers end at the pixels: one for the mean, and one for a log-variance that is learnt per pixel."""
    return 1 + (settings.decoder == "gaussian" and settings.model.decoder_logvar in ("tanh", "linear_clamped"))


def weights_of(settings: Settings, n_x: int) -> tuple[float, float, float]:
    """Count the weights of encoder and decoder around the first latent layer, and of both around all layers above it."""
    hidden, n_z = settings.model.hidden, settings.n_z
    between = sum(a * b for a, b in pairwise(hidden))
    encoder = n_x * hidden[0] + between + 2 * hidden[-1] * n_z
    decoder = n_z * hidden[-1] + between + heads_of(settings) * hidden[0] * n_x
    above, below = 0, n_z
    for sizes, units in layers_above(settings.model):
        # In both directions: from the layer below through the hidden ones to mean and log-variance, and back.
        above += 2 * sum(a * b for a, b in pairwise(sizes)) + 3 * (sizes[0] * below + sizes[-1] * units)
        below = units
    return encoder, decoder, above
