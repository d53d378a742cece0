"""The activity of latent units, which is the variance over data of the posterior mean, gathered in any number of parts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workers.replicas.units import Units


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations from the mean of the vectors seen so far, in float64."""

    n: int
    mean: Float[Tensor, "*axes unit"]
    squares: Float[Tensor, "*axes unit"]

    @property
    def variance(self) -> Float[Tensor, "*axes unit"]:
        """Variance with divisor n."""
        return self.squares / self.n


def moments(values: Float[Tensor, "*axes row unit"]) -> Moments:
    """Return the moments of one part over its rows."""
    # float64, because sums of squares in float32 lose units of small activity.
    exact = values.double()
    mean = exact.mean(-2)
    return Moments(exact.shape[-2], mean, (exact - mean.unsqueeze(-2)).square().sum(-2))


def merge(a: Moments, b: Moments) -> Moments:
    """Return the moments of two parts together, independent of their order up to rounding; Chan, Golub and LeVeque 1983."""
    n = a.n + b.n
    shift = b.mean - a.mean
    return Moments(n, a.mean + shift * (b.n / n), a.squares + b.squares + shift.square() * (a.n * b.n / n))


def active_units(activity: Float[Tensor, "*axes unit"], threshold: float) -> torch.Tensor:
    """Return the number of units with A_u = Var_x(E_q[u|x]) > threshold; Burda et al. 2016, sec. 5 (the paper's eq. 5)."""
    return (activity > threshold).sum(-1)


def principal_variances(
    parts: Sequence[Float[Tensor, "replica _row unit"]], whole: Moments, layers: Sequence[int], units: Units | None = None
) -> Float[Tensor, "replica unit"]:
    """Return the eigenvalues of Cov_x(E_q[z|x]), divisor n, in descending order for each layer.

    Eigenvalues above a threshold are active directions, in whatever basis the units are; Arnal et al. 2021. They are 0 for
    units that a replica does not have. `layers` has the number of units of every layer.
    """
    # The values are centred in float64; products in float32 have an error of about 1e-7 of the largest eigenvalue.
    centred = torch.cat([(part - whole.mean.unsqueeze(-2)).float() for part in parts], 1)
    if units is None:
        return torch.cat([_eigenvalues(block, whole.n) for block in centred.split(list(layers), -1)], -1)
    found = torch.zeros_like(whole.mean)
    for n_z, own in units.groups:
        values = _eigenvalues(centred.index_select(0, own)[..., :n_z], whole.n)
        found.index_copy_(0, own, torch.nn.functional.pad(values, (0, units.width - n_z)))
    return found


def _eigenvalues(centred: Float[Tensor, "replica row unit"], n: int) -> Float[Tensor, "replica unit"]:
    covariance = (centred.transpose(1, 2) @ centred).double() / n
    # A matrix with NaN has no eigenvalues, and a diverged replica must not stop its pack.
    is_finite = torch.isfinite(covariance).all(-1, keepdim=True).all(-2, keepdim=True)
    values = torch.linalg.eigvalsh(torch.where(is_finite, covariance, 0.0)).flip(-1).clamp(min=0)
    return torch.where(is_finite.squeeze(-1), values, torch.nan)
