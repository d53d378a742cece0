"""An epoch of training that the host only starts: everything that differs from step to step is in tables on the device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workers.replicas.seeds import to_device
from workers.train.cuda_graph import captured


@dataclass(frozen=True)
class Tables:
    """The inputs of every step of an epoch, and its sums; always the same tensors, because a graph refers to them.

    Each step advances `offset` and `t` itself.
    """

    offset: Int[Tensor, "1"]
    """Number of steps of the epoch that are done."""
    t: Int[Tensor, "1"]
    """The number of the step, from 1 at the beginning of training."""
    rates: Float[Tensor, "step 2"]
    """Adam's numbers of every step; see workers.train.optimizer.rates_at."""
    betas: Float[Tensor, "step replica"]
    orders: Int[Tensor, "step seed batch"]
    """The indices of the images of every step; the last step may use only the beginning of its row."""
    totals: Float[Tensor, "2 replica"]
    """Sums of objective and bound over the images, float64."""

    def images(self, size: int) -> Int[Tensor, "seed _batch"]:
        """Return the indices of the first `size` images of the current step."""
        return self.orders.index_select(0, self.offset)[0, :, :size]


def tables_of(steps: int, replicas: int, seeds: int, batch_size: int, device: torch.device) -> Tables:
    """Return empty tables for an epoch with this number of steps."""
    return Tables(
        offset=torch.zeros(1, dtype=torch.int64, device=device),
        t=torch.zeros(1, dtype=torch.int64, device=device),
        rates=torch.zeros(steps, 2, device=device),
        betas=torch.zeros(steps, replicas, device=device),
        orders=torch.zeros(steps, seeds, batch_size, dtype=torch.int64, device=device),
        totals=torch.zeros(2, replicas, dtype=torch.float64, device=device),
    )


Step = Callable[[int, bool], None]
"""Makes one step with this number of images, with or without an update, on the tensors of the tables and of the state."""


class DeviceEpoch:
    """Runs epochs of a step; on a GPU the step is captured once per batch size, elsewhere it is called every time."""

    def __init__(self, tables: Tables, n: int, state: Sequence[Tensor]) -> None:
        """Prepare epochs of `n` images; `state` has all tensors that a step changes besides the tables."""
        self.tables = tables
        self.captures = tables.t.is_cuda
        self._state = [*state, tables.offset, tables.t, tables.totals]
        batch_size = tables.orders.shape[2]
        self._sizes = [batch_size] * (n // batch_size) + ([n % batch_size] if n % batch_size else [])
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}

    def run(
        self,
        step: Step,
        orders: Tensor,
        rates: Sequence[tuple[float, float]],
        betas: Sequence[Sequence[float]],
        t: int,
        update: bool,
    ) -> Float[Tensor, "2 replica"]:
        """Run one epoch and wait for its end.

        Args:
            step: the step, the same one at every call.
            orders: the order of the images, [seed, image].
            rates: Adam's numbers, one pair per step.
            betas: the weights of the variational term, [step, replica].
            t: the number of the first step, counted from 1 at the beginning of training.
            update: whether parameters are updated.

        Returns:
            Sums of objective and bound over the images, on the CPU.
        """
        tables, device = self.tables, self.tables.t.device
        steps, _, batch_size = tables.orders.shape
        filled = torch.nn.functional.pad(orders, (0, steps * batch_size - orders.shape[1]))
        tables.orders.copy_(filled.unflatten(1, (steps, batch_size)).transpose(0, 1))
        tables.rates.copy_(to_device(torch.tensor(rates, dtype=torch.float32), device))
        tables.betas.copy_(to_device(torch.tensor(betas, dtype=torch.float32), device))
        tables.offset.zero_()
        tables.t.fill_(t)
        tables.totals.zero_()
        for size in self._sizes:
            if update and self.captures:
                self._graph(step, size).replay()
            else:
                step(size, update)
        return tables.totals.cpu()

    def _graph(self, step: Step, size: int) -> torch.cuda.CUDAGraph:
        if size not in self._graphs:
            other = next(iter(self._graphs.values()), None)
            self._graphs[size] = captured(lambda: step(size, True), self._state, other)
        return self._graphs[size]
