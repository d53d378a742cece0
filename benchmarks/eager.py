"""The peer that a user would write: one eager model with torch's layers and optimizer, independent of workers."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Autoencoder(nn.Module):
    """An importance-weighted autoencoder with two hidden layers in encoder and decoder."""

    def __init__(self, n_x: int, n_z: int, decoder: str = "bernoulli", batch_norm: bool = False, hidden: int = 200) -> None:
        """Build the layers; `decoder` is bernoulli or gaussian (mean and log-variance in (-1, 1) per pixel)."""
        super().__init__()
        self.is_gaussian = decoder == "gaussian"
        self.encoder = _hidden_layers(n_x, hidden, batch_norm)
        self.mean, self.log_variance = nn.Linear(hidden, n_z), nn.Linear(hidden, n_z)
        self.decoder = _hidden_layers(n_z, hidden, batch_norm)
        self.pixels = nn.Linear(hidden, n_x * (2 if self.is_gaussian else 1))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of q(z|x), [batch, unit]."""
        h = self.encoder(x)
        return self.mean(h), self.log_variance(h)

    def log_px(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x|z), [k, batch], in nats."""
        out = self.pixels(self.decoder(z.flatten(0, 1))).unflatten(0, z.shape[:2])
        target = x.expand(len(z), *x.shape)
        if not self.is_gaussian:
            return -functional.binary_cross_entropy_with_logits(out, target, reduction="none").sum(-1)
        mean, log_variance = torch.sigmoid(out[..., : x.shape[1]]), torch.tanh(out[..., x.shape[1] :])
        error = target - mean
        return -0.5 * (math.log(2 * math.pi) + log_variance + error * error * torch.exp(-log_variance)).sum(-1)

    def forward(self, x: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return log p(x|z) and log p(z) - log q(z|x) of k samples, [k, batch], and the closed KL(q to p), [batch]."""
        mean, log_variance = self.encode(x)
        noise = torch.randn(k, *mean.shape)
        z = mean + torch.exp(0.5 * log_variance) * noise
        log_ratio = 0.5 * (noise * noise - z * z + log_variance).sum(-1)
        kl = 0.5 * (mean * mean + torch.exp(log_variance) - 1 - log_variance).sum(-1)
        return self.log_px(x, z), log_ratio, kl


def objective(model: Autoencoder, x: Tensor, k: int, beta: float) -> Tensor:
    """Return what a step maximises, in nats per example: the ELBO with the closed KL at k = 1, else L_K."""
    log_px, log_ratio, kl = model(x, k)
    if k == 1:
        return (log_px[0] - beta * kl).mean()
    return (torch.logsumexp(log_px + beta * log_ratio, 0) - math.log(k)).mean()


def adam(model: nn.Module) -> torch.optim.Adam:
    """Return torch's fused Adam with the settings of the quick start."""
    return torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.9), eps=1e-4, fused=True)


def step(model: Autoencoder, optimizer: torch.optim.Adam, pixels: Tensor, k: int, beta: float = 1.0) -> Tensor:
    """Make one update on freshly binarised pixels and return the objective before it."""
    x = (torch.rand_like(pixels) < pixels).float()
    optimizer.zero_grad()
    value = objective(model, x, k, beta)
    (-value).backward()
    optimizer.step()
    return value.detach()


@torch.no_grad()
def measure(model: Autoencoder, train: Tensor, test: Tensor, k: int) -> tuple[float, int]:
    """Measure L_K on the test images and active units on the training images, a hundred images at a time."""
    model.eval()
    log_w = [sum(model(x, k)[:2]) for x in test.split(100)]
    bound = (torch.logsumexp(torch.cat(log_w, 1), 0) - math.log(k)).mean()
    means = torch.cat([model.encode(x)[0] for x in train.split(100)])
    model.train()
    return float(bound), int((means.var(0, correction=0) > 0.1).sum())


def _hidden_layers(n_in: int, hidden: int, batch_norm: bool) -> nn.Sequential:
    parts: list[nn.Module] = []
    for size in (n_in, hidden):
        parts += [nn.Linear(size, hidden), *([nn.BatchNorm1d(hidden)] if batch_norm else []), nn.Softplus()]
    return nn.Sequential(*parts)
