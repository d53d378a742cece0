"""Ranges of whole numbers as lists of levels, in the grid, in --set and in --only."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.grid.grid import GridError
from study.grid.ranges import MAX_LEVELS, range_of, takes_ranges
from study.grid.selection import SelectionError, select
from tests.study.small_study import grid_of, levels_of, trials_from, trials_in
from workers.contract.settings_table import leaves


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 40))
def test_a_range_is_the_list_of_its_numbers(first, more):
    listed = ", ".join(map(str, range(first, first + more + 1)))
    as_range, as_list = (grid_of(f"factors: {{seed: {levels}}}") for levels in (f"{first}..{first + more}", f"[{listed}]"))
    assert as_range.factors == as_list.factors
    assert trials_in(as_range) == trials_in(as_list)


def test_thirty_seeds():
    grid = grid_of("factors: {seed: 0..29}")
    assert grid.factors["seed"] == tuple(range(30))


@pytest.mark.parametrize("written", ["n_z: [2, 10..12]", "n_z: [2, 10..11, 12]", 'n_z: [2, "10..12"]'])
def test_a_list_may_hold_ranges(written):
    assert grid_of(f"factors: {{{written}}}").factors["n_z"] == (2, 10, 11, 12)


def test_block_lists_and_other_factors_of_whole_numbers():
    grid = grid_of("factors:", "  k:", "    - 1", "    - 4..5", "  training.batch_size: 10..11", "  warmup: 3..3")
    assert (grid.factors["k"], grid.factors["training.batch_size"], grid.factors["warmup"]) == ((1, 4, 5), (10, 11), (3,))


@pytest.mark.parametrize("option", ["factors.seed=0..2", "seed=0..2", "factors.seed=[0..1, 2]"])
def test_set_takes_a_range(option):
    assert grid_of("factors: {seed: 7}", sets=[option]).factors["seed"] == (0, 1, 2)


def test_only_takes_a_range():
    trials = trials_from("factors: {seed: 0..5, k: [1, 5]}")
    assert levels_of(select(trials, ["seed=0..3", "k=5"]), "seed", "k") == [(seed, 5) for seed in range(4)]
    assert select(trials, ["seed=4..99"]) == select(trials, ["seed=4", "seed=5"])


def test_exclude_takes_a_range():
    trials = trials_from("factors: {seed: 0..5, k: [1, 5]}", "exclude: [{seed: 2..5, k: 5}]")
    assert levels_of(trials, "k", "seed") == [(1, seed) for seed in range(6)] + [(5, 0), (5, 1)]


TWO_NUMBERS = "a range is two whole numbers with two dots between them, like 0..29; both ends are levels"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("29..0", "a range goes upwards; write 0..29, or list the levels"),
        ("0...29", TWO_NUMBERS),
        ("0..x", TWO_NUMBERS),
        ("0.5..2", TWO_NUMBERS),
        ("0..2.0", TWO_NUMBERS),
        ("0..", TWO_NUMBERS),
        ("..3", TWO_NUMBERS),
        ("1..2..3", TWO_NUMBERS),
        ("0..1e3", TWO_NUMBERS),
        (f"0..{MAX_LEVELS}", f"these are {MAX_LEVELS + 1:,} levels; a range has at most {MAX_LEVELS:,}"),
        ("0..99999999999999999999", TWO_NUMBERS),
    ],
)
def test_what_is_ambiguous_is_refused(text, reason):
    with pytest.raises(GridError) as caught:
        grid_of(f"factors: {{seed: {text}}}")
    assert str(caught.value) == f"grid.yaml: 1 problem\ngrid.yaml:2:17: factors.seed: got {text!r}; {reason}"
    with pytest.raises(SelectionError) as caught:
        select(trials_from(), [f"seed={text}"])
    assert str(caught.value) == f"--only seed={text}: {reason}"


@pytest.mark.parametrize(
    ("factor", "problem"),
    [
        ("training.learning_rate: 0..1", "got '0..1'; ranges are for factors of whole numbers: list the levels"),
        ("batch_norm: 0..1", "got '0..1'; ranges are for factors of whole numbers: list the levels"),
        ("decoder: bernoulli..gaussian", "got 'bernoulli..gaussian'; allowed: bernoulli, gaussian, continuous_bernoulli"),
        ("seed: [0..2, 1]", "1 is listed twice; keep one"),
        ("k: 0..1", "got 0; allowed: a whole number from 1 to 10000"),
    ],
)
def test_ranges_that_do_not_fit_their_factor(factor, problem):
    with pytest.raises(GridError) as caught:
        grid_of(f"factors: {{{factor}}}")
    assert problem in str(caught.value)


def test_no_range_where_one_value_belongs():
    for line in ("training: {epochs: 1..3}", "factors: {k: [1]}\ncells: [{n_z: 2..3}]"):
        with pytest.raises(GridError, match=r"got '.\.\.3'; allowed: a whole number"):
            grid_of(line)


def test_which_settings_take_ranges():
    taking = {name for name in leaves() if takes_ranges(name)}
    assert {"seed", "k", "n_z", "warmup", "training.batch_size"} <= taking
    assert not {"batch_norm", "decoder", "training.learning_rate", "data.classes", "model.layers_above"} & taking


@given(st.integers(-(10**9), 10**9), st.integers(0, MAX_LEVELS - 1))
def test_both_ends_are_levels(first, more):
    numbers = range_of(f"{first}..{first + more}")
    assert (numbers[0], numbers[-1], len(numbers)) == (first, first + more, more + 1)
