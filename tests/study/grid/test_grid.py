"""Grids become trials: the product, cells, exclusions, and any way to write them."""

import math
from itertools import permutations, product

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from study.grid.grid import GridError, parse_grid
from study.grid.hints import LISTS, words_of
from tests.study.small_study import grid_of, levels_of, trials_from, trials_in
from workers.contract.settings import FACTORS, NOT_A_FACTOR, Settings
from workers.contract.settings_table import adapter_of, default_of, flatten, leaves

LEVELS = {
    "decoder": ["bernoulli", "gaussian"],
    "k": [1, 2, 5],
    "batch_norm": [False, True],
    "warmup": [0, 20],
    "n_z": [2, 10],
    "training.learning_rate": [0.001, 0.01],
    "seed": [0, 1, 7],
}


some_factors = st.fixed_dictionaries(
    {}, optional={name: st.lists(st.sampled_from(levels), min_size=1, unique=True) for name, levels in LEVELS.items()}
)


def text_of(factors: dict, **rooms: object) -> str:
    return yaml.safe_dump({"study": "s", "factors": factors, **rooms}, sort_keys=False)


def can_be_factors() -> list[str]:
    return [name for name in leaves() if name not in NOT_A_FACTOR and not name.startswith("measure.")]


# ---- The product ----


@settings(deadline=None, max_examples=60)
@given(some_factors)
def test_trials_are_the_product_of_the_levels(factors):
    trials = trials_in(parse_grid(text_of(factors)))
    expected = set(product(*factors.values()))
    assert len(trials) == math.prod(map(len, factors.values())) == len(expected)
    assert set(levels_of(trials, *factors)) == expected
    assert len({trial.trial_id for trial in trials}) == len(trials)
    others = {name: value for name, value in flatten(Settings()).items() if name not in factors}
    assert all({name: flatten(trial.settings)[name] for name in others} == others for trial in trials)


@settings(deadline=None, max_examples=60)
@given(some_factors.filter(lambda factors: "k" in factors), st.data())
def test_exclude_takes_away_what_matches_every_name_of_an_entry(factors, data):
    entry = {
        name: data.draw(st.lists(st.sampled_from(levels), min_size=1, unique=True))
        for name, levels in factors.items()
        if name == "k" or data.draw(st.booleans())
    }
    left = [
        levels
        for levels in product(*factors.values())
        if not all(dict(zip(factors, levels, strict=True))[name] in gone for name, gone in entry.items())
    ]
    grid = parse_grid(text_of(factors, exclude=[entry]))
    if left:
        assert sorted(map(str, levels_of(trials_in(grid), *factors))) == sorted(map(str, left))
    else:
        with pytest.raises(ValueError, match="exclude"):
            trials_in(grid)


def test_one_excluded_level_may_stand_without_a_list():
    factors = "factors: {k: [1, 5], n_z: [2, 10], seed: [0, 1]}"
    one = trials_from(factors, "exclude: [{k: 5, n_z: 2}]")
    assert one == trials_from(factors, "exclude: [{k: [5], n_z: [2]}]")
    assert levels_of(one, "k", "n_z", "seed") == [(1, 2, 0), (1, 2, 1), (1, 10, 0), (1, 10, 1), (5, 10, 0), (5, 10, 1)]


def test_a_seed_of_one_cell_can_be_excluded():
    trials = trials_from("factors: {k: [1, 5], seed: [0, 1]}", "exclude: [{k: 5, seed: 1}]")
    assert levels_of(trials, "k", "seed") == [(1, 0), (1, 1), (5, 0)]


def test_a_single_level_is_a_list_of_one():
    assert trials_from("factors: {k: 5, seed: 3}") == trials_from("factors: {k: [5], seed: [3]}")


def test_a_grid_without_factors_is_one_trial_of_seed_0():
    for lines in ([], ["factors:"], ["factors: {}"], ["cells: []", "exclude:"]):
        assert levels_of(trials_from(*lines), "k", "seed") == [(1, 0)]


# ---- Cells named one by one ----


def test_cells_stand_beside_the_product():
    trials = trials_from("factors: {k: [1, 5], seed: [0, 1]}", "cells: [{n_z: 3}, {k: 7, decoder: gaussian}]")
    assert levels_of(trials, "k", "n_z", "decoder", "seed") == [
        (k, n_z, decoder, seed)
        for k, n_z, decoder in [(1, 50, "bernoulli"), (5, 50, "bernoulli"), (1, 3, "bernoulli"), (7, 50, "gaussian")]
        for seed in (0, 1)
    ]


@pytest.mark.parametrize("factors", ["factors: {seed: [0, 1]}", "factors: {}"])
def test_cells_stand_instead_of_a_product_of_nothing(factors):
    trials = trials_from(factors, "cells: [{k: 5}, {k: 7}]")
    assert {trial.settings.k for trial in trials} == {5, 7}


