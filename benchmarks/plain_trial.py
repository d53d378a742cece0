"""One trial in plain PyTorch, without packs: modules, torch.randn and torch.optim.Adam; timings compare packs with it."""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus


class Plain(nn.Module):
    """An autoencoder 784-200-200-n_z and back, with Bernoulli pixels, trained on L_K."""

    def __init__(self, n_x: int, hidden: tuple[int, ...], n_z: int) -> None:
        super().__init__()
        up, down = [n_x, *hidden], [n_z, *reversed(hidden)]
        self.up = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(up))
        self.mean, self.log_variance = nn.Linear(up[-1], n_z), nn.Linear(up[-1], n_z)
        self.down = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(down))
        self.logits = nn.Linear(down[-1], n_x)

    def bound(self, x: Tensor, k: int) -> Tensor:
        """Return the mean L_K of a batch, in nats."""
        h = x
        for layer in self.up:
            h = softplus(layer(h))
        mean, log_variance = self.mean(h), self.log_variance(h)
        noise = torch.randn(k, *mean.shape, device=x.device)
        z = mean + torch.exp(0.5 * log_variance) * noise
        h = z
        for layer in self.down:
            h = softplus(layer(h))
        logits = self.logits(h)
        log_px = -binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)
        log_w = log_px + 0.5 * (noise * noise - z * z + log_variance).sum(-1)
        return (torch.logsumexp(log_w, 0) - math.log(k)).mean()


def plain_step(
    images: Tensor, batch_size: int, hidden: tuple[int, ...], n_z: int, k: int, captured: bool
) -> Callable[[], object]:
    """Return a function that makes one step, launched kernel by kernel or as one graph."""
    device = images.device
    model = Plain(images.shape[1], hidden, n_z).to(device)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=1e-3, betas=(0.9, 0.9), eps=1e-4, fused=True, capturable=device.type == "cuda"
    )

    def step() -> None:
        chosen = torch.randint(len(images), (batch_size,), device=device)
        x = torch.bernoulli(images[chosen])
        loss = -model.bound(x, k)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    if not captured:
        return step
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay
