"""Captures work of a GPU once and replays it as a whole: one launch in place of a hundred."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARM_UP = 3
"""Runs before the capture: kernels are compiled, libraries make their workspaces, autograd its threads."""


def captured(
    work: Callable[[], None], state: Sequence[Tensor], pool: torch.cuda.CUDAGraph | None = None
) -> torch.cuda.CUDAGraph:
    """A graph of `work`, which reads and writes the same tensors at each replay.

    Args:
        work: launches kernels and neither waits for the device nor copies from or to it.
        state: all tensors that work changes; they are as before afterwards.
        pool: a graph whose memory may be used again, as both never run at once.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    # Another stream than the usual one, which cannot be captured.
    with torch.cuda.stream(stream), torch.no_grad():
        saved = [tensor.clone() for tensor in state]
        for _ in range(WARM_UP):
            with torch.enable_grad():
                work()
            for tensor, value in zip(state, saved, strict=True):
                tensor.copy_(value)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool.pool() if pool else None):
        work()
    return graph
