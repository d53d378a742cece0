"""Capture the work of a GPU once and replay it as a whole, with one launch in place of a hundred."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARM_UP = 3
"""Runs before the capture, in which kernels are compiled, libraries allocate workspaces and autograd starts its threads."""


def captured(
    work: Callable[[], None], state: Sequence[Tensor], pool: torch.cuda.CUDAGraph | None = None
) -> torch.cuda.CUDAGraph:
    """Return a graph of `work`, which reads and writes the same tensors at each replay.

    Args:
        work: launches kernels, without waiting for the device and without copying from or to it.
        state: all tensors that `work` changes; the warm-up runs leave them unchanged.
        pool: a graph whose memory may be used again, because the two never run at the same time.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    # The default stream cannot be captured.
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
