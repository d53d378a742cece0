"""Log weights and bounds over the same draws, computed a second time from torch.distributions in float64."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torch.distributions import Bernoulli, ContinuousBernoulli, Normal

from tests.workers import reference, tiny
from workers.contract.settings import DataSettings, MeasureSettings
from workers.contract.streams import Stream, generator
from workers.data.arrays import Images
from workers.data.images import load_images
from workers.model.inputs import Data, data_from

GREY = {"decoder": "gaussian", "data__input": "grey"}

CELLS = {
    "bernoulli_binary": {},
    "bernoulli_grey": {"data__input": "grey"},
    "gaussian_binary": {"decoder": "gaussian"},
    "gaussian_grey": GREY,
    "gaussian_fixed_binary": {"decoder": "gaussian", "model__decoder_logvar": "fixed", "model__decoder_logvar_value": -2.0},
    "gaussian_global_grey": {**GREY, "model__decoder_logvar": "global", "model__decoder_logvar_value": -3.0},
    "gaussian_clamped_grey": {**GREY, "model__decoder_logvar": "linear_clamped", "model__decoder_logvar_limit": 4.0},
    "continuous_bernoulli_grey": {"decoder": "continuous_bernoulli", "data__input": "grey"},
    "two_layers": {"model__layers_above": "8-z2"},
    "batch_norm": {"batch_norm": True},
}

cells = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)


def data_of(cell, n_test=9) -> Data:
    """The first digits as a cell reads them."""
    whole = load_images(DataSettings())
    images = Images(whole.train[:120], whole.test[:n_test], whole.train_labels[:120], whole.test_labels[:n_test])
    return data_from(images, "0" * 64, MeasureSettings(images=80), tiny.CPU, cell.get("data__input", "dynamic"))


def trained(cell, data, seeds=(0, 3), epochs=1):
    learner = tiny.learner(*({**cell, "seed": seed, "training__learning_rate": 0.01} for seed in seeds), data=data)
    for epoch in range(1, epochs + 1):
        learner.train_epoch(epoch)
    return learner


def drawn(seed, stream, samples, shape, part, layer=0, first=0, epoch=1):
    """The noise of so many samples, ten at a time, [sample, *shape]."""
    groups = [
        generator(seed, stream, epoch, (layer << 56) + (part << 32) + first + group).standard_normal(
            (min(10, samples - start), *shape), dtype=np.float32
        )
        for group, start in enumerate(range(0, samples, 10))
    ]
    return torch.from_numpy(np.concatenate(groups)).double()


class Second:
    """A replica's log weights, from torch.distributions."""

    def __init__(self, learner, data, cell, replica=0):
        self.settings, self.data = tiny.settings(**cell), data
        self.seed = learner.seeds.unique[int(learner.seeds.index[replica])]
        self.model = reference.Model(learner.parameters, self.settings, replica)
        self.statistics = None
        if self.settings.batch_norm:
            noise = generator(self.seed, Stream.STATISTICS_NOISE, 1).standard_normal(
                (len(data.measured), 3), dtype=np.float32
            )
            self.statistics = self.model.evaluation_statistics(data.measured, torch.from_numpy(noise))

    @torch.no_grad()
    def codes(self, images):
        """q of every layer, each for the first sample of what is below it; at most 100 images."""
        assert len(images) <= 100
        noise = [
            drawn(self.seed, Stream.MEASURED_NOISE, 1, (len(images), n), 0, layer)[0]
            for layer, (_, n) in enumerate(self.model.layers)
        ]
        return self.model.latents(images, noise, self.statistics)[0]

    def pixels(self, z):
        h, settings = self.model.hidden("decoder", z, self.statistics), self.settings.model
        if self.settings.decoder == "bernoulli":
            return Bernoulli(logits=self.model.affine("decoder.logits", h), validate_args=False)
        if self.settings.decoder == "continuous_bernoulli":
            return ContinuousBernoulli(logits=self.model.affine("decoder.logits", h))
        mean = torch.sigmoid(self.model.affine("decoder.mean", h))
        match settings.decoder_logvar:
            case "tanh":
                log_variance = torch.tanh(self.model.affine("decoder.log_variance", h))
            case "linear_clamped":
                limit = settings.decoder_logvar_limit
                log_variance = self.model.affine("decoder.log_variance", h).clamp(-limit, limit)
            case "global":
                log_variance = self.model.p["decoder.log_variance"]
            case _:
                log_variance = torch.tensor(settings.decoder_logvar_value).double()
        return Normal(mean, torch.exp(log_variance / 2).expand_as(mean))

    def log_mass(self, pixels, x):
        """log P of pixels of 0 and 1, or of their 256 levels."""
        if self.settings.decoder == "bernoulli":
            return pixels.log_prob(x).sum(-1)
        if self.settings.data.input != "grey":
            zero, one = (pixels.log_prob(torch.full_like(pixels.mean, value)) for value in (0.0, 1.0))
            return (torch.where(x == 1, one, zero) - torch.logaddexp(zero, one)).sum(-1)
        level = torch.round(x * 255)
        if self.settings.decoder == "gaussian":
            low = torch.where(level == 0, -np.inf, (level - 0.5) / 255)
            high = torch.where(level == 255, np.inf, (level + 0.5) / 255)
            low, high, mean, deviation = (np.asarray(part.detach()) for part in (low, high, pixels.mean, pixels.stddev))
            below = np.diff(scipy.stats.norm.cdf([low + 0 * mean, high + 0 * mean], mean, deviation), axis=0)[0]
            above = -np.diff(scipy.stats.norm.sf([low + 0 * mean, high + 0 * mean], mean, deviation), axis=0)[0]
            return torch.from_numpy(np.log(np.where(low > mean, above, below))).sum(-1)
        low, high = ((level - 0.5) / 255).clamp(min=0), ((level + 0.5) / 255).clamp(max=1)
        nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(6))
        at = [
            pixels.log_prob(low + (high - low) * (1 + node) / 2) + torch.log((high - low) * w / 2)
            for node, w in zip(nodes, weights, strict=True)
        ]
        return torch.logsumexp(torch.stack(at), 0).sum(-1)

    @torch.no_grad()
    def log_weights(self, samples, stream=Stream.NLL_NOISE, first=0):
        """log w and log w with masses of every sample and image, [sample, image]."""
        found = []
        for part, x in enumerate(self.data.test.double().split(100)):
            noise = [
                drawn(self.seed, stream, samples, (len(x), n), part, layer, first)
                for layer, (_, n) in enumerate(self.model.layers)
            ]
            q, z = self.model.latents(x, noise, self.statistics)
            ratio, pixels = self.model.log_ratio(q, z, self.statistics), self.pixels(z[0])
            found.append((pixels.log_prob(x).sum(-1) + ratio, self.log_mass(pixels, x) + ratio))
        return [torch.cat(column, -1).numpy() for column in zip(*found, strict=True)]


def log_mean_exp(log_w, axis=0):
    return scipy.special.logsumexp(log_w, axis=axis) - math.log(log_w.shape[axis])
