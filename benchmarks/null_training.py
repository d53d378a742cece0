"""Replaces training by numbers that cost no time; the loop, rows, commits and files are the real ones.

`install` replaces the learner and the measurements of workers.train.loop in this process; for Ray it is the setup hook of
the workers. Everything else in a job is unchanged.
"""

from typing import Any

import torch

import workers.train.attempts
import workers.train.loop
from workers.contract.columns import MEASURED_AT_THE_END, MEASURED_EVERY_EPOCH
from workers.contract.trial import Pack
from workers.measure.at_the_end import Final
from workers.measure.every_epoch import Measurement
from workers.train.checkpoint import State


class NullLearner:
    """A learner with one tiny tensor per replica."""

    def __init__(self, pack: Pack, data: Any, device: torch.device) -> None:
        """Ignore `data`."""
        self.replicas, self.n_z = len(pack.trials), max(trial.settings.n_z for trial in pack.trials)
        self.architecture, self.seeds, self.k = self, None, 1
        self.statistics: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self.parameters = {"weight": torch.zeros(self.replicas, 4, 4)}
        self.seconds, self.step = 0.0, 0

    def train_epoch(self, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return numbers of the right shapes."""
        value = torch.full((self.replicas,), -100.0 + epoch, dtype=torch.float64)
        return value, value

    def betas(self, epoch: int) -> list[float]:
        """Return one beta per replica."""
        return [1.0] * self.replicas

    def state(self, epoch: int, diverged_at: tuple[int | None, ...]) -> State:
        """Return a state that can be stored."""
        moments = {"weight": {kind: torch.zeros(self.replicas, 4, 4) for kind in ("exp_avg", "exp_avg_sq")}}
        return State(epoch, epoch, dict(self.parameters), moments, diverged_at, 0.0)

    def restore(self, state: State) -> None:
        """Do nothing: there is no state to restore."""


def _measured(parameters: Any, learner: NullLearner, *_: Any) -> Measurement:
    vector, number = torch.rand(learner.replicas, learner.n_z), torch.zeros(learner.replicas, dtype=torch.float64)
    of = {"trial and epoch": number, "latent unit": vector, "class": torch.zeros(learner.replicas, 10)}
    return Measurement(**{column.name: of[column.per] for column in MEASURED_EVERY_EPOCH})


def _final(parameters: Any, learner: NullLearner, *_: Any) -> Final:
    vector, number = torch.rand(learner.replicas, learner.n_z), torch.zeros(learner.replicas, dtype=torch.float64)
    return Final(**{column.name: vector if column.is_vector else number for column in MEASURED_AT_THE_END})


class _NoData:
    fingerprint = "0" * 64
    measured = torch.zeros(1, 1)
    class_names = None


def install() -> None:
    """Make all further jobs of this process train nothing."""
    train: Any = workers.train.loop
    train.Learner = NullLearner
    train.measure, train.measure_final = _measured, _final
    train.statistics_of = lambda *_: ({}, None)
    train.baseline_bound = lambda *_: -25.0
    worker: Any = workers.train.attempts
    worker.load_data = lambda *_: _NoData()
