"""Hold the parameters and the optimizer of a pack, and train it for one epoch at a time."""

import time
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from workers.contract.combinations import closed_form_kl
from workers.contract.schedules import beta_at, learning_rate_at
from workers.contract.streams import Stream
from workers.contract.trial import Pack
from workers.kernels.available import has_kernels
from workers.model.architecture import initial_statistics
from workers.model.inputs import Data, pixel_mean, training_batch
from workers.model.layers import Normaliser, batch_statistics, running_statistics
from workers.model.networks import Latent, Model, encode, log_likelihood, log_ratio, path_log_ratio, sample_latents
from workers.model.objective import (
    both_bounds,
    free_bits_objective,
    is_importance_weighted,
    iwae_bound,
    kl_per_unit,
    objective_of,
    path_weight,
)
from workers.model.padding import architecture_of_pack, initial_parameters_of_pack, resized
from workers.replicas.seeds import COUNTER, NUMPY, Seeds
from workers.train.checkpoint import State
from workers.train.device_epoch import DeviceEpoch, tables_of
from workers.train.optimizer import Adam, rates_at


class Learner:
    """The replicas of a pack, trained side by side with one optimizer.

    No operation mixes replicas, so a replica whose numbers are no longer finite does not change a bit of the others. It
    stays in the tensors, and the training loop leaves it out of the rows.
    """

    def __init__(self, pack: Pack, data: Data, device: torch.device, on_device: bool | None = None) -> None:
        """Prepare a pack for training.

        With `on_device`, the host starts an epoch and waits for its end, as on a GPU; None means to do so on a GPU only.
        """
        on_device = device.type == "cuda" if on_device is None else on_device
        first = pack.trials[0].settings
        self.architecture = architecture_of_pack([trial.settings for trial in pack.trials], data.n_x, device)
        seeds = [trial.settings.seed for trial in pack.trials]
        self.seeds = Seeds(seeds, device, COUNTER if on_device else NUMPY, self.architecture.units)
        self.k = first.k
        self._closed_form = closed_form_kl(first)
        self._warmups = [trial.settings.warmup for trial in pack.trials]
        self._objective_settings = first.objective
        self._settings = first.training
        self._momentum = first.model.bn_momentum
        self._data = data
        self._device = device
        bias = pixel_mean(data) if first.model.output_bias == "data_mean" else None
        self._start(initial_parameters_of_pack(self.architecture, seeds, device, first.model.init, bias))
        is_running = first.batch_norm and first.model.bn_statistics == "running"
        self.statistics = initial_statistics(self.architecture, len(seeds), device) if is_running else {}
        self.step = 0
        self.seconds = 0.0
        self.device_epoch = self._device_epoch_of(device) if on_device else None

    def _device_epoch_of(self, device: torch.device) -> DeviceEpoch:
        replicas, seeds = len(self.seeds.index), len(self.seeds.unique)
        size = min(self._settings.batch_size, len(self._data.train))
        tables = tables_of(self.steps_an_epoch, replicas, seeds, size, device)
        moments = [m for kinds in self._optimizer.moments.values() for m in kinds.values()]
        statistics = [tensor for pair in self.statistics.values() for tensor in pair]
        state = [*self._leaves, *moments, *statistics]
        return DeviceEpoch(tables, len(self._data.train), state)

    def _start(self, parameters: dict[str, Tensor]) -> None:
        self.parameters = {name: tensor.requires_grad_() for name, tensor in parameters.items()}
        self._leaves = list(self.parameters.values())
        self._optimizer = Adam(self.parameters, self._settings)

    def state(self, epoch: int, diverged_at: tuple[int | None, ...]) -> State:
        """Return a copy of everything that is needed to continue training."""
        moments = {name: {kind: m.clone() for kind, m in kinds.items()} for name, kinds in self._optimizer.moments.items()}
        parameters = {name: tensor.detach().clone() for name, tensor in self.parameters.items()}
        statistics = {name: (mean.clone(), variance.clone()) for name, (mean, variance) in self.statistics.items()}
        return State(epoch, self.step, parameters, moments, diverged_at, self.seconds, statistics)

    @torch.no_grad()
    def restore(self, state: State) -> None:
        """Restore a state bit for bit, in place, because a CUDA graph of the step uses these tensors.

        The state of a wider pack, from which this one was split off, is cut to the latent units of this one.
        """
        self.step = state.step
        self.seconds = state.seconds
        n_z = self.architecture.latent[0]
        for name, parameter in self.parameters.items():
            parameter.copy_(resized(name, state.parameters[name], n_z))
            for kind, moment in self._optimizer.moments[name].items():
                moment.copy_(resized(name, state.moments[name][kind], n_z))
        for name, pair in self.statistics.items():
            for own, stored in zip(pair, state.statistics[name], strict=True):
                own.copy_(resized(name, stored, n_z))

    @property
    def steps_an_epoch(self) -> int:
        """Number of updates in one pass over the training images."""
        return -(-len(self._data.train) // self._settings.batch_size)

    def betas(self, epoch: int) -> list[float]:
        """Return the beta of every replica in an epoch; its mean over the steps if beta rises with every step."""
        steps = [self._betas_of_step(epoch, offset) for offset in self._offsets()]
        return [sum(column) / len(steps) for column in zip(*steps, strict=True)]

    def _offsets(self) -> range:
        return range(self.steps_an_epoch if self._objective_settings.warmup_by == "step" else 1)

    def _betas_of_step(self, epoch: int, offset: int) -> list[float]:
        # Epoch 0, before training, has the beta of epoch 1.
        progress = max(0, epoch - 1) + offset / self.steps_an_epoch
        return [beta_at(progress, warmup, self._objective_settings) for warmup in self._warmups]

    def train_epoch(self, epoch: int) -> tuple[Float[Tensor, "replica"], Float[Tensor, "replica"]]:
        """Make one pass over the training images; epoch 0 makes the pass of the first epoch without updates.

        Returns:
            The objective (with beta) and the bound L_K (at beta 1), averaged over the images; nats per example, on the CPU.
            Each batch is evaluated with batch statistics and with the parameters before its update.
        """
        started = time.perf_counter()
        orders = self._orders(epoch, len(self._data.train))
        epoch_of = self._device_pass if self.device_epoch else self._pass
        objective, bound = epoch_of(epoch, orders) / len(self._data.train)
        self.seconds += time.perf_counter() - started
        return objective, bound

    def _device_pass(self, epoch: int, orders: Tensor) -> Float[Tensor, "2 replica"]:
        assert self.device_epoch
        steps, first = self.steps_an_epoch, self.step + 1
        learning_rate = learning_rate_at(max(epoch, 1), self._settings)
        rates = [rates_at(t, learning_rate, self._settings) for t in range(first, first + steps)]
        betas = [self._betas_of_step(epoch, offset) for offset in self._offsets()]
        if len(betas) == 1:
            betas *= steps
        totals = self.device_epoch.run(self._device_step, orders, rates, betas, first, update=epoch > 0)
        if epoch > 0:
            self.step += steps
        return totals

    def _device_step(self, size: int, update: bool) -> None:
        """Make one step without waiting for the device, on tensors that stay in place; a CUDA graph can capture it."""
        assert self.device_epoch
        tables = self.device_epoch.tables
        x = training_batch(self._data, self.seeds, tables.images(size), tables.t)
        beta = tables.betas.index_select(0, tables.offset).view(-1, 1, 1)
        with torch.set_grad_enabled(update):
            objective, bound = self._objective(x, beta, tables.t)
        if update:
            rates = tables.rates.index_select(0, tables.offset)
            self._optimizer.device_step(self._gradients(objective), rates)
        for total, values in zip(tables.totals, (objective, bound), strict=True):
            total.add_(values.detach().sum(-1, dtype=torch.float64))
        tables.offset.add_(1)
        tables.t.add_(1)

    def _pass(self, epoch: int, orders: Tensor) -> Float[Tensor, "2 replica"]:
        """Make one pass step by step; return the sums of objective and bound over the images."""
        update = epoch > 0
        by_step = self._objective_settings.warmup_by == "step"
        beta = self._beta(epoch, 0)
        learning_rate = learning_rate_at(max(epoch, 1), self._settings)
        first_step = self.step + 1
        total_objective = torch.zeros(len(self.seeds.index), dtype=torch.float64, device=self._device)
        total_bound = torch.zeros_like(total_objective)
        for offset, images in enumerate(orders.split(self._settings.batch_size, dim=1)):
            t = first_step + offset
            if by_step:
                beta = self._beta(epoch, offset)
            x = training_batch(self._data, self.seeds, images, t)
            with torch.set_grad_enabled(update):
                objective, bound = self._objective(x, beta, t)
            if update:
                self._optimizer.step(self._gradients(objective), t, learning_rate)
                self.step = t
            total_objective += objective.detach().sum(-1, dtype=torch.float64)
            total_bound += bound.sum(-1, dtype=torch.float64)
        return torch.stack([total_objective, total_bound]).cpu()

    def _gradients(self, objective: Tensor) -> list[Tensor]:
        # The losses are summed over replicas, so that every replica gets the gradient that it would get alone. The weight of
        # each image is given directly, which saves the forward and backward passes of a mean and a sum.
        share = 1 if self._objective_settings.batch_reduction == "sum" else objective.shape[-1]
        slope = torch.full_like(objective, -1 / share, requires_grad=False)
        return list(torch.autograd.grad(objective, self._leaves, slope))

    def _orders(self, epoch: int, n: int) -> Tensor:
        if self._settings.order == "fixed":
            return torch.arange(n, device=self._device).expand(len(self.seeds.unique), n)
        return self.seeds.permutations(Stream.ORDER, max(epoch, 1), n)

    def _beta(self, epoch: int, offset: int) -> Tensor:
        return torch.tensor(self._betas_of_step(epoch, offset), device=self._device).view(-1, 1, 1)

    def _normaliser(self) -> Normaliser:
        # Epoch 0 must not change the running statistics.
        if self.statistics and torch.is_grad_enabled():
            return running_statistics(self.statistics, self._momentum)
        return batch_statistics()

    def _objective(self, x: Tensor, beta: Tensor, t: int | Tensor) -> tuple[Tensor, Tensor]:
        """Return what the step maximises (see objective.objective_of), and L_K at beta 1, per example.

        At K = 1 the closed form of KL does more than reduce noise: with the paper's beta2 = 0.9 and the sampled form, a
        model of 50 units prunes all of them within ten epochs on the digits data, and they never become active again; see
        tests/workers/train/test_collapse.py.
        """
        settings = self._objective_settings
        model = Model(self.parameters, self.architecture, self._normaliser())
        noise = self.seeds.normals(Stream.NOISE, t, (self.k, x.shape[1]), self.architecture.latent)
        first = encode(model, x)
        latents = sample_latents(model, first, noise)
        if settings.gradient != "standard":
            return self._path_objective(model, x, beta, latents)
        log_px = log_likelihood(model, x, latents[0].z)
        ratio = log_ratio(model, latents, self._closed_form)
        # With the closed form of KL and K > 1, the bound needs a ratio of its samples.
        is_plain = is_importance_weighted(self.k, settings) and not (self._closed_form and self.k > 1)
        if has_kernels(log_px) and is_plain:
            return both_bounds(log_px, ratio, beta)
        if settings.free_bits > 0:
            kl = kl_per_unit(latents[0].mean, latents[0].log_variance)
            objective = free_bits_objective(log_px, kl, beta, settings.free_bits, self.architecture.units)
        else:
            objective = objective_of(log_px, ratio, beta, settings)
        with torch.no_grad():
            if self._closed_form and self.k > 1:
                # L_K needs the ratio of every sample; it has no closed form.
                ratio = log_ratio(replace(model, normalise=batch_statistics()), latents)
            bound = iwae_bound(log_px + ratio)
        return objective, bound

    def _path_objective(self, model: Model, x: Tensor, beta: Tensor, latents: list[Latent]) -> tuple[Tensor, Tensor]:
        """Return the values of _objective, with the encoder's gradient of stl or dreg and the decoder's standard gradient.

        All uses of the samples go through `crossed`, so every path from a sample to the encoder crosses it once. There dreg
        scales the derivative of sample k.
        """
        scale: list[Tensor] = []
        crossed = [replace(latent, z=latent.z.view_as(latent.z)) for latent in latents]
        if self._objective_settings.gradient == "dreg" and torch.is_grad_enabled():
            for latent in crossed:
                latent.z.register_hook(lambda gradient: gradient * scale[0].unsqueeze(-1))
        log_px = log_likelihood(model, x, crossed[0].z)
        ratio = path_log_ratio(model, crossed)
        with torch.no_grad():
            scale.append(path_weight(torch.addcmul(log_px, beta, ratio), beta))
            bound = iwae_bound(log_px + ratio)
        return objective_of(log_px, ratio, beta, self._objective_settings), bound
