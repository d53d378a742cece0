"""Each setting of training changes what it should and nothing else; a new setting fails here until the table has it."""

from functools import cache
from typing import Literal, get_args, get_origin

import numpy as np
import pytest

from tests.workers.variants import CELLS, CYCLES, GAUSSIAN, GREY, NORMED, images_of, learner_of, settings_of
from workers.contract.settings import NOT_IDENTITY
from workers.contract.settings_table import default_of, leaves, settings_from
from workers.contract.trial import trial_of
from workers.measure.every_epoch import measure
from workers.model.inputs import training_batch

BEFORE = {"objective0", "bound0", "measured0"}
"""Numbers before training: objective and bound of epoch 0, and what is measured then."""

AFTER = {"trained", "measured"}
"""After two epochs: parameters and results of the epochs; what is measured."""

ALL = BEFORE | AFTER
TRAINING = {"objective0"} | AFTER
"""What only weighs the objective leaves the bounds before training alone."""

WARM, RUNNING = {"warmup": 2}, {**NORMED, "model.bn_statistics": "running"}
CLASSES = {"data.n_valid": 0, "data.classes": "1,2", "training.batch_size": 100}
FIXED = {**GAUSSIAN, "model.decoder_logvar": "fixed"}
VAE = {"objective.bound": "vae"}

# Setting, where it is tried, level, what changes. "shapes": names and shapes of parameters, "start": the first values of those
# that both have, "batch": the images and inputs of the first step.
TABLE = [
    ("decoder", {}, "gaussian", ALL | {"shapes"}),
    ("decoder", GREY, "continuous_bernoulli", ALL),
    ("k", {}, 5, ALL),
    ("batch_norm", {}, True, ALL | {"shapes"}),
    ("warmup", {}, 2, TRAINING),
    ("n_z", {}, 5, ALL | {"shapes"}),
    ("seed", {}, 3, ALL | {"start", "batch"}),
    # The digits are no file of one's own, so that a scale is another trial with the same numbers.
    ("data.scale", {}, "16", set()),
    ("data.input", {}, "static", ALL | {"batch"}),
    ("data.input", {}, "threshold", ALL | {"batch"}),
    ("data.input", {}, "grey", ALL | {"batch"}),
    ("data.n_valid", {}, 1_300, ALL | {"batch"}),
    ("data.classes", {**CLASSES, "data.classes": "1,2"}, "1,3", ALL | {"batch"}),
    ("data.subset", CLASSES, "random", ALL | {"batch"}),
    ("model.hidden", {}, (12,), ALL | {"shapes"}),
    ("model.layers_above", {}, "7-z2", ALL | {"shapes"}),
    ("model.activation", {}, "tanh", ALL),
    ("model.activation", {}, "relu", ALL),
    ("model.activation", {"model.activation": "relu"}, "leaky_relu", ALL),
    ("model.encoder_mean_head", {}, "sigmoid", ALL),
    ("model.encoder_mean_head", {}, "activation", ALL),
    ("model.encoder_logvar_head", {}, "tanh", ALL),
    ("model.encoder_logvar_head", {}, "softplus", ALL),
    ("model.encoder_logvar_head", {}, "linear_sd", ALL),
    ("model.decoder_logvar", GAUSSIAN, "linear_clamped", ALL),
    ("model.decoder_logvar", GAUSSIAN, "global", ALL | {"shapes"}),
    ("model.decoder_logvar", GAUSSIAN, "fixed", ALL | {"shapes"}),
    ("model.decoder_logvar_value", FIXED, -0.7, ALL),
    ("model.decoder_logvar_value", {**GAUSSIAN, "model.decoder_logvar": "global"}, -0.7, ALL | {"start"}),
    ("model.decoder_logvar_limit", {**GAUSSIAN, "model.decoder_logvar": "linear_clamped"}, 0.2, ALL),
    ("model.bn_scope", NORMED, "hidden_and_latent", ALL | {"shapes"}),
    ("model.bn_statistics", NORMED, "running", {"measured0", "measured"}),
    ("model.bn_momentum", RUNNING, 0.3, {"measured"}),
    ("model.init", {}, "glorot_uniform", ALL | {"start"}),
    ("model.output_bias", {}, "data_mean", ALL | {"start"}),
    ("objective.bound", {}, "vae", TRAINING),
    ("objective.kl", {"k": 1}, "sampled", {"objective0", "bound0"} | AFTER),
    ("objective.kl", {"k": 3, **VAE}, "analytic", TRAINING),
    ("objective.gradient", {}, "stl", AFTER),
    ("objective.gradient", {}, "dreg", AFTER),
    ("objective.beta", {}, 0.5, TRAINING),
    ("objective.beta_place", {"objective.beta": 0.5}, "outside", TRAINING),
    ("objective.warmup_by", WARM, "step", TRAINING),
    ("objective.warmup_cycles", {"warmup": 1, "objective.warmup_share": 1.0}, 2, AFTER),
    ("objective.warmup_share", {**CYCLES, "warmup": 1}, 1.0, AFTER),
    ("objective.free_bits", {"k": 1}, 0.45, TRAINING),
    ("objective.batch_reduction", {}, "sum", AFTER),
    ("objective.iwae_tile_bug", {}, True, TRAINING),
    ("training.batch_size", {}, 40, ALL - {"measured0"} | {"batch"}),
    ("training.learning_rate", {}, 0.02, AFTER),
    ("training.schedule", {"training.schedule_over": 4}, "burda", AFTER),
    ("training.schedule_over", {"training.schedule": "burda"}, 4, AFTER),
    ("training.order", {}, "fixed", {"objective0", "bound0", "batch"} | AFTER),
    ("training.beta1", {}, 0.5, AFTER),
    ("training.beta2", {}, 0.999, AFTER),
    ("training.epsilon", {}, 1e-2, AFTER),
    ("training.epsilon_mode", {"training.epsilon": 1e-2}, "torch", AFTER),
    ("training.initial_second_moment", {}, 1.0, AFTER),
]


