"""-0.0 and 0.0 are one number, so they are one setting and one trial, wherever a number is given."""

import json
import math

import pytest

from study.grid.grid import GridError
from study.grid.selection import select
from tests.study.small_study import grid_of, trials_from
from workers.contract.settings import RunSettings, Settings
from workers.contract.settings_table import adapter_of, flatten, leaves, settings_from
from workers.contract.trial import trial_of


def takes_zero(name, model):
    if "float" not in str(leaves(model)[name].annotation):
        return False
    try:
        return adapter_of(name, model).validate_python(0.0) == 0
    except ValueError:
        return False


ZEROES = [name for name in leaves(Settings) if takes_zero(name, Settings)]


def is_plain(value):
    return value == 0 and math.copysign(1, value) == 1


def test_there_are_settings_that_take_zero_and_none_of_a_run_does():
    assert {"objective.beta", "objective.free_bits", "model.decoder_logvar_value", "training.beta1"} <= set(ZEROES)
    assert not [name for name in leaves(RunSettings) if takes_zero(name, RunSettings)]


@pytest.mark.parametrize("name", ZEROES)
def test_a_negative_zero_is_zero(name):
    assert is_plain(adapter_of(name).validate_python(-0.0))
    settings = settings_from({name: -0.0})
    assert is_plain(flatten(settings)[name])
    assert trial_of(settings, "0" * 64) == trial_of(settings_from({name: 0.0}), "0" * 64)
    text = json.dumps(settings.model_dump(mode="json")).replace(
        f'"{name.split(".")[1]}": 0.0', f'"{name.split(".")[1]}": -0.0'
    )
    assert is_plain(flatten(Settings.model_validate_json(text))[name])


@pytest.mark.parametrize(
    "settings", [{}, {"data.scale": "16", "data.image_size": (3, 4), "data.classes": '1,"cat"'}], ids=str
)
def test_settings_survive_json(settings):
    """What a worker receives. A validator that ran before a tuple would hand it a list of JSON, which it refuses."""
    whole = settings_from(settings)
    assert Settings.model_validate_json(whole.model_dump_json()) == whole


def test_a_level_a_cell_an_option_and_a_choice_of_negative_zero_are_those_of_zero():
    def of(zero):
        return trials_from(f"factors: {{objective.beta: [{zero}, 1]}}")

    zero = of("0.0")
    assert of("-0.0") == of("-0") == zero
    assert trials_from("factors: {objective.beta: [1]}", "cells: [{objective.beta: -0.0}]") == trials_from(
        "factors: {objective.beta: [1]}", "cells: [{objective.beta: 0.0}]"
    )
    assert trials_from(sets=["objective.beta=-0.0"]) == trials_from(sets=["objective.beta=0.0"])
    assert select(zero, ["objective.beta=-0.0"]) == select(zero, ["objective.beta=0.0"])
    exclude = "exclude: [{objective.beta: -0.0}]"
    assert len(trials_from("factors: {objective.beta: [0.0, 1]}", exclude)) == len(zero) // 2


def test_both_zeroes_are_one_level_that_is_listed_twice():
    with pytest.raises(GridError, match=r"objective.beta\[1\]: 0.0 is listed twice; keep one"):
        grid_of("factors: {objective.beta: [-0.0, 0.0]}")
