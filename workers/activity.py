"""Activity of latent units: the variance over data of the posterior mean, gathered in any number of parts."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations of vectors seen so far, in float64."""

    n: int
    mean: Float[Tensor, "*axes unit"]
    squares: Float[Tensor, "*axes unit"]

    @property
    def variance(self) -> Float[Tensor, "*axes unit"]:
        """Variance with divisor n."""
        return self.squares / self.n


def moments(values: Float[Tensor, "*axes row unit"]) -> Moments:
    """The moments over rows of one part."""
    # float64: sums of squares lose the small units in float32.
    exact = values.double()
    mean = exact.mean(-2)
    return Moments(exact.shape[-2], mean, (exact - mean.unsqueeze(-2)).square().sum(-2))


def merge(a: Moments, b: Moments) -> Moments:
    """The moments of two parts together; Chan, Golub and LeVeque 1983, eq. 2.1. In any order, up to rounding."""
    n = a.n + b.n
    shift = b.mean - a.mean
    return Moments(n, a.mean + shift * (b.n / n), a.squares + b.squares + shift.square() * (a.n * b.n / n))


def active_units(activity: Float[Tensor, "*axes unit"], threshold: float) -> torch.Tensor:
    """Number of units with A_u = Var_x(E_q[u|x]) > threshold; Burda et al. 2016, sec. 5 (the paper's eq. 5)."""
    return (activity > threshold).sum(-1)
