"""The model, its bounds, its training and Adam written a second time, in float64, for one replica, from torch's own parts.

Shares with workers the names of the parameters and the random numbers, and no arithmetic: torch.distributions, F.batch_norm
and autograd stand where workers has formulas, hooks and gradients of its own.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Bernoulli, ContinuousBernoulli, Normal, kl_divergence
from torch.nn import BatchNorm1d

from workers.contract.settings import Settings
from workers.contract.streams import Stream, generator

ACTIVATIONS = {
    "softplus": F.softplus,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": lambda a: torch.maximum(a, 0.01 * a),
}

STANDARD_DEVIATIONS = {
    "linear": lambda a: torch.exp(a / 2),
    "tanh": lambda a: torch.exp(torch.tanh(a) / 2),
    "softplus": lambda a: F.softplus(a).sqrt(),
    "linear_sd": torch.exp,
}
"""sigma of q(z|x) from the output of its layer, by `encoder_logvar_head`."""

Statistics = Mapping[str, tuple[Tensor, Tensor]]
Noise = Tensor | Sequence[Tensor]
"""[k, batch, n_z], or one such tensor for every stochastic layer."""

STANDARD = Normal(torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64))


def layers_of(settings: Settings) -> list[tuple[tuple[int, ...], int]]:
    """Hidden sizes and units of every stochastic layer, from the image upwards."""
    above = re.findall(r"((?:\d+-)+)z(\d+)", settings.model.layers_above)
    layers = [(tuple(map(int, hidden[:-1].split("-"))), int(units)) for hidden, units in above]
    return [(settings.model.hidden, settings.n_z), *layers]


class Model:
    """Encoders and decoders of one replica; layers are counted from 0 at the image."""

    def __init__(self, parameters: Mapping[str, Tensor], settings: Settings, replica: int = 0) -> None:
        self.p = {name: tensor[replica].detach().double().requires_grad_() for name, tensor in parameters.items()}
        self.settings = settings
        self.layers = layers_of(settings)
        self.norms: dict[str, BatchNorm1d] | None = None
        """Torch's layers whose running statistics move with every batch that is normalised."""

    def frozen_encoders(self) -> "Model":
        """The same model, whose encoders have no gradient."""
        other = Model({}, self.settings)
        other.p = {name: p.detach() if name.startswith("encoder") else p for name, p in self.p.items()}
        return other

    def is_normalised(self, name: str) -> bool:
        has_latent = not name.startswith("decoder.") and self.settings.model.bn_scope == "hidden_and_latent"
        return self.settings.batch_norm and (".hidden" in name or has_latent)

    def affine(self, name: str, h: Tensor, statistics: Statistics | None = None, seen: dict | None = None) -> Tensor:
        """`statistics`: of evaluation, else those of the rows; `seen` takes note of those."""
        a = h @ self.p[f"{name}.weight"]
        if not self.is_normalised(name):
            assert f"{name}.scale" not in self.p
            return a + self.p[f"{name}.bias"]
        rows = a.reshape(-1, a.shape[-1])
        if seen is not None:
            seen[name] = (rows.mean(0), rows.var(0, unbiased=False))
        if self.norms is not None and not statistics:
            self.norms[name](rows.detach())
        mean, variance = statistics[name] if statistics else (None, None)
        scale, shift = self.p[f"{name}.scale"][0], self.p[f"{name}.bias"][0]
        return F.batch_norm(rows, mean, variance, scale, shift, training=not statistics).reshape(a.shape)

    def hidden(self, side: str, h: Tensor, statistics: Statistics | None = None, seen: dict | None = None) -> Tensor:
        layer = int(side.removeprefix("encoder").removeprefix("decoder") or 1) - 1
        for i in range(len(self.layers[layer][0])):
            h = ACTIVATIONS[self.settings.model.activation](self.affine(f"{side}.hidden{i}", h, statistics, seen))
        return h

    def posterior(
        self, below: Tensor, statistics: Statistics | None = None, seen: dict | None = None, layer: int = 0
    ) -> Normal:
        """q(z_layer | the image or the samples below)."""
        side, model = f"encoder{layer + 1 if layer else ''}", self.settings.model
        h = self.hidden(side, below.double(), statistics, seen)
        mean = self.affine(f"{side}.mean", h, statistics, seen)
        if model.encoder_mean_head != "linear":
            mean = {"sigmoid": torch.sigmoid, "activation": ACTIVATIONS[model.activation]}[model.encoder_mean_head](mean)
        a = self.affine(f"{side}.log_variance", h, statistics, seen)
        return Normal(mean, STANDARD_DEVIATIONS[model.encoder_logvar_head](a))

    def prior(
        self, layer: int, z: Sequence[Tensor], statistics: Statistics | None = None, seen: dict | None = None
    ) -> Normal:
        """p(z_layer | the samples of the layer above it)."""
        if layer == len(self.layers) - 1:
            return STANDARD
        side = f"decoder{layer + 2}"
        h = self.hidden(side, z[layer + 1], statistics, seen)
        deviation = STANDARD_DEVIATIONS[self.settings.model.encoder_logvar_head]
        mean = self.affine(f"{side}.mean", h, statistics, seen)
        return Normal(mean, deviation(self.affine(f"{side}.log_variance", h, statistics, seen)))

    def log_likelihood(self, x: Tensor, z: Tensor, statistics: Statistics | None = None) -> Tensor:
        """log p(x|z), z [k, batch, n_z]."""
        model, x = self.settings.model, x.double()
        h = self.hidden("decoder", z, statistics)
        if self.settings.decoder != "gaussian":
            family = Bernoulli if self.settings.decoder == "bernoulli" else ContinuousBernoulli
            return family(logits=self.affine("decoder.logits", h), validate_args=False).log_prob(x).sum(-1)
        match model.decoder_logvar:
            case "tanh":
                log_variance = torch.tanh(self.affine("decoder.log_variance", h))
            case "linear_clamped":
                limit = model.decoder_logvar_limit
                log_variance = self.affine("decoder.log_variance", h).clip(-limit, limit)
            case "global":
                log_variance = self.p["decoder.log_variance"]
            case "fixed":
                log_variance = torch.tensor(model.decoder_logvar_value, dtype=torch.float64)
        mean = torch.sigmoid(self.affine("decoder.mean", h))
        return Normal(mean, torch.exp(log_variance / 2)).log_prob(x).sum(-1)

    def latents(
        self, x: Tensor, noise: Noise, statistics: Statistics | None = None, seen: dict | None = None
    ) -> tuple[list[Normal], list[Tensor]]:
        """q of every stochastic layer and the samples drawn from it."""
        q, z, below = [], [], x
        for layer, drawn in enumerate([noise] if isinstance(noise, Tensor) else noise):
            q.append(self.posterior(below, statistics, seen, layer))
            below = q[-1].loc + q[-1].scale * drawn.double()
            z.append(below)
        return q, z

    def log_ratio(
        self, q: Sequence[Normal], z: Sequence[Tensor], statistics: Statistics | None = None, closed_form: bool = False
    ) -> Tensor:
        """log p(z) - log q(z|x) of all layers, [k, batch]; with closed_form minus the KL of the top layer."""
        ratios = []
        for layer in range(len(z)):
            p = self.prior(layer, z, statistics)
            if closed_form and p is STANDARD:
                ratios.append(-kl_divergence(q[layer], Normal(0.0 * q[layer].loc, torch.ones_like(q[layer].loc))).sum(-1))
            else:
                ratios.append((p.log_prob(z[layer]) - q[layer].log_prob(z[layer])).sum(-1))
        return sum(ratios)

    def sampled(self, x: Tensor, noise: Noise, statistics: Statistics | None = None) -> tuple[Tensor, Tensor]:
        """log p(x|z) and log p(z) - log q(z|x), [k, batch]."""
        q, z = self.latents(x, noise, statistics)
        return self.log_likelihood(x, z[0], statistics), self.log_ratio(q, z, statistics)

    def evaluation_statistics(self, images: Tensor, noise: Noise) -> Statistics:
        seen: dict[str, tuple[Tensor, Tensor]] = {}
        _, z = self.latents(images, noise, seen=seen)
        self.hidden("decoder", z[0], seen=seen)
        for layer in range(len(z) - 1):
            self.prior(layer, z, seen=seen)
        return {name: (mean.detach(), variance.detach()) for name, (mean, variance) in seen.items()}


