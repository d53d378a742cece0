"""Adam for a whole pack in one step; every replica has its own moments."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.adam import adam as torch_adam

from workers.settings import TrainingSettings

MOMENTS = ("exp_avg", "exp_avg_sq")
"""Adam's first and second moment, as torch and the checkpoints name them."""


class Adam:
    """Torch's fused Adam over stacked parameters: elementwise, so that no replica touches another.

    Torch's function, not its class: the class spends as long on its bookkeeping as small models spend on the update.
    """

    def __init__(self, parameters: Mapping[str, Tensor], settings: TrainingSettings) -> None:
        """Moments before the first step: zero, and `initial_second_moment` (Burda et al.'s code begins with 1)."""
        self._settings = settings
        self._parameters = list(parameters.values())
        start = dict(zip(MOMENTS, (0.0, settings.initial_second_moment), strict=True))
        self.moments = {
            name: {kind: torch.full_like(p, value, requires_grad=False) for kind, value in start.items()}
            for name, p in parameters.items()
        }

    @torch.no_grad()
    def step(self, gradients: list[Tensor], t: int, learning_rate: float) -> None:
        """The t-th update (from 1); Kingma and Ba 2015, alg. 1.

        With `epsilon_mode: tf1` epsilon stands beside the uncorrected sqrt(v), the "epsilon hat" of their sec. 2. As torch
        adds its epsilon to sqrt(v / (1 - beta2^t)), both agree if torch gets epsilon / sqrt(1 - beta2^t).
        """
        s = self._settings
        epsilon = s.epsilon / math.sqrt(1 - s.beta2**t) if s.epsilon_mode == "tf1" else s.epsilon
        first, second = ([moments[kind] for moments in self.moments.values()] for kind in MOMENTS)
        device = self._parameters[0].device
        # Torch counts a step before it uses the number.
        steps = [torch.tensor(float(t - 1), device=device) for _ in self._parameters]
        torch_adam(
            self._parameters,
            gradients,
            first,
            second,
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=s.beta1,
            beta2=s.beta2,
            lr=learning_rate,
            weight_decay=0.0,
            eps=epsilon,
            maximize=False,
        )
