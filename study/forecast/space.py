"""What a grid's results take on a disk, roughly; enough to see that one is too small."""

from collections.abc import Sequence
from itertools import pairwise

from workers.contract.settings import Settings, latent_units, layers_above
from workers.contract.trial import Trial
from workers.data.images import Known

_SCALARS_BYTES = 150
"""Of a row, compressed: the numbers beside the vectors."""

_VECTORS_PER_UNIT = 7
"""Columns with an entry a latent unit; random float32, which do not compress."""

_CLASSES = 10

_CHECKPOINTS_KEPT = 2

_STATES = 3
"""Parameters and Adam's two moments."""


def bytes_of(trials: Sequence[Trial], data: Known) -> int:
    """Rows, trained models, and the checkpoints of all packs at once, which is the most there can be."""
    return sum(_of_trial(trial.settings, data) for trial in trials)


def _of_trial(settings: Settings, data: Known) -> int:
    units = latent_units(settings)
    row = _SCALARS_BYTES + 4 * (_VECTORS_PER_UNIT * units + _CLASSES)
    model = 4 * _parameters(settings, data.n_x)
    return (settings.training.epochs + 1) * row + model + _CHECKPOINTS_KEPT * _STATES * model


def _parameters(settings: Settings, n_x: int) -> int:
    """Weights of encoder and decoder; biases are few beside them."""
    count, below = 0, n_x
    for hidden, n_z in [(settings.model.hidden, settings.n_z), *layers_above(settings.model)]:
        between = sum(a * b for a, b in pairwise(hidden))
        # Two heads each way: mean and log-variance.
        count += 3 * below * hidden[0] + 2 * between + 3 * hidden[-1] * n_z
        below = n_z
    return count
