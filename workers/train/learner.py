"""A pack while it learns: parameters, optimizer and one epoch of training; stores nothing, measures nothing."""

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
    """The replicas of a pack, trained side by side in one optimizer.

    No operation mixes replicas, so one whose numbers are no longer finite leaves its neighbours unchanged, bit for bit;
    it stays in the tensors as it is, and whoever records leaves it out.
    """

    def __init__(self, pack: Pack, data: Data, device: torch.device, on_device: bool | None = None) -> None:
        """A pack before training; `on_device`: the host only starts an epoch, as on a GPU (None: if the device is one)."""
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
        """A copy of everything that training needs to go on."""
        moments = {name: {kind: m.clone() for kind, m in kinds.items()} for name, kinds in self._optimizer.moments.items()}
        parameters = {name: tensor.detach().clone() for name, tensor in self.parameters.items()}
        statistics = {name: (mean.clone(), variance.clone()) for name, (mean, variance) in self.statistics.items()}
        return State(epoch, self.step, parameters, moments, diverged_at, self.seconds, statistics)

    @torch.no_grad()
    def restore(self, state: State) -> None:
        """Go back to a state, bit for bit; into the same tensors, as a graph of the step holds these.

        The state of a wider pack, from which this one was split off, is cut to this one's latent units.
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
        """Updates in one pass over the training images."""
        return -(-len(self._data.train) // self._settings.batch_size)

    def betas(self, epoch: int) -> list[float]:
        """The weight of the variational term of every replica in an epoch; its mean over the steps if it rises by step."""
        steps = [self._betas_of_step(epoch, offset) for offset in self._offsets()]
        return [sum(column) / len(steps) for column in zip(*steps, strict=True)]

    def _offsets(self) -> range:
        return range(self.steps_an_epoch if self._objective_settings.warmup_by == "step" else 1)

    def _betas_of_step(self, epoch: int, offset: int) -> list[float]:
        # Epoch 0, before training, has the beta of epoch 1.
        progress = max(0, epoch - 1) + offset / self.steps_an_epoch
        return [beta_at(progress, warmup, self._objective_settings) for warmup in self._warmups]

    def train_epoch(self, epoch: int) -> tuple[Float[Tensor, "replica"], Float[Tensor, "replica"]]:
        """One pass over the training images; epoch 0 makes the first epoch's pass without a step.

        Returns:
            Mean objective (with beta) and mean bound L_K (beta 1) over the images, each with the parameters before its
            step and batch statistics; nats per example, on the CPU.
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
        """One step on tensors that stay where they are; waits for nothing, so that it can be captured."""
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
        """Sums of objective and bound over the images, step by step."""
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
        # The sum over replicas of their losses: every replica gets the gradient it would get alone.
        # What each image weighs, without the passes that a mean and a sum take there and back.
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
        # Epoch 0 measures and moves nothing.
        if self.statistics and torch.is_grad_enabled():
            return running_statistics(self.statistics, self._momentum)
        return batch_statistics()

    def _objective(self, x: Tensor, beta: Tensor, t: int | Tensor) -> tuple[Tensor, Tensor]:
        """What the step maximises (see objective.objective_of), and L_K at beta 1, per example.

        At K = 1 the closed form of KL makes a difference beyond the noise of the numbers: with the paper's beta2 = 0.9 and
        the sampled form, a model of 50 units prunes all of them within ten epochs of the digits data and never comes back;
        tests/workers/test_collapse.py.
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
        # With a closed form of KL and K > 1 the bound needs another ratio.
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
                # L_K has no closed form of its KL.
                ratio = log_ratio(replace(model, normalise=batch_statistics()), latents)
            bound = iwae_bound(log_px + ratio)
        return objective, bound

    def _path_objective(self, model: Model, x: Tensor, beta: Tensor, latents: list[Latent]) -> tuple[Tensor, Tensor]:
        """The same values, with the gradient of the encoder that stl and dreg define; the decoder's is the standard one.

        Everything reads the samples through `crossed`, so each path from a sample to the encoder crosses it once, and there
        dreg scales the derivative of sample k.
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
