"""A tiny model in float64, once for every draw of its noise."""

from types import SimpleNamespace

import numpy as np
import torch

from tests.workers import tiny
from workers.contract.settings import MeasureSettings
from workers.contract.trial import trial_of
from workers.data.arrays import Images
from workers.model.inputs import data_from
from workers.train.learner import Learner

TINY = {"model__hidden": (3,), "n_z": 2, "model__activation": "tanh"}


def learner_of(draws, n_x=4, spread=0.25, **values):
    """A model away from its start, in float64, once for every draw."""
    pixels = np.random.default_rng(0).random((10, n_x), dtype=np.float32)
    data = data_from(Images(pixels, pixels, None, None), "0" * 64, MeasureSettings(), tiny.CPU)
    pack = tiny.pack_of((trial_of(tiny.settings(**{**TINY, **values}), data.fingerprint),), (1,))
    learner, rng = Learner(pack, data, tiny.CPU), np.random.default_rng(1)
    moved = {
        name: p.detach().double() + spread * torch.from_numpy(rng.standard_normal(p.shape))
        for name, p in learner.parameters.items()
    }
    learner._start({name: p.repeat(draws, 1, 1) for name, p in moved.items()})
    return learner


def set_noise(learner, noise):
    learner.seeds = SimpleNamespace(normals=lambda *args: noise)
