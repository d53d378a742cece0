"""What is missing of a study: nothing twice, nothing forgotten."""

import pytest

from study.plan.machine import Machine
from tests.study.plan.planned_study import SEEDS, finish, grid, ids_in, ids_of, look, plan, run
from tests.study.small_study import end, trials_in
from workers.contract.settings_table import value_of
from workers.store.keys import PLAN_FOLDER
from workers.store.listing import ended_packs
from workers.store.plan_log import lineage_of, read_plan

# ---- The same grid again ----


def test_a_fresh_study_plans_every_trial(store):
    work = look(store, grid(SEEDS))
    assert ids_in(work.new) == ids_of(trials_in(grid(SEEDS)))
    assert work.missing == work.new
    assert not work.done
    assert store.list(PLAN_FOLDER) == [], "find_work writes nothing"


def test_a_rerun_with_nothing_done_plans_nothing_new_and_misses_the_same_packs(store):
    first = plan(store, grid(SEEDS))
    again = plan(store, grid(SEEDS))
    assert again.new == ()
    assert sorted(again.missing, key=str) == sorted(first.missing, key=str)
    assert again.missing == first.missing, "the same packs, in another order than low seeds first and long packs first"
    assert len(store.list(PLAN_FOLDER)) == 1


def test_another_machine_goes_on_with_the_packs_of_the_first(store):
    first = plan(store, grid(SEEDS), machine=Machine("cpu", 1))
    other = plan(store, grid(SEEDS), machine=Machine("cuda", 64))
    assert other.new == ()
    assert {pack.pack_id for pack in other.missing} == {pack.pack_id for pack in first.missing}


def test_what_has_ended_is_done_and_the_rest_is_missing(store):
    first = plan(store, grid(SEEDS))
    end(store, first.missing[0])
    again = plan(store, grid(SEEDS))
    assert sorted(again.done) == ids_in(first.missing[:1])
    assert ids_in(again.missing) == ids_in(first.missing[1:])
    assert again.new == ()


def test_when_all_is_done_nothing_is_missing(store):
    run(store, grid(SEEDS))
    work = plan(store, grid(SEEDS))
    assert (work.new, work.missing) == ((), ())
    assert sorted(work.done) == ids_of(trials_in(grid(SEEDS)))
    assert len(store.list(PLAN_FOLDER)) == 1


def test_a_part_is_planned_alone_and_the_rest_later(store):
    part = run(store, grid(SEEDS), ["seed=1"])
    assert {trial.settings.seed for pack in part.missing for trial in pack.trials} == {1}
    rest = run(store, grid(SEEDS))
    assert {trial.settings.seed for pack in rest.missing for trial in pack.trials} == {0, 2}
    assert look(store, grid(SEEDS)).missing == ()


# ---- Extending ----


@pytest.mark.parametrize(
    ("more", "name", "new"),
    [
        ("factors: {k: [1, 5, 7], seed: [0, 1, 2]}", "k", {7}),
        ("factors: {k: [1, 5], seed: [0, 1, 2, 3, 4]}", "seed", {3, 4}),
        ("factors: {k: [1, 5], seed: [0, 1, 2], n_z: [50, 10]}", "n_z", {10}),
        ("factors: {k: [1, 5], seed: [0, 1, 2], training.beta1: [0.9, 0.5]}", "training.beta1", {0.5}),
        ("factors: {k: [1, 5], seed: [0, 1, 2]}\ncells: [{decoder: gaussian}]", "decoder", {"gaussian"}),
    ],
    ids=["level", "seeds", "factor of the six", "another factor", "cell"],
)
@pytest.mark.parametrize("is_done", [True, False], ids=["done", "not begun"])
def test_only_what_is_new_is_planned(store, more, name, new, is_done):
    first = plan(store, grid(SEEDS))
    if is_done:
        finish(store, first)
    work = plan(store, grid(more))
    assert {value_of(trial.settings, name) for pack in work.new for trial in pack.trials} == new
    assert ids_in(work.new) == sorted(set(ids_of(trials_in(grid(more)))) - set(ids_in(first.missing)))
    assert ids_in(work.missing) == ids_in(work.new) if is_done else ids_of(trials_in(grid(more)))
    assert len(work.done) == (len(ids_in(first.missing)) if is_done else 0)


def test_what_was_planned_before_is_not_left_behind_what_is_new(store):
    plan(store, grid(SEEDS))
    work = plan(store, grid("factors: {k: [1, 5], seed: [0, 1, 2, 7]}"))
    first_seeds = [min(trial.settings.seed for trial in pack.trials) for pack in work.missing]
    assert first_seeds == sorted(first_seeds), "seed blocks come first"


def test_fewer_levels_ask_for_less_and_forget_nothing(store):
    first = run(store, grid(SEEDS))
    work = plan(store, grid("factors: {k: [5], seed: [1]}"))
    assert (work.new, work.missing, len(work.done)) == ((), (), 1)
    assert len(read_plan(store).pack_of) == len(ids_in(first.missing))
    assert len(ended_packs(store)) == len(first.missing)
    assert plan(store, grid(SEEDS)).missing == ()


def test_more_epochs_lengthen_the_same_packs(store):
    first = run(store, grid(SEEDS, epochs=5))
    work = plan(store, grid(SEEDS, epochs=9))
    before = {pack.pack_id: pack for pack in first.missing}
    assert {pack.pack_id for pack in work.missing} == before.keys()
    for pack in work.missing:
        assert before[pack.pack_id].borders == (2, 4, 5)
        assert pack.borders == (2, 4, 5, 7, 9)
        assert (pack.parent, pack.from_epoch) == (None, 0)
        assert {trial.settings.training.epochs for trial in pack.trials} == {9}
    assert not work.done
    finish(store, work)
    assert plan(store, grid(SEEDS, epochs=9)).missing == ()


