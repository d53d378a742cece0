"""What a pack costs, roughly: enough to choose borders, to run long packs first and to say what time is left."""

from itertools import pairwise

from workers.images import Known
from workers.settings import Settings
from workers.trial import Pack

SECONDS_BETWEEN_BORDERS = 10.0

_FLOPS_PER_SECOND = {"cpu": 4e10, "cuda": 5e12, "mps": 5e11}
"""Of one process in eager PyTorch: the first from one two-core machine, the other two are guesses until calibrated."""


def epoch_seconds(pack: Pack, data: Known, device: str) -> float:
    """Time of one epoch of a pack with its measurements, in seconds, from the arithmetic of its affine layers."""
    return sum(_epoch_flops(trial.settings, data) for trial in pack.trials) / _FLOPS_PER_SECOND[device]


def border_every(pack_epoch_seconds: float, epochs: int) -> int:
    """Epochs between borders: about ten seconds' worth, so that a commit costs a small part of what it saves."""
    return max(1, min(epochs, round(SECONDS_BETWEEN_BORDERS / pack_epoch_seconds)))


def _epoch_flops(settings: Settings, data: Known) -> float:
    sizes = [data.n_x, *settings.model.hidden]
    hidden = sum(a * b for a, b in pairwise(sizes))
    last = settings.model.hidden[-1]
    heads = 1 if settings.decoder == "bernoulli" else 2
    encoder = hidden + 2 * last * settings.n_z
    decoder = hidden + last * settings.n_z + (heads - 1) * settings.model.hidden[0] * data.n_x
    n = max(1, data.n_train - settings.data.n_valid)
    measured = min(n, settings.measure.images)
    # A multiplication and an addition a weight; forward once, backward twice that.
    training = 6 * n * (encoder + settings.k * decoder)
    measuring = 2 * (measured * encoder + data.n_test * (encoder + settings.k * decoder))
    statistics = 2 * measured * (encoder + decoder) if settings.batch_norm else 0
    return training + measuring + statistics
