"""Identities of trials and packs, and laws of borders."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.workers import tiny
from workers.contract.settings import Settings
from workers.contract.settings_table import default_of, leaves, settings_from
from workers.contract.trial import Pack, extend_borders, identity, ids_by_seed, next_border, pack_id_of, trial_of

FINGERPRINT = "beb221bc1ffc93be026c16fa78be0a5834070253790d4a44bb65f629be2af323"

OTHER = {
    "decoder": "gaussian",
    "k": 5,
    "batch_norm": True,
    "warmup": 20,
    "n_z": 10,
    "seed": 1,
    "data.name": "mnist",
    "data.root": "/data",
    "data.path": "mine.npz",
    "data.scale": "255",
    "data.image_size": (28, 20),
    "data.input": "static",
    "data.n_valid": 5000,
    "data.classes": "1,2,3",
    "data.subset": "random",
    "model.hidden": (200, 100),
    "model.layers_above": "100-100-z50",
    "model.activation": "tanh",
    "model.encoder_mean_head": "sigmoid",
    "model.encoder_logvar_head": "tanh",
    "model.decoder_logvar": "global",
    "model.decoder_logvar_value": -1.0,
    "model.decoder_logvar_limit": 4.0,
    "model.bn_scope": "hidden_and_latent",
    "model.bn_statistics": "running",
    "model.bn_momentum": 0.01,
    "model.init": "glorot_uniform",
    "model.output_bias": "data_mean",
    "objective.bound": "vae",
    "objective.kl": "sampled",
    "objective.gradient": "dreg",
    "objective.beta": 4.0,
    "objective.beta_place": "outside",
    "objective.warmup_by": "step",
    "objective.warmup_cycles": 4,
    "objective.warmup_share": 0.25,
    "objective.free_bits": 0.1,
    "objective.batch_reduction": "sum",
    "objective.iwae_tile_bug": True,
    "training.epochs": 60,
    "training.batch_size": 20,
    "training.learning_rate": 1e-4,
    "training.beta1": 0.99,
    "training.beta2": 0.999,
    "training.epsilon": 1e-8,
    "training.epsilon_mode": "torch",
    "training.schedule": "burda",
    "training.schedule_over": 300,
    "training.order": "fixed",
    "training.initial_second_moment": 1.0,
    "measure.threshold": 0.01,
    "measure.images": 500,
    "measure.images_redrawn": True,
    "measure.nll_samples": 100,
    "measure.secondary_samples": 10,
}
"""For every setting a value that is not its default. A new setting needs a line here, and a decision below."""

NO_IDENTITY = {"data.name", "data.root", "data.path", "data.image_size", "training.epochs"} | {
    name for name in OTHER if name.startswith("measure.")
}


def with_other(*names):
    """Default settings but for some."""
    return settings_from({name: OTHER[name] for name in names})


def id_of(*names):
    return trial_of(with_other(*names), FINGERPRINT).trial_id


def test_every_setting_is_decided_on():
    assert OTHER.keys() == leaves(Settings).keys()
    assert all(value != default_of(name) for name, value in OTHER.items())


@pytest.mark.parametrize("name", sorted(NO_IDENTITY))
def test_measuring_place_and_length_are_no_identity(name):
    assert id_of(name) == id_of()


def test_every_training_setting_makes_another_trial():
    ids = {name: id_of(name) for name in OTHER if name not in NO_IDENTITY}
    assert id_of() not in ids.values()
    assert len(set(ids.values())) == len(ids)


def test_other_data_make_another_trial():
    assert trial_of(settings_from({}), "0" * 64).trial_id != id_of()


def test_the_type_is_that_of_the_setting():
    one, other = (trial_of(settings_from({"training.learning_rate": value}), FINGERPRINT).trial_id for value in (1, 1.0))
    assert one == other


def test_a_default_that_is_named_is_no_other_trial():
    named = settings_from({name: default_of(name) for name in leaves(Settings)})
    assert trial_of(named, FINGERPRINT).trial_id == id_of()
    assert identity(named, FINGERPRINT) == {"data": FINGERPRINT, "settings": {}}


@pytest.mark.parametrize(
    ("names", "trial_id"),
    [
        ((), "0b65d5b546b863af"),
        (("seed",), "4c385a37be4bd03e"),
        (("decoder", "k", "batch_norm", "warmup", "n_z", "seed"), "5efb84e6eae7bb0c"),
        (("model.hidden", "training.learning_rate", "training.epochs"), "2ce1bd9e9907a1d5"),
    ],
    ids=["defaults", "seed", "six factors", "others"],
)
def test_ids_are_those_of_version_1(names, trial_id):
    """Pinned from this code at version 0.1.0. Stored results carry these: an id that changes orphans every study."""
    assert id_of(*names) == trial_id


def test_an_id_is_a_hash_that_anyone_can_compute():
    text = f'{{"data":"{FINGERPRINT}","settings":{{"model.hidden":[200,100],"training.learning_rate":0.0001}}}}'
    expected = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert id_of("model.hidden", "training.learning_rate") == expected


def test_the_id_of_a_pack_is_that_of_its_members_and_start():
    a, b = "a" * 16, "b" * 16
    assert pack_id_of([a, b], None, 0) == pack_id_of([b, a], None, 0)
    assert len({pack_id_of([a], None, 0), pack_id_of([a, b], None, 0), pack_id_of([a], b, 0), pack_id_of([a], b, 3)}) == 4
    assert pack_id_of([a, b], None, 0) == "e8d78d5c72274b51"


@pytest.mark.parametrize(
    "wrong",
    [{"pack_id": "xyz"}, {"pack_id": "../../../etc/pas"}, {"trials": ()}, {"borders": ()}, {"from_epoch": -1}, {"more": 1}],
    ids=str,
)
def test_a_pack_that_cannot_be_is_refused(wrong):
    right = {"pack_id": "0" * 16, "trials": (tiny.trial(),), "borders": (1,)}
    Pack(**right)
    with pytest.raises(ValidationError):
        Pack(**right | wrong)


# ---- Borders ----

lengths = st.integers(1, 300)


@st.composite
def fixed_borders(draw):
    """Borders as they come about: made longer any number of times, with any rate."""
    borders = ()
    for every, epochs in draw(st.lists(st.tuples(lengths, lengths), max_size=4)):
        borders = extend_borders(borders, every, epochs)
    return borders


@tiny.LAWS
@given(fixed_borders(), lengths, lengths)
def test_borders_rise_to_the_end_and_never_move(old, every, epochs):
    new = extend_borders(old, every, epochs)
    assert new[: len(old)] == old
    assert new[-1] == max(epochs, *old, 0) if old else new[-1] == epochs
    gaps = [b - a for a, b in zip((0, *new), new, strict=False)]
    assert all(gap > 0 for gap in gaps)
    assert all(gap <= every for gap in gaps[len(old) :])
    assert len(new) - len(old) <= -(-epochs // every)
    assert extend_borders(new, every, epochs) == new


@tiny.LAWS
@given(fixed_borders(), st.integers(-1, 400))
def test_the_next_border_is_the_first_behind(borders, epoch):
    found = next_border(borders, epoch)
    if found is None:
        assert all(border <= epoch for border in borders)
    else:
        assert found in borders
        assert found > epoch
        assert not [border for border in borders if epoch < border < found]


@tiny.LAWS
@given(fixed_borders().filter(len))
def test_walking_from_border_to_border_meets_all(borders):
    walked, epoch = [], -1
    while (epoch := next_border(borders, epoch)) is not None:
        walked.append(epoch)
    assert tuple(walked) == borders


@given(st.integers(0, 2**63 - 1), st.sampled_from([{}, OTHER, *({name: value} for name, value in OTHER.items())]))
def test_ids_by_seed_are_the_ids_of_trials(seed, values):
    settings = settings_from({**values, "seed": 5})
    id_of = ids_by_seed(settings, FINGERPRINT)
    for one in (seed, 0, 5):
        assert id_of(one) == trial_of(settings_from({**values, "seed": one}), FINGERPRINT).trial_id