def test_a_pack_that_has_not_ended_can_be_lengthened(store):
    first = plan(store, grid(SEEDS))
    work = plan(store, grid(SEEDS, epochs=8))
    assert {pack.pack_id for pack in work.missing} == {pack.pack_id for pack in first.missing}
    assert {pack.borders for pack in work.missing} == {(2, 4, 6, 8)}
    assert {p.pack_id: p.borders for p in plan(store, grid(SEEDS, epochs=8)).missing} == {
        p.pack_id: p.borders for p in work.missing
    }


def test_fewer_epochs_than_were_trained_are_done(store):
    run(store, grid(SEEDS, epochs=4))
    work = plan(store, grid(SEEDS, epochs=3))
    assert (work.new, work.missing, len(work.done)) == ((), (), 6)


def test_going_back_from_a_plan_of_more_epochs_that_was_never_run(store):
    """What was asked for at first is there: it is done, whatever the plan says beyond it."""
    run(store, grid(SEEDS, epochs=4))
    plan(store, grid(SEEDS, epochs=8))
    assert plan(store, grid(SEEDS, epochs=4)).missing == ()


def test_a_part_of_an_ended_pack_goes_on_in_a_pack_of_its_own(store):
    first = run(store, grid("factors: {seed: [0, 1, 2, 3]}"))
    (parent,) = [pack for pack in first.missing if 1 in {t.settings.seed for t in pack.trials}]
    work = plan(store, grid("factors: {seed: [0, 1, 2, 3]}", epochs=8), ["seed=1"])
    (child,) = work.missing
    assert (child.parent, child.from_epoch, child.borders) == (parent.pack_id, 4, (6, 8))
    assert [trial.settings.seed for trial in child.trials] == [1]
    assert lineage_of(child, read_plan(store)) == (parent,)
    assert plan(store, grid("factors: {seed: [0, 1, 2, 3]}", epochs=8), ["seed=1"]).missing == (child,)
    end(store, child)
    assert plan(store, grid("factors: {seed: [0, 1, 2, 3]}", epochs=8), ["seed=1"]).missing == ()


def test_a_trial_that_left_its_pack_is_not_trained_again_with_it(store):
    """The pack's other trials go on without it: its rows of these epochs are there already."""
    seeds = "factors: {seed: [0, 1, 2, 3]}"
    first = run(store, grid(seeds))
    run(store, grid(seeds, epochs=8), ["seed=1"])
    work = plan(store, grid(seeds, epochs=8))
    assert 1 not in {trial.settings.seed for pack in work.missing for trial in pack.trials}
    assert sorted(trial.settings.seed for pack in work.missing for trial in pack.trials) == [0, 2, 3]
    finish(store, work)
    again = plan(store, grid(seeds, epochs=8))
    assert (again.new, again.missing) == ((), ())
    assert sorted(again.done) == ids_in(first.missing)


def test_a_pack_that_has_not_ended_runs_to_its_end_before_a_part_of_it_goes_on(store):
    seeds = "factors: {seed: [0, 1, 2, 3]}"
    first = plan(store, grid(seeds))
    work = plan(store, grid(seeds, epochs=8), ["seed=1"])
    assert work.new == ()
    (whole,) = work.missing
    assert whole in first.missing
    assert 1 in {trial.settings.seed for trial in whole.trials}
    end(store, whole)
    (child,) = plan(store, grid(seeds, epochs=8), ["seed=1"]).missing
    assert (child.parent, child.from_epoch) == (whole.pack_id, 4)


def test_diverged_trials_are_done_and_do_not_go_on(store):
    seeds = "factors: {seed: [0, 1, 2, 3]}"
    first = plan(store, grid(seeds))
    fallen = first.missing[0].trials[0].trial_id
    finish(store, first, [fallen])
    assert fallen in plan(store, grid(seeds)).done

    longer = plan(store, grid(seeds, epochs=8))
    assert fallen in longer.done
    assert fallen not in ids_in(longer.missing)
    assert len(ids_in(longer.missing)) == 3
    (child,) = [pack for pack in longer.missing if pack.parent == first.missing[0].pack_id]
    assert child.from_epoch == 4
    finish(store, longer)
    again = plan(store, grid(seeds, epochs=8))
    assert (again.new, again.missing) == ((), ())
    assert sorted(again.done) == ids_in(first.missing)


def test_a_pack_of_diverged_trials_does_not_go_on(store):
    first = plan(store, grid(SEEDS))
    finish(store, first, ids_in(first.missing))
    work = plan(store, grid(SEEDS, epochs=8))
    assert (work.new, work.missing) == ((), ())
    assert sorted(work.done) == ids_in(first.missing)


# ---- More of a study ----


def test_a_new_factor_reuses_the_trials_that_have_its_default(store):
    first = run(store, grid(SEEDS))
    wider = grid("factors: {k: [1, 5], seed: [0, 1, 2], training.learning_rate: [0.001, 0.01]}")
    work = plan(store, wider)
    assert sorted(work.done) == ids_in(first.missing), "0.001 is what they were trained with"
    rates = {trial.settings.training.learning_rate for pack in work.missing for trial in pack.trials}
    assert rates == {0.01}
    assert len(ids_in(work.missing)) == 6


def test_a_finished_study_of_a_thousand_trials_starts_nothing(store):
    seeds = f"factors: {{k: [1, 5], seed: {list(range(500))}}}"
    first = run(store, grid(seeds))
    assert len(ids_in(first.missing)) == 1000
    again = plan(store, grid(seeds))
    assert (again.new, again.missing, len(again.done)) == ((), (), 1000)