def log_mean_exp(log_w: Tensor) -> Tensor:
    return torch.logsumexp(log_w, 0) - math.log(len(log_w))


# ---- what is trained ----


def objective(settings: Settings, beta: float, log_px: Tensor, ratio: Tensor, kl: Tensor) -> Tensor:
    """What a step maximises, an entry an example; log_px [k, batch], ratio [k, batch] or [batch], kl [batch, unit]."""
    s, (k, batch) = settings.objective, log_px.shape
    if s.free_bits > 0:
        return log_px.mean(0) - beta * torch.maximum(kl.mean(0), torch.tensor(s.free_bits)).sum()
    log_w = log_px + beta * ratio
    if s.bound == "vae":
        return log_w.mean(0)
    if s.beta_place == "outside":
        return beta * log_mean_exp(log_px + ratio) + (1 - beta) * log_px.mean(0)
    if s.iwae_tile_bug:
        # The program's rows: all images, K times over; it reads them as [batch, K].
        rows = torch.cat(list(log_w))
        return torch.stack([log_mean_exp(rows[i * k : (i + 1) * k]) for i in range(batch)])
    return log_mean_exp(log_w)


def step(model: Model, x: Tensor, noise: Noise, beta: float) -> tuple[Tensor, Tensor]:
    """Objective and bound [batch] of a step; leaves the gradient of the loss in the parameters."""
    settings = model.settings
    s = settings.objective
    closed_form = s.kl == "analytic" or (s.kl == "auto" and settings.k == 1 and s.gradient == "standard")
    reduce = Tensor.sum if s.batch_reduction == "sum" else Tensor.mean
    q, z = model.latents(x, noise)
    kl = kl_divergence(q[0], Normal(torch.zeros_like(q[0].loc), torch.ones_like(q[0].loc)))
    if s.gradient == "standard":
        log_px, ratio = model.log_likelihood(x, z[0]), model.log_ratio(q, z, closed_form=closed_form)
        found = objective(settings, beta, log_px, ratio, kl)
        (-reduce(found)).backward()
    else:
        # Two stages: first the derivative by the samples themselves, then that of the samples by the parameters.
        other, leaves = model.frozen_encoders(), [sample.detach().requires_grad_() for sample in z]
        densities = [Normal(q[0].loc.detach(), q[0].scale.detach())]
        densities += [other.posterior(below, layer=layer) for layer, below in enumerate(leaves[:-1], start=1)]
        other.norms, model.norms = model.norms, None
        log_px, ratio = other.log_likelihood(x, leaves[0]), other.log_ratio(densities, leaves)
        found = objective(settings, beta, log_px, ratio, kl)
        (-reduce(found)).backward()
        w = torch.softmax(log_px + beta * ratio, 0).detach().unsqueeze(-1)
        # leaf.grad has the factor w already: dreg wants (1 - beta) w + beta w^2 in its place.
        scale = 1.0 if s.gradient == "stl" else (1 - beta) + beta * w
        torch.autograd.backward(z, [scale * leaf.grad for leaf in leaves])
    with torch.no_grad():
        if closed_form and settings.k > 1:
            densities = [Normal(d.loc.detach(), d.scale.detach()) for d in q]
            model.norms = None
            ratio = model.log_ratio(densities, z)
        bound = log_mean_exp(log_px + ratio)
    return found.detach(), bound


