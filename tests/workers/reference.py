"""The model, its bound and Adam written a second time, in float64, for one replica, from torch's own parts.

Shares with workers the names of the parameters and the random numbers, and no arithmetic: torch.distributions, F.batch_norm
and autograd stand where workers has formulas and gradients of its own.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Bernoulli, Normal

from workers.settings import Settings

ACTIVATIONS = {"softplus": F.softplus, "tanh": torch.tanh, "relu": torch.relu}

Statistics = dict[str, tuple[Tensor, Tensor]]


class Model:
    """Encoder and decoder of one replica."""

    def __init__(self, parameters: Mapping[str, Tensor], settings: Settings, replica: int = 0) -> None:
        self.p = {name: tensor[replica].detach().double().requires_grad_() for name, tensor in parameters.items()}
        self.settings = settings

    def hidden(self, side: str, h: Tensor, statistics: Statistics | None = None, seen: Statistics | None = None) -> Tensor:
        """`statistics`: of evaluation, else those of the rows; `seen` takes note of those."""
        for i in range(len(self.settings.model.hidden)):
            name = f"{side}.hidden{i}"
            a = h @ self.p[f"{name}.weight"]
            if not self.settings.batch_norm:
                a = a + self.p[f"{name}.bias"]
            else:
                if seen is not None:
                    seen[name] = (a.mean(0), a.var(0, unbiased=False))
                mean, variance = statistics[name] if statistics else (None, None)
                scale, shift = self.p[f"{name}.scale"][0], self.p[f"{name}.bias"][0]
                a = F.batch_norm(a, mean, variance, scale, shift, training=not statistics)
            h = ACTIVATIONS[self.settings.model.activation](a)
        return h

    def head(self, name: str, h: Tensor) -> Tensor:
        return h @ self.p[f"{name}.weight"] + self.p[f"{name}.bias"]

    def posterior(self, x: Tensor, statistics: Statistics | None = None, seen: Statistics | None = None) -> Normal:
        h = self.hidden("encoder", x.double(), statistics, seen)
        return Normal(self.head("encoder.mean", h), torch.exp(self.head("encoder.log_variance", h) / 2))

    def log_likelihood(self, x: Tensor, z: Tensor, statistics: Statistics | None = None) -> Tensor:
        """log p(x|z), z [k, batch, n_z]."""
        h = self.hidden("decoder", z.reshape(-1, z.shape[-1]), statistics)
        h = h.reshape(*z.shape[:-1], h.shape[-1])
        if self.settings.decoder == "bernoulli":
            pixels = Bernoulli(logits=self.head("decoder.logits", h))
        else:
            deviation = torch.exp(torch.tanh(self.head("decoder.log_variance", h)) / 2)
            pixels = Normal(torch.sigmoid(self.head("decoder.mean", h)), deviation)
        return pixels.log_prob(x.double()).sum(-1)

    def sampled(self, x: Tensor, noise: Tensor, statistics: Statistics | None = None) -> tuple[Tensor, Tensor]:
        """log p(x|z) and log p(z) - log q(z|x), [k, batch]."""
        q = self.posterior(x, statistics)
        z = q.loc + q.scale * noise.double()
        ratio = Normal(0.0, 1.0).log_prob(z).sum(-1) - q.log_prob(z).sum(-1)
        return self.log_likelihood(x, z, statistics), ratio

    def evaluation_statistics(self, images: Tensor, noise: Tensor) -> Statistics:
        seen: Statistics = {}
        q = self.posterior(images, seen=seen)
        self.hidden("decoder", q.loc + q.scale * noise.double(), seen=seen)
        return {name: (mean.detach(), variance.detach()) for name, (mean, variance) in seen.items()}


def log_mean_exp(log_w: Tensor) -> Tensor:
    return torch.logsumexp(log_w, 0) - math.log(len(log_w))


class Adam:
    """Kingma and Ba 2015, alg. 1 (torch), or the form at the end of their sec. 2 with epsilon hat (tf1)."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings.training
        self.t = 0
        self.m: dict[str, NDArray[np.float64]] = {}
        self.v: dict[str, NDArray[np.float64]] = {}

    def step(self, parameters: Mapping[str, NDArray], gradients: Mapping[str, NDArray]) -> dict[str, NDArray]:
        s = self.settings
        self.t += 1
        updated = {}
        for name, g in gradients.items():
            m = self.m[name] = s.beta1 * self.m.get(name, 0.0) + (1 - s.beta1) * g
            v = self.v[name] = s.beta2 * self.v.get(name, 0.0) + (1 - s.beta2) * g**2
            first, second = 1 - s.beta1**self.t, 1 - s.beta2**self.t
            if s.epsilon_mode == "torch":
                change = s.learning_rate * (m / first) / (np.sqrt(v / second) + s.epsilon)
            else:
                change = s.learning_rate * math.sqrt(second) / first * m / (np.sqrt(v) + s.epsilon)
            updated[name] = parameters[name] - change
        return updated
