"""Compute importance-weighted bounds, and the objectives that can be trained instead of them, in nats per example."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from workers.contract.settings import ObjectiveSettings
from workers.kernels.available import has_kernels
from workers.replicas.units import Units, kept


def iwae_bound(log_w: Float[Tensor, "*axes k batch"]) -> Float[Tensor, "*axes batch"]:
    """Return the importance-weighted lower bound on log p(x), in nats per example.

        L_K = log( (1/K) * sum_k w_k )      Burda et al. 2016, sec. 3 (arXiv:1509.00519); the paper's eq. 3

    Args:
        log_w: log p(x, z_k) - log q(z_k | x) in nats, z_k drawn from q. The K samples of one column belong to one image.

    Returns:
        One bound per example. Equals the ELBO estimate when K = 1.
    """
    if log_w.shape[-2] == 1:
        return log_w.squeeze(-2)
    return torch.logsumexp(log_w, dim=-2) - math.log(log_w.shape[-2])


def effective_share(log_w: Float[Tensor, "*axes k batch"]) -> Float[Tensor, "*axes batch"]:
    """Return the effective share of the K samples, (sum_k w_k)^2 / (K sum_k w_k^2), from 1/K to 1; Kish 1965."""
    log_share = 2 * torch.logsumexp(log_w, dim=-2) - torch.logsumexp(2 * log_w, dim=-2)
    return torch.exp(log_share) / log_w.shape[-2]


def objective_of(
    log_px: Float[Tensor, "replica k batch"],
    log_ratio: Float[Tensor, "replica #k batch"],
    beta: Float[Tensor, "replica 1 1"],
    settings: ObjectiveSettings,
) -> Float[Tensor, "replica batch"]:
    """Return what a training step maximises, per example; at beta 1 every form is L_K (or, with vae, the mean log weight).

        vae:           mean_k [ log p(x|z_k) + beta r_k ]                          r_k = log p(z_k) - log q(z_k|x)
        iwae, inside:  log (1/K) sum_k exp( log p(x|z_k) + beta r_k )              Sonderby et al. 2016's code
        iwae, outside: beta L_K + (1 - beta) mean_k log p(x|z_k)                   the paper's eq. 4 at K = 1

    Args:
        log_px: log p(x|z_k).
        log_ratio: r_k; or -KL(q || p) in closed form, whose axis of samples has length 1.
        beta: the weight of the variational term.
        settings: selects the form of the objective.
    """
    if settings.bound == "vae":
        return torch.addcmul(log_px, beta, log_ratio).mean(1)
    if settings.beta_place == "outside":
        weight = beta.squeeze(1)
        return weight * iwae_bound(log_px + log_ratio) + (1 - weight) * log_px.mean(1)
    log_w = torch.addcmul(log_px, beta, log_ratio)
    return iwae_bound(_tiled(log_w) if settings.iwae_tile_bug else log_w)


def is_importance_weighted(k: int, settings: ObjectiveSettings) -> bool:
    """Return whether the objective is L_K with beta inside the weights, or equals it because K = 1."""
    if settings.free_bits > 0 or settings.iwae_tile_bug:
        return False
    return k == 1 or (settings.bound == "iwae" and settings.beta_place == "inside")


def both_bounds(
    log_px: Float[Tensor, "replica k batch"],
    log_ratio: Float[Tensor, "replica #k batch"],
    beta: Float[Tensor, "replica 1 1"],
) -> tuple[Float[Tensor, "replica batch"], Float[Tensor, "replica batch"]]:
    """Return objective_of, and L_K at beta 1 without a gradient; requires is_importance_weighted and has_kernels."""
    from workers.kernels import bound as kernels_bound

    objective, bound = kernels_bound.Bounds.apply(log_px, log_ratio, beta)
    return objective, bound


def free_bits_objective(
    log_px: Float[Tensor, "replica k batch"],
    kl: Float[Tensor, "replica 1 batch unit"],
    beta: Float[Tensor, "replica 1 1"],
    free_bits: float,
    units: Units | None = None,
) -> Float[Tensor, "replica batch"]:
    """Return mean_k log p(x|z_k) - beta sum_u max(lambda, batch mean of KL_u); Kingma et al. 2016 (arXiv:1606.04934).

    The second term belongs to the whole batch and is the same for every example.
    """
    paid = kept(kl.mean(2, keepdim=True).clamp(min=free_bits), units).squeeze(2).sum(-1)
    return log_px.mean(1) - beta.squeeze(1) * paid


def path_weight(
    log_w: Float[Tensor, "replica k batch"], beta: Float[Tensor, "replica 1 1"]
) -> Float[Tensor, "replica k batch"]:
    """Return the factor (1 - beta) + beta w_k by which doubly reparameterised gradients scale w_k times a path derivative.

        encoder: sum_k [(1 - beta) w_k + beta w_k^2] d log w_k / dz_k dz_k/dphi,   w normalised over k

    At beta 1 this is Tucker et al. 2019 (arXiv:1810.04152). With beta inside the weights the score term of q carries beta,
    and reparameterising it turns w_k into w_k - beta w_k (1 - w_k).
    """
    return torch.addcmul(1 - beta, beta, torch.softmax(log_w, dim=1))


def reparameterise(
    mean: Float[Tensor, "replica #k batch unit"],
    log_variance: Float[Tensor, "replica #k batch unit"],
    noise: Float[Tensor, "replica k batch unit"],
) -> Float[Tensor, "replica k batch unit"]:
    """Return samples z = mu + sigma * eps of q(z|x); Kingma and Welling 2014, sec. 2.4."""
    if has_kernels(noise):
        from workers.kernels import latent as kernels_latent

        z: Tensor = kernels_latent.Sample.apply(mean, log_variance, noise)
        return z
    return torch.addcmul(mean, torch.exp(0.5 * log_variance), noise)


def log_prior_ratio(
    z: Float[Tensor, "replica k batch unit"],
    log_variance: Float[Tensor, "replica #k batch unit"],
    noise: Float[Tensor, "replica k batch unit"],
) -> Float[Tensor, "replica k batch"]:
    """Return log p(z) - log q(z|x), summed over units, with p = N(0, I) and z = mu + sigma * noise.

    It equals 1/2 sum_u (log sigma_u^2 + eps_u^2 - z_u^2), because the terms in log 2 pi cancel.
    """
    if has_kernels(z):
        from workers.kernels import latent as kernels_latent

        ratio: Tensor = kernels_latent.PriorRatio.apply(z, log_variance, noise)
        return ratio
    return 0.5 * ((noise * noise - z * z).sum(-1) + log_variance.sum(-1))


def closed_prior_ratio(
    mean: Float[Tensor, "replica _k batch unit"], log_variance: Float[Tensor, "replica _k batch unit"]
) -> Float[Tensor, "replica _k batch"]:
    """Return -KL(q(z|x) || N(0, I)) in closed form, summed over units."""
    if has_kernels(mean):
        from workers.kernels import latent as kernels_latent

        ratio: Tensor = kernels_latent.ClosedRatio.apply(mean, log_variance)
        return ratio
    return -kl_per_unit(mean, log_variance).sum(-1)


def log_conditional_ratio(
    z: Float[Tensor, "replica k batch unit"],
    log_variance: Float[Tensor, "replica #k batch unit"],
    noise: Float[Tensor, "replica k batch unit"],
    p: tuple[Float[Tensor, "replica k batch unit"], Float[Tensor, "replica k batch unit"]],
) -> Float[Tensor, "replica k batch"]:
    """Return log p(z) - log q(z), summed over units; p is a Gaussian (mean, log variance), and z = mu + sigma * noise."""
    mean, p_log_variance = p
    error = z - mean
    p_term = p_log_variance + error * error * torch.exp(-p_log_variance)
    return 0.5 * ((noise * noise - p_term).sum(-1) + log_variance.sum(-1))


def log_ratio_per_unit(
    z: Float[Tensor, "replica k batch unit"],
    q: tuple[Float[Tensor, "replica #k batch unit"], Float[Tensor, "replica #k batch unit"]],
    p: tuple[Float[Tensor, "replica k batch unit"], Float[Tensor, "replica k batch unit"]] | None,
) -> Float[Tensor, "replica k batch unit"]:
    """Return log p(z_u) - log q(z_u) of Gaussians given as (mean, log variance); None for p means N(0, 1)."""
    p_term = z * z if p is None else p[1] + (z - p[0]).square() * torch.exp(-p[1])
    return 0.5 * (q[1] + (z - q[0]).square() * torch.exp(-q[1]) - p_term)


def kl_per_unit(mean: Float[Tensor, "*axes unit"], log_variance: Float[Tensor, "*axes unit"]) -> Float[Tensor, "*axes unit"]:
    """Return KL(q(z_u|x) || N(0, 1)) in closed form; Kingma and Welling 2014, app. B."""
    return 0.5 * (mean * mean + torch.exp(log_variance) - 1 - log_variance)


def _tiled(log_w: Tensor) -> Tensor:
    """Return log_w grouped as by the known bug: x is tiled as x1..xB, x1..xB, ... but reshaped to [B, K], mixing images."""
    k, batch = log_w.shape[-2:]
    return log_w.reshape(*log_w.shape[:-2], batch, k).transpose(-1, -2)
