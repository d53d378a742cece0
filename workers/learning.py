"""A pack while it learns: parameters, optimizer and one epoch of training; stores nothing, measures nothing."""

import time

import torch
from jaxtyping import Float
from torch import Tensor

from workers.checkpoint import State
from workers.data import Data, training_batch
from workers.model import architecture_of, batch_statistics, encode, initial_parameters, log_likelihood
from workers.objective import iwae_bound, kl_per_unit, log_prior_ratio, reparameterise
from workers.optimizer import Adam
from workers.rng import Seeds, Stream
from workers.trial import Pack
from workers.warmup import beta_at


class Learner:
    """The replicas of a pack, trained side by side in one optimizer.

    No operation mixes replicas, so one whose numbers are no longer finite leaves its neighbours unchanged, bit for bit;
    it stays in the tensors as it is, and whoever records leaves it out.
    """

    def __init__(self, pack: Pack, data: Data, device: torch.device) -> None:
        """A pack before training."""
        first = pack.trials[0].settings
        self.architecture = architecture_of(first, data.n_x)
        self.seeds = Seeds([trial.settings.seed for trial in pack.trials], device)
        self.k = first.k
        self._closed_form = first.k == 1 and first.objective.kl == "auto"
        self._warmups = [trial.settings.warmup for trial in pack.trials]
        self._settings = first.training
        self._data = data
        self._device = device
        self._start(initial_parameters(self.architecture, [trial.settings.seed for trial in pack.trials], device))
        self.step = 0
        self.seconds = 0.0

    def _start(self, parameters: dict[str, Tensor]) -> None:
        self.parameters = {name: tensor.requires_grad_() for name, tensor in parameters.items()}
        self._leaves = list(self.parameters.values())
        self._optimizer = Adam(self.parameters, self._settings)

    def state(self, epoch: int, diverged_at: tuple[int | None, ...]) -> State:
        """A copy of everything that training needs to go on."""
        moments = {name: {kind: m.clone() for kind, m in kinds.items()} for name, kinds in self._optimizer.moments.items()}
        parameters = {name: tensor.detach().clone() for name, tensor in self.parameters.items()}
        return State(epoch, self.step, parameters, moments, diverged_at, self.seconds)

    def restore(self, state: State) -> None:
        """Go back to a state, bit for bit."""
        self._start({name: tensor.clone() for name, tensor in state.parameters.items()})
        self.step = state.step
        self.seconds = state.seconds
        self._optimizer.moments = {
            name: {kind: m.clone() for kind, m in kinds.items()} for name, kinds in state.moments.items()
        }

    def betas(self, epoch: int) -> list[float]:
        """The warm-up weight of every replica in an epoch."""
        return [beta_at(epoch, warmup) for warmup in self._warmups]

    def train_epoch(self, epoch: int) -> tuple[Float[Tensor, "replica"], Float[Tensor, "replica"]]:
        """One pass over the training images in a new order; epoch 0 makes the first epoch's pass without a step.

        Returns:
            Mean objective (with beta) and mean bound L_K (beta 1) over the images, each with the parameters before its
            step and batch statistics; nats per example.
        """
        started = time.perf_counter()
        data, update = self._data, epoch > 0
        n, batch_size = len(data.train), self._settings.batch_size
        orders = self.seeds.permutations(Stream.ORDER, max(epoch, 1), n)
        beta = torch.tensor(self.betas(epoch), device=self._device).view(-1, 1, 1)
        first_step = self.step + 1
        total_objective = torch.zeros(len(self.seeds.index), dtype=torch.float64, device=self._device)
        total_bound = torch.zeros_like(total_objective)
        for offset, images in enumerate(orders.split(batch_size, dim=1)):
            t = first_step + offset
            x = training_batch(data, self.seeds, images, t)
            with torch.set_grad_enabled(update):
                objective, bound = self._objective(x, beta, t)
            if update:
                # The sum over replicas of means over the batch: every replica gets the gradient it would get alone.
                gradients = torch.autograd.grad(-objective.mean(-1).sum(), self._leaves)
                self._optimizer.step(list(gradients), t)
                self.step = t
            total_objective += objective.detach().double().sum(-1)
            total_bound += bound.double().sum(-1)
        self.seconds += time.perf_counter() - started
        return total_objective / n, total_bound / n

    def _objective(self, x: Tensor, beta: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """L_K with beta inside the importance weights (Sonderby et al. 2016's code), and L_K itself, per example.

        At K = 1 that is E log p(x|z) - beta KL(q || p), the paper's eq. 4. There the closed form of KL makes a difference
        beyond the noise of the numbers: with the paper's beta2 = 0.9 and the sampled form, a model of 50 units prunes all
        of them within ten epochs of the digits data and never comes back; tests/workers/test_collapse.py.
        """
        normalise = batch_statistics()
        mean, log_variance = encode(self.parameters, self.architecture, x, normalise)
        noise = self.seeds.normal(Stream.NOISE, t, (self.k, x.shape[1], self.architecture.n_z))
        z = reparameterise(mean, log_variance, noise)
        log_px = log_likelihood(self.parameters, self.architecture, x, z, normalise)
        if self._closed_form:
            log_ratio = -kl_per_unit(mean, log_variance).sum(-1).unsqueeze(1)
        else:
            log_ratio = log_prior_ratio(z, log_variance, noise)
        objective = iwae_bound(torch.addcmul(log_px, beta, log_ratio))
        with torch.no_grad():
            bound = iwae_bound(log_px + log_ratio)
        return objective, bound
