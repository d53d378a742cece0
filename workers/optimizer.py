"""Adam for a whole pack in one step; every replica has its own moments."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from workers.settings import TrainingSettings


def adam(parameters: Iterable[Tensor], settings: TrainingSettings) -> torch.optim.Adam:
    """torch's fused Adam over stacked parameters: elementwise, so that no replica touches another."""
    return torch.optim.Adam(
        parameters,
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        fused=True,
    )


def step(optimizer: torch.optim.Adam, settings: TrainingSettings, t: int) -> None:
    """The t-th update (from 1); Kingma and Ba 2015, alg. 1.

    With `epsilon_mode: tf1` epsilon stands beside the uncorrected sqrt(v), the "epsilon hat" of their sec. 2. As torch
    adds its epsilon to sqrt(v / (1 - beta2^t)), both agree if torch gets epsilon / sqrt(1 - beta2^t).
    """
    if settings.epsilon_mode == "tf1":
        optimizer.param_groups[0]["eps"] = settings.epsilon / math.sqrt(1 - settings.beta2**t)
    optimizer.step()
