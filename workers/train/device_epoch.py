"""An epoch of training that the host only starts: what differs from step to step lies in tables on the device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workers.replicas.seeds import to_device
from workers.train.cuda_graph import captured


@dataclass(frozen=True)
class Tables:
    """What a step reads by its place in the epoch, and what it leaves; always the same tensors, as a graph holds them.

    A step advances `offset` and `t` itself.
    """

    offset: Int[Tensor, "1"]
    """Steps of the epoch that are done."""
    t: Int[Tensor, "1"]
    """The number of the step, from 1 at the beginning of training."""
    rates: Float[Tensor, "step 2"]
    """Adam's: see workers.train.optimizer.rates_at."""
    betas: Float[Tensor, "step replica"]
    orders: Int[Tensor, "step seed batch"]
    """The images of every step; the last one's may end before the row does."""
    totals: Float[Tensor, "2 replica"]
    """Sums over images of objective and bound, float64."""

    def images(self, size: int) -> Int[Tensor, "seed _batch"]:
        """The images of the step at hand, `size` of them."""
        return self.orders.index_select(0, self.offset)[0, :, :size]


def tables_of(steps: int, replicas: int, seeds: int, batch_size: int, device: torch.device) -> Tables:
    """Tables of an epoch of so many steps."""
    return Tables(
        offset=torch.zeros(1, dtype=torch.int64, device=device),
        t=torch.zeros(1, dtype=torch.int64, device=device),
        rates=torch.zeros(steps, 2, device=device),
        betas=torch.zeros(steps, replicas, device=device),
        orders=torch.zeros(steps, seeds, batch_size, dtype=torch.int64, device=device),
        totals=torch.zeros(2, replicas, dtype=torch.float64, device=device),
    )


Step = Callable[[int, bool], None]
"""Makes one step with so many images, with or without an update, on the tensors of the tables and of the state."""


class DeviceEpoch:
    """Runs epochs of a step: captured once a size of batch on a GPU, called anew everywhere else."""

    def __init__(self, tables: Tables, n: int, state: Sequence[Tensor]) -> None:
        """`n` images an epoch; `state`: all tensors that a step changes beside the tables."""
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
        """One epoch whose first step has the number t; waits for its end.

        Args:
            step: always the same one.
            orders: of the images, [seed, image].
            rates: Adam's, a pair a step.
            betas: one a step and replica.
            t: from 1.
            update: whether parameters move.

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
