"""Settings: types and ranges hold, and a table of dotted names is the same as the nested record."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.workers import tiny
from workers.contract.columns import PLAN
from workers.contract.settings import FACTORS, NOT_A_FACTOR, Settings
from workers.contract.settings_table import adapter_of, default_of, flatten, leaves, settings_from, value_of


@tiny.LAWS
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "decoder": st.sampled_from(["bernoulli", "gaussian"]),
            "k": st.integers(1, 10_000),
            "batch_norm": st.booleans(),
            "seed": st.integers(0, 2**63 - 1),
            "model.hidden": st.lists(st.integers(1, 8192), min_size=1, max_size=8).map(tuple),
            "training.learning_rate": st.floats(1e-9, 10),
            "data.path": st.none() | st.text(),
        },
    )
)
def test_a_table_of_names_and_back(values):
    settings = settings_from(values)
    table = flatten(settings)
    assert table.keys() == leaves(Settings).keys()
    assert settings_from(table) == settings
    assert table.items() >= values.items()
    assert {name: table[name] for name in table.keys() - values.keys()} == {
        name: default_of(name) for name in table.keys() - values.keys()
    }


def test_every_setting_says_what_it_is():
    for name, field in leaves(Settings).items():
        assert field.description, name
        assert name in PLAN.names
        adapter_of(name).validate_python(default_of(name))


def test_factors_are_settings():
    assert set(FACTORS) <= leaves(Settings).keys()
    assert set(NOT_A_FACTOR) <= leaves(Settings).keys()
    assert [value_of(settings_from({}), name) for name in FACTORS] == ["bernoulli", 1, False, 0, 50, 0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("k", 0),
        ("k", 1.0),
        ("k", True),
        ("k", "1"),
        ("batch_norm", 1),
        ("batch_norm", "yes"),
        ("n_z", -2),
        ("seed", 2**63),
        ("seed", -1),
        ("warmup", -1),
        ("decoder", "Bernoulli"),
        ("model.hidden", ()),
        ("model.hidden", (200, 0)),
        ("training.learning_rate", 0.0),
        ("training.learning_rate", float("nan")),
        ("training.beta2", 1.0),
        ("measure.images", 1),
        ("learning_rate", 1e-3),
        ("training.lr", 1e-3),
    ],
    ids=str,
)
def test_what_is_not_allowed_is_refused(name, value):
    with pytest.raises(ValidationError):
        settings_from({name: value})
    if name in leaves(Settings):
        with pytest.raises(ValidationError):
            adapter_of(name).validate_python(value)


def test_a_record_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        settings_from({}).k = 5
