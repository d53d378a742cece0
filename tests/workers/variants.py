"""Cells that try every level of every setting of training, and trials on so few digits that an epoch takes milliseconds."""

from functools import cache

from tests.workers import tiny
from workers.contract.settings_table import settings_from
from workers.contract.trial import trial_of
from workers.model.inputs import load_data
from workers.train.learner import Learner

N_VALID = 1_317  # of 1437 digits: 120 to train on, and a small last batch
BASE = {**tiny.SMALL, "data.n_valid": N_VALID, "training.learning_rate": 0.01, "measure.secondary_samples": 2}
GREY = {"data.input": "grey"}
GAUSSIAN = {"decoder": "gaussian", **GREY}
NORMED = {"batch_norm": True}
CYCLES = {"warmup": 1, "objective.warmup_cycles": 2, "objective.warmup_share": 0.8, "objective.warmup_by": "step"}
DEEP_SOFTPLUS = {"model.layers_above": "7-z2", "model.encoder_mean_head": "activation"}
TWO, THREE = {"model.layers_above": "7-z2"}, {"model.layers_above": "7-6-z4-5-z2"}


def settings_of(*parts):
    return settings_from({name: value for part in (BASE, *parts) for name, value in part.items()})


@cache
def images_of(data, measure):
    return load_data(data, measure, tiny.CPU)


def learner_of(*cells, on_device=False):
    data = images_of(cells[0].data, cells[0].measure)
    pack = tiny.pack_of(tuple(trial_of(cell, data.fingerprint) for cell in cells), (2,))
    return Learner(pack, data, tiny.CPU, on_device)


CELLS = {
    "default": {},
    "mean_sigmoid": {"model.encoder_mean_head": "sigmoid"},
    "mean_softplus": {"model.encoder_mean_head": "activation"},
    "mean_leaky": {"model.encoder_mean_head": "activation", "model.activation": "leaky_relu"},
    "logvar_tanh": {"model.encoder_logvar_head": "tanh"},
    "logvar_softplus": {"model.encoder_logvar_head": "softplus"},
    "logvar_linear_sd": {"model.encoder_logvar_head": "linear_sd"},
    "pixels_tanh": GAUSSIAN,
    "pixels_clamped": {**GAUSSIAN, "model.decoder_logvar": "linear_clamped", "model.decoder_logvar_limit": 0.2},
    "pixels_global": {**GAUSSIAN, "model.decoder_logvar": "global", "model.decoder_logvar_value": -0.7},
    "pixels_fixed": {**GAUSSIAN, "model.decoder_logvar": "fixed", "model.decoder_logvar_value": -0.7},
    "continuous_bernoulli": {"decoder": "continuous_bernoulli", **GREY},
    "static": {"data.input": "static"},
    "threshold": {"data.input": "threshold"},
    "tanh": {"model.activation": "tanh"},
    "relu": {"model.activation": "relu", "training.beta1": 0.5, "training.beta2": 0.999},
    "leaky_relu": {"model.activation": "leaky_relu"},
    "normed": {**NORMED, "model.hidden": (9, 8)},
    "normed_latent": {**NORMED, "model.bn_scope": "hidden_and_latent"},
    "normed_running": {**NORMED, "model.bn_statistics": "running", "model.bn_momentum": 0.3},
    "glorot_uniform": {"model.init": "glorot_uniform"},
    "data_mean": {"model.output_bias": "data_mean"},
    "data_mean_gaussian": {**GAUSSIAN, "model.output_bias": "data_mean"},
    "vae": {"k": 3, "objective.bound": "vae", "warmup": 2},
    "vae_analytic": {"k": 3, "objective.bound": "vae", "objective.kl": "analytic"},
    "k1_sampled": {"k": 1, "objective.kl": "sampled"},
    "k1_analytic": {"k": 1, "objective.kl": "analytic"},
    "beta": {"objective.beta": 0.5, "warmup": 2},
    "outside": {"k": 5, "objective.beta_place": "outside", "warmup": 2},
    "outside_beta": {"objective.beta_place": "outside", "objective.beta": 0.5},
    "by_step": {"objective.warmup_by": "step", "warmup": 2},
    "cyclical": {**CYCLES, "objective.warmup_by": "epoch", "objective.warmup_share": 1.0},
    "cyclical_by_step": CYCLES,
    "free_bits": {"k": 1, "objective.free_bits": 0.45},
    "free_bits_vae": {
        "k": 3,
        "objective.bound": "vae",
        "objective.kl": "analytic",
        "objective.free_bits": 0.45,
        "warmup": 2,
    },
    "sum": {"objective.batch_reduction": "sum"},
    "sum_free_bits": {"objective.batch_reduction": "sum", "k": 1, "objective.free_bits": 0.45},
    "tile_bug": {"k": 5, "objective.iwae_tile_bug": True, "warmup": 2},
    "burda_schedule": {"training.schedule": "burda", "training.schedule_over": 4},
    "fixed_order": {"training.order": "fixed"},
    "second_moment": {"training.initial_second_moment": 1.0},
    "second_moment_torch": {"training.initial_second_moment": 1.0, "training.epsilon_mode": "torch"},
    "stl": {"k": 5, "objective.gradient": "stl", "warmup": 2},
    "stl_k1": {"k": 1, "objective.gradient": "stl"},
    "stl_vae": {"k": 3, "objective.gradient": "stl", "objective.bound": "vae"},
    "stl_outside": {"k": 3, "objective.gradient": "stl", "objective.beta_place": "outside", "objective.beta": 0.5},
    "stl_running": {"objective.gradient": "stl", **NORMED, "model.bn_statistics": "running"},
    "dreg": {"k": 5, "objective.gradient": "dreg", "warmup": 2},
    "dreg_running": {"objective.gradient": "dreg", **NORMED, "model.bn_statistics": "running"},
    "two": TWO,
    "three": {**THREE, "k": 5},
    "two_k1": {**TWO, "k": 1, "warmup": 2},
    "three_normed": {**THREE, **NORMED, "warmup": 2},
    "three_gaussian": {**THREE, **GAUSSIAN, "warmup": 2},
    "two_normed_latent": {**TWO, **NORMED, "model.bn_scope": "hidden_and_latent", "model.bn_statistics": "running"},
    "two_burda": {**TWO, "model.activation": "tanh", "model.encoder_logvar_head": "linear_sd"},
    "two_heads": {**TWO, "model.encoder_mean_head": "sigmoid", "model.encoder_logvar_head": "softplus"},
    "two_outside": {**TWO, "objective.beta_place": "outside", "warmup": 2},
    "two_vae": {**TWO, "objective.bound": "vae", "warmup": 2},
    "three_stl": {**THREE, "k": 5, "objective.gradient": "stl", "warmup": 2},
    "three_dreg": {**THREE, "k": 5, "objective.gradient": "dreg", "objective.beta": 0.5},
    "two_dreg_latent": {
        **TWO,
        **NORMED,
        "objective.gradient": "dreg",
        "model.bn_scope": "hidden_and_latent",
        "model.bn_statistics": "running",
    },
}
