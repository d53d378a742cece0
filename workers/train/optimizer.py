"""Adam for all replicas of a pack in one step, each with its own moments."""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from workers.contract.settings import TrainingSettings
from workers.kernels.available import has_kernels

MOMENTS = ("exp_avg", "exp_avg_sq")
"""Adam's first and second moment, as torch and the checkpoints name them."""


def rates_at(t: int, learning_rate: float, settings: TrainingSettings) -> tuple[float, float]:
    """Return (a, c) of the t-th update p -= a m / (c sqrt(v) + epsilon), for either `epsilon_mode`."""
    first, second = 1 - settings.beta1**t, math.sqrt(1 - settings.beta2**t)
    if settings.epsilon_mode == "tf1":
        return learning_rate * second / first, 1.0
    return learning_rate / first, 1 / second


def update(
    p: Tensor, gradient: Tensor, m: Tensor, v: Tensor, rates: Float[Tensor, "1 2"], constants: tuple[float, float, float]
) -> None:
    """Update one tensor in place; beta1, beta2 and epsilon are the only numbers that are not read from the device."""
    beta1, beta2, epsilon = constants
    m.mul_(beta1).add_(gradient, alpha=1 - beta1)
    v.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    size, root = rates[0]
    p.sub_(size * m / (root * v.sqrt() + epsilon))


class Adam:
    """Torch's fused Adam over stacked parameters; it works elementwise, so that replicas do not influence each other.

    It calls torch's kernel directly, because the bookkeeping of torch's class and function takes as long as the update of a
    small model.
    """

    def __init__(self, parameters: Mapping[str, Tensor], settings: TrainingSettings) -> None:
        """Set the moments before the first step to zero and `initial_second_moment` (Burda et al.'s code begins with 1)."""
        self._settings = settings
        self._parameters = list(parameters.values())
        start = dict(zip(MOMENTS, (0.0, settings.initial_second_moment), strict=True))
        self.moments = {
            name: {kind: torch.full_like(p, value, requires_grad=False) for kind, value in start.items()}
            for name, p in parameters.items()
        }
        self._count = torch.zeros((), device=self._parameters[0].device)

    @torch.no_grad()
    def device_step(self, gradients: list[Tensor], rates: Float[Tensor, "1 2"]) -> None:
        """Make the update that `step` makes, up to rounding, with the numbers of `rates_at` read from the device."""
        s = self._settings
        first, second = ([moments[kind] for moments in self.moments.values()] for kind in MOMENTS)
        constants = s.beta1, s.beta2, s.epsilon
        if has_kernels(rates):
            from workers.kernels import adam as kernels_adam

            kernels_adam.update(self._parameters, gradients, (first, second), rates, constants)
            return
        for tensors in zip(self._parameters, gradients, first, second, strict=True):
            update(*tensors, rates, constants)

    @torch.no_grad()
    def step(self, gradients: list[Tensor], t: int, learning_rate: float) -> None:
        """Make the t-th update (from 1); Kingma and Ba 2015, alg. 1.

        With `epsilon_mode: tf1` epsilon is added to the uncorrected sqrt(v), the "epsilon hat" of their sec. 2. Torch adds
        its epsilon to sqrt(v / (1 - beta2^t)), so both agree if torch gets epsilon / sqrt(1 - beta2^t).
        """
        s = self._settings
        epsilon = s.epsilon / math.sqrt(1 - s.beta2**t) if s.epsilon_mode == "tf1" else s.epsilon
        first, second = ([moments[kind] for moments in self.moments.values()] for kind in MOMENTS)
        # The kernel reads one count per tensor; they are all the same.
        self._count.fill_(t)
        torch._fused_adam_(
            self._parameters,
            gradients,
            first,
            second,
            [],
            [self._count] * len(self._parameters),
            amsgrad=False,
            beta1=s.beta1,
            beta2=s.beta2,
            lr=learning_rate,
            weight_decay=0.0,
            eps=epsilon,
            maximize=False,
        )