def beta_of(settings: Settings, epoch: int, offset: int, steps: int) -> float:
    """Weight of the variational term in the step `offset` (from 0) of an epoch (from 1) of so many steps."""
    s, warmup = settings.objective, settings.warmup
    if warmup == 0:
        return s.beta
    done = (epoch - 1) * steps + (offset if s.warmup_by == "step" else 0)
    cycle = warmup * steps / s.warmup_share
    if s.warmup_cycles > 1 and done < s.warmup_cycles * cycle:
        done -= math.floor(done / cycle) * cycle
    return s.beta * min(1.0, done / (warmup * steps))


BURDA_RATES = [1e-4 * round(10.0 ** (1 - i / 7.0), 1) for i in range(8) for _ in range(3**i)]
"""The rate of every one of 3280 passes, as their program has it, `experiments.py`."""


def rate_of(settings: Settings, epoch: int) -> float:
    """Adam's step size in an epoch; that of the pass in which the middle of the epoch lies."""
    s = settings.training
    if s.schedule == "constant":
        return s.learning_rate
    passed = math.ceil((epoch - 0.5) * len(BURDA_RATES) / s.schedule_over)
    return s.learning_rate / 1e-3 * BURDA_RATES[min(passed, len(BURDA_RATES)) - 1]


def noise_of(settings: Settings, t: int, batch: int) -> list[Tensor]:
    """Of every stochastic layer in step t."""
    return [
        torch.from_numpy(
            generator(settings.seed, Stream.NOISE, t, part=layer << 56).standard_normal(
                (settings.k, batch, n_z), dtype=np.float32
            )
        )
        for layer, (_, n_z) in enumerate(layers_of(settings))
    ]