@cache
def seen(settings):
    """What a trial shows of itself: numbers by aspect."""
    data, learner = images_of(settings.data, settings.measure), learner_of(settings)

    def look():
        return measure(learner.parameters, learner.architecture, data, learner.seeds, learner.k, 0, learner.statistics)

    def parameters():
        return {name: tensor.detach().numpy().copy() for name, tensor in learner.parameters.items()}

    start, found = parameters(), {}
    images = learner._orders(1, len(data.train))[:, : settings.training.batch_size]
    found["batch"] = images.numpy(), training_batch(data, learner.seeds, images, 1).numpy()
    objective, bound = learner.train_epoch(0)
    found["start"] = {(name, values.shape): values for name, values in start.items()}
    found["shapes"] = frozenset(found["start"])
    found |= {"objective0": objective.numpy(), "bound0": bound.numpy(), "measured0": vars(look())}
    results = [column.numpy() for epoch in (1, 2) for column in learner.train_epoch(epoch)]
    return found | {"trained": parameters() | {"results": results}, "measured": vars(look())}


def differ(one, other):
    if isinstance(one, frozenset):
        return one != other
    if isinstance(one, dict):
        return any(differ(one[name], other[name]) for name in one.keys() & other.keys())
    if isinstance(one, list | tuple):
        return len(one) != len(other) or any(differ(a, b) for a, b in zip(one, other, strict=True))
    one, other = np.asarray(one), np.asarray(other)
    # Rounding apart: a second way to the same objective.
    return one.shape != other.shape or not np.allclose(one, other, rtol=2e-5, atol=2e-5, equal_nan=True)


def changed(base, settings):
    one, other = seen(base), seen(settings)
    return {aspect for aspect in one if differ(one[aspect], other[aspect])}


@pytest.mark.parametrize(("name", "where", "level", "expected"), TABLE, ids=[f"{row[0]}-{row[2]}" for row in TABLE])
def test_a_setting_changes_what_it_should_and_nothing_else(name, where, level, expected):
    base, settings = settings_of(where), settings_of(where, {name: level})
    assert changed(base, settings) == expected
    fingerprint = images_of(base.data, base.measure).fingerprint
    assert trial_of(base, fingerprint).trial_id != trial_of(settings, fingerprint).trial_id


def training_settings():
    return {name for name in leaves() if name not in NOT_IDENTITY and not name.startswith("measure.")}


def levels_of(name):
    """All of a setting that is one of a list; none of a number."""
    annotation = leaves()[name].annotation
    return {True, False} if annotation is bool else set(get_args(annotation) if get_origin(annotation) is Literal else ())


def test_the_table_has_every_setting_of_training_with_every_level_of_a_list():
    tried = {}
    for name, where, level, _ in TABLE:
        tried.setdefault(name, set()).update([level, where.get(name, default_of(name))])
    assert tried.keys() == training_settings()
    assert all(levels_of(name) <= tried[name] for name in tried)


@pytest.mark.parametrize("name", sorted(name for name in training_settings() if not name.startswith("data.s")))
def test_every_level_of_a_list_is_held_against_the_plain_network(name):
    assert levels_of(name) <= {default_of(name), *(cell[name] for cell in CELLS.values() if name in cell)}


@pytest.mark.parametrize("name", sorted(training_settings()))
def test_a_default_that_is_written_out_changes_no_trial_id(name):
    assert trial_of(settings_from({name: default_of(name)}), "0" * 64) == trial_of(settings_from({}), "0" * 64)


@pytest.mark.parametrize("name", sorted(name for name in leaves() if name.startswith("measure.")))
def test_what_is_measured_is_no_matter_of_the_trial(name):
    level = not default_of(name) if isinstance(default_of(name), bool) else type(default_of(name))(2)
    one, other = (trial_of(settings_of(part), "0" * 64) for part in ({}, {name: level}))
    assert one.trial_id == other.trial_id
