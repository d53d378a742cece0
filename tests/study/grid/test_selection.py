"""--only chooses trials, --smoke shortens a study."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.grid.design import cells_of
from study.grid.reader import STUDY_NAME
from study.grid.selection import SelectionError, select, smoke
from tests.study.small_study import grid_of, levels_of, trials_from, trials_in
from workers.contract.settings_table import flatten

FACTORS = "factors: {decoder: [bernoulli, gaussian], k: [1, 5], training.beta1: [0.25, 0.5], seed: [0, 1, 2]}"
TRIALS = trials_from(FACTORS)
LEVELS = {"decoder": ["bernoulli", "gaussian"], "k": [1, 5], "training.beta1": [0.25, 0.5], "seed": [0, 1, 2]}


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(sorted(LEVELS)), st.integers(), min_size=1).flatmap(
        lambda names: st.fixed_dictionaries(
            {name: st.lists(st.sampled_from(LEVELS[name]), min_size=1, unique=True) for name in names}
        )
    ),
    st.randoms(),
)
def test_levels_of_one_factor_add_up_and_factors_intersect(wanted, random):
    only = [f"{name}={level}" for name, levels in wanted.items() for level in levels]
    random.shuffle(only)
    expected = [t for t in TRIALS if all(flatten(t.settings)[name] in levels for name, levels in wanted.items())]
    assert select(TRIALS, only) == expected
    assert len(expected) > 0


@pytest.mark.parametrize("level", ["0.25", "2.5e-1", ".25"])
def test_a_level_may_be_written_in_any_way(level):
    chosen = select(TRIALS, [f"training.beta1={level}"])
    assert set(levels_of(chosen, "training.beta1")) == {(0.25,)}
    assert len(chosen) == 12


def test_a_setting_that_is_no_factor_can_be_asked_for():
    assert select(TRIALS, ["warmup=0", "data.name=digits"]) == TRIALS


def test_a_trial_is_chosen_by_its_id_or_the_beginning_of_it():
    wanted = TRIALS[5]
    assert select(TRIALS, [wanted.trial_id]) == [wanted]
    assert select(TRIALS, [wanted.trial_id[:10]]) == [wanted]
    assert select(TRIALS, [wanted.trial_id, TRIALS[0].trial_id, wanted.trial_id[:10]]) == [wanted, TRIALS[0]]


def test_ids_add_to_levels_once_each():
    chosen = select(TRIALS, ["seed=0", "k=1", TRIALS[0].trial_id, TRIALS[1].trial_id])
    assert chosen == [*select(TRIALS, ["seed=0", "k=1"]), TRIALS[1]]


@pytest.mark.parametrize(
    ("only", "words"),
    [
        (["K=1"], "--only K=1: K is not a setting"),
        (["decodr=gaussian"], "decodr is not a setting; did you mean decoder?"),
        (["beta1=0.5"], "beta1 is not a setting; did you mean training.beta1?"),
        (["k=one"], "--only k=one: got 'one'; allowed: a whole number from 1"),
        (["k=[1, 5]"], "allowed: a whole number"),
        (["decoder=gaussien"], "got 'gaussien'; allowed: bernoulli, gaussian"),
        (["k="], "got ''; allowed: a whole number"),
        (["k=7"], "--only k=7: matches no trial of this grid; --plan lists factors and levels"),
        (["k=1", "seed=9"], "--only k=1 seed=9: matches no trial"),
        (["zzz"], "--only zzz: no trial of this grid has an id that begins like this; use FACTOR=LEVEL or an id"),
        (["seed=0", "gaussian"], "--only gaussian: no trial of this grid has an id"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_only_that_names_nothing_is_refused(only, words):
    with pytest.raises(SelectionError) as caught:
        select(TRIALS, only)
    assert words in str(caught.value)


def test_an_empty_only_does_not_mean_everything():
    with pytest.raises(SelectionError):
        select(TRIALS, [""])


# ---- --smoke ----


@pytest.mark.parametrize(
    "lines",
    [
        [FACTORS],
        ["factors: {k: [1, 5], seed: [7, 3]}", "cells: [{k: 9}]", "exclude: [{k: 1}]"],
        ["factors: {k: [1, 5], seed: [0, 1]}", "exclude: [{k: 5, seed: 0}]"],
        ["preset: paper"],
    ],
    ids=["product", "cells and exclude", "first seed of a cell excluded", "preset"],
)
def test_smoke_runs_every_cell_once_for_two_epochs(lines):
    grid = grid_of(*lines)
    short = smoke(grid)
    trials = trials_in(short)
    assert cells_of(short) == cells_of(grid)
    assert len(trials) == len(cells_of(grid))
    assert {trial.settings.training.epochs for trial in trials} == {2}
    assert all(trial.settings.measure.nll_samples <= 10 for trial in trials)


@pytest.mark.parametrize("name", ["s", "a" * 58, "a" * 59, "a" * 64])
def test_smoke_has_a_study_of_its_own_with_a_good_name(name):
    short = smoke(grid_of(sets=[f"study={name}"]))
    assert short.study.endswith("-smoke")
    assert short.study != name
    assert STUDY_NAME.fullmatch(short.study)