def train(parameters: Mapping[str, Tensor], settings: Settings, images: Tensor, epochs: Iterable[int]) -> SimpleNamespace:
    """One trial trained alone: objective and bound of every epoch, then parameters and running statistics."""
    values = {name: tensor[0].detach().double().numpy() for name, tensor in parameters.items()}
    norms = {
        name.removesuffix(".scale"): BatchNorm1d(values[name].size, momentum=settings.model.bn_momentum, dtype=torch.float64)
        for name in values
        if name.endswith(".scale")
    }
    adam, t, n, results = Adam(settings), 0, len(images), []
    size = settings.training.batch_size
    for epoch in epochs:
        order = np.arange(n)
        if settings.training.order == "shuffled":
            order = generator(settings.seed, Stream.ORDER, epoch).permutation(n)
        totals, batches = np.zeros(2), np.split(order, range(size, n, size))
        for offset, chosen in enumerate(batches):
            t += 1
            x = images[torch.from_numpy(chosen)]
            if settings.data.input == "dynamic":
                drawn = generator(settings.seed, Stream.BINARISATION, t).random(x.shape, dtype=np.float32)
                x = (torch.from_numpy(drawn) < x).double()
            model = Model({name: torch.from_numpy(v)[None] for name, v in values.items()}, settings)
            model.norms = norms or None
            beta = beta_of(settings, epoch, offset, len(batches))
            found = step(model, x, noise_of(settings, t, len(chosen)), beta)
            totals += [column.sum().item() for column in found]
            gradients = {name: p.grad.numpy() for name, p in model.p.items()}
            values = adam.step(values, gradients, rate_of(settings, epoch))
        results.append(totals / n)
    statistics = {name: (norm.running_mean, norm.running_var) for name, norm in norms.items()}
    return SimpleNamespace(results=np.array(results), parameters=values, statistics=statistics)


def initial_values(settings: Settings, n_x: int, pixel_mean: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Parameters before training, from the seed's stream."""
    sizes, below = [], n_x
    for layer, (hidden, n_z) in enumerate(layers_of(settings)):
        number = layer + 1 if layer else ""
        for side, widths in (("encoder", (below, *hidden)), ("decoder", (n_z, *hidden[::-1]))):
            sizes += [(f"{side}{number}.hidden{i}", widths[i], widths[i + 1]) for i in range(len(hidden))]
            end, heads = n_z if side == "encoder" else below, ["mean", "log_variance"]
            if side == "decoder" and layer == 0:
                heads = ["logits"] if settings.decoder != "gaussian" else heads
                heads = heads[:1] if settings.model.decoder_logvar in ("global", "fixed") else heads
            sizes += [(f"{side}{number}.{head}", widths[-1], end) for head in heads]
        below = n_z
    values = {}
    for position, (name, n_in, n_out) in enumerate(sizes):
        source = generator(settings.seed, Stream.WEIGHTS, position)
        if settings.model.init == "glorot_normal":
            weight = source.standard_normal((n_in, n_out), dtype=np.float32) * math.sqrt(2 / (n_in + n_out))
        else:
            weight = (source.random((n_in, n_out), dtype=np.float32) - 0.5) * math.sqrt(24 / (n_in + n_out))
        values[f"{name}.weight"], values[f"{name}.bias"] = weight, np.zeros((1, n_out))
        if name in ("decoder.logits", "decoder.mean") and settings.model.output_bias == "data_mean":
            p = np.minimum(np.maximum(pixel_mean, 0.001), 0.999)
            values[f"{name}.bias"] = np.log(p / (1 - p))[None]
        if Model({}, settings).is_normalised(name):
            values[f"{name}.scale"] = np.ones((1, n_out))
    if settings.decoder == "gaussian" and settings.model.decoder_logvar == "global":
        values["decoder.log_variance"] = np.array([[settings.model.decoder_logvar_value]])
    return values


class Adam:
    """Kingma and Ba 2015, alg. 1 (torch), or the form at the end of their sec. 2 with epsilon hat (tf1)."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings.training
        self.t = 0
        self.m: dict[str, NDArray[np.float64]] = {}
        self.v: dict[str, NDArray[np.float64]] = {}

    def step(
        self, parameters: Mapping[str, NDArray], gradients: Mapping[str, NDArray], learning_rate: float | None = None
    ) -> dict[str, NDArray]:
        s = self.settings
        rate = s.learning_rate if learning_rate is None else learning_rate
        self.t += 1
        updated = {}
        for name, g in gradients.items():
            m = self.m[name] = s.beta1 * self.m.get(name, 0.0) + (1 - s.beta1) * g
            v = self.v[name] = s.beta2 * self.v.get(name, s.initial_second_moment) + (1 - s.beta2) * g**2
            first, second = 1 - s.beta1**self.t, 1 - s.beta2**self.t
            if s.epsilon_mode == "torch":
                change = rate * (m / first) / (np.sqrt(v / second) + s.epsilon)
            else:
                change = rate * math.sqrt(second) / first * m / (np.sqrt(v) + s.epsilon)
            updated[name] = parameters[name] - change
        return updated