def test_a_cell_of_the_product_named_again_is_there_once_and_stays_where_it_is():
    factors = "factors: {k: [1, 5], seed: [0, 1]}"
    without = trials_from(factors, "cells: [{k: 7}]")
    # The second says the same with a default written out.
    for again in ("{k: 1}", "{k: 1, n_z: 50}", "{k: 5}"):
        trials = trials_from(factors, f"cells: [{again}, {{k: 7}}, {{k: 7}}]")
        assert {trial.trial_id for trial in trials} == {trial.trial_id for trial in without}
        assert len(trials) == len(without)
        assert trials == without, "the same trials, in another order"


def test_exclude_holds_for_named_cells_too():
    trials = trials_from("factors: {k: [1, 5], n_z: [2]}", "cells: [{k: 5, n_z: 9}, {k: 1, n_z: 9}]", "exclude: [{k: 5}]")
    assert levels_of(trials, "k", "n_z") == [(1, 2), (1, 9)]


# ---- How it is written does not matter ----


def test_order_of_the_keys_at_the_top_changes_nothing():
    parts = [
        "study: s",
        "factors: {k: [1, 5], seed: [0, 1]}",
        "training: {epochs: 9, beta1: 0.5}",
        "exclude: [{k: 1, seed: 1}]",
    ]
    wanted = trials_in(parse_grid("\n".join(parts)))
    for order in permutations(parts):
        assert trials_in(parse_grid("\n".join(order))) == wanted


@settings(deadline=None, max_examples=60)
@given(some_factors, st.data())
def test_order_of_the_factors_changes_nothing(factors, data):
    shuffled = dict(data.draw(st.permutations(list(factors.items()))))
    ids = [[trial.trial_id for trial in trials_in(parse_grid(text_of(f)))] for f in (factors, shuffled)]
    assert sorted(ids[0]) == sorted(ids[1])
    assert ids[0] == ids[1], "the same trials, in another order"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("training.learning_rate: [0.001]", "training.learning_rate: [1e-3]"),
        ("training.learning_rate: [0.5]", "training.learning_rate: [.5]"),
        ("training.learning_rate: [1.0]", "training.learning_rate: [1]"),
        ("training.learning_rate: [1.0]", "training.learning_rate: [+1.]"),
        ("training.learning_rate: [0.002]", "training.learning_rate: [2.0E-3]"),
        ("decoder: [gaussian]", "decoder: ['gaussian']"),
        ("decoder: [gaussian]", 'decoder: ["gaussian"]'),
        ("batch_norm: [true]", "batch_norm: [ true ]"),
        ("k: [5]", "k:\n    - 5"),
        ("k: [5]", "'k': [+5]"),
    ],
)
def test_how_a_value_is_written_changes_nothing(one, other):
    assert trials_from(f"factors:\n  {one}") == trials_from(f"factors:\n  {other}")


def test_1e_3_is_a_number():
    assert grid_of("training: {learning_rate: 1e-3}").base.training.learning_rate == 0.001


@settings(deadline=None)
@given(st.floats(1e-12, 10, exclude_min=True), st.sampled_from(["{!r}", "{:.17e}", "{:.17E}", "{:.17g}"]))
def test_a_number_survives_any_way_to_write_it(number, form):
    assert grid_of(f"training: {{learning_rate: {form.format(number)}}}").base.training.learning_rate == number


def test_a_default_written_out_gives_the_same_trial():
    assert trials_from("factors: {k: [1]}", "training: {beta1: 0.9}", "model: {activation: softplus}") == trials_from()


def test_a_level_and_a_setting_of_the_base_give_the_same_trial():
    levels = trials_from("factors: {training.beta1: [0.5], model.activation: [tanh]}")
    assert levels == trials_from("training: {beta1: 0.5}", "model: {activation: tanh}")


# ---- Any scalar setting can be a factor ----


def two_levels(name: str) -> list:
    if name in LISTS:
        return {"data.classes": ["all", "1,2"], "model.layers_above": ["none", "8-z4"]}[name]
    if words := words_of(name, Settings):
        # A setting that has one word only has one level.
        return words[:2]
    if isinstance(default_of(name), bool):
        return [False, True]
    good = []
    for value in (1, 2, 3, 0.25, 0.5):
        try:
            good.append(adapter_of(name).validate_python(value))
        except ValueError:
            continue
    return good[-2:]


@pytest.mark.parametrize("name", can_be_factors())
def test_any_scalar_setting_can_be_a_factor(name):
    levels = two_levels(name)
    assert len(levels) == 2
    trials = trials_in(parse_grid(text_of({name: levels})))
    assert [level for (level,) in levels_of(trials, name)] == levels
    assert len({trial.trial_id for trial in trials}) == 2


@pytest.mark.parametrize("name", [name for name in leaves() if name not in can_be_factors()])
def test_what_is_one_for_the_whole_study_is_no_factor(name):
    with pytest.raises(GridError, match=f"grid.yaml:2:11: factors.{name}: cannot be a factor: "):
        grid_of(f"factors: {{{name}: [{default_of(name)}]}}")


def test_the_six_factors_can_be_factors():
    assert set(FACTORS) <= set(can_be_factors())
