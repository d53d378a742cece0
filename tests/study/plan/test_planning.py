"""What is missing of a study: nothing twice, nothing forgotten, nothing planned by two drivers."""

import threading
from collections import defaultdict
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.grid.grid import Grid
from study.grid.selection import SelectionError, select
from study.plan.machine import Machine
from study.plan.planning import PlanConflictError, Work, find_work, settle
from study.plan.request import Request
from tests.study.small_study import CPU, DIGITS, end, grid_of, trials_in
from workers.contract.errors import RecordError
from workers.contract.settings_table import value_of
from workers.contract.trial import Pack, Trial
from workers.store.folder import FolderStore
from workers.store.keys import PLAN_FOLDER, plan_key, trials_key
from workers.store.listing import ended_packs
from workers.store.memory import MemoryStore
from workers.store.parquet import decode
from workers.store.plan_log import lineage_of, read_plan
from workers.store.protocol import Store

SEEDS = "factors: {k: [1, 5], seed: [0, 1, 2]}"


@pytest.fixture
def store(tmp_path) -> Store:
    return FolderStore(tmp_path / "s")


def look(store: Store, grid: Grid, only: Collection[str] = (), machine: Machine = CPU) -> Work:
    trials = trials_in(grid)
    return find_work(Request(store, grid, select(trials, only) if only else trials, machine, DIGITS))


def plan(store: Store, grid: Grid, only: Collection[str] = (), machine: Machine = CPU) -> Work:
    trials = trials_in(grid)
    return settle(Request(store, grid, select(trials, only) if only else trials, machine, DIGITS), {"commit": "c"})


def finish(store: Store, work: Work, diverged: Collection[str] = ()) -> None:
    for pack in work.missing:
        end(store, pack, [trial.trial_id for trial in pack.trials if trial.trial_id in diverged])


def run(store: Store, grid: Grid, only: Collection[str] = ()) -> Work:
    """Plan what is missing and end it."""
    work = plan(store, grid, only)
    finish(store, work)
    return work


def ids_in(packs: Collection[Pack]) -> list[str]:
    return sorted(trial.trial_id for pack in packs for trial in pack.trials)


def ids_of(trials: Collection[Trial]) -> list[str]:
    return sorted(trial.trial_id for trial in trials)


def grid(*lines: str, epochs: int = 4, commit_every: int = 2) -> Grid:
    return grid_of(*lines, f"training: {{epochs: {epochs}}}", f"run: {{commit_every: {commit_every}}}")


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


# ---- What a study's folder cannot hold ----


@pytest.mark.parametrize(
    ("setting", "was", "now"), [("threshold", "0.1", "0.2"), ("images", "10000", "500"), ("nll_samples", "5000", "7")]
)
def test_other_measurements_are_refused_by_name(store, setting, was, now):
    plan(store, grid(SEEDS))
    with pytest.raises(PlanConflictError) as caught:
        look(store, grid(SEEDS, f"measure: {{{setting}: {now}}}"))
    assert f"measure.{setting}: got {now}, but study s was planned with {was}" in str(caught.value)
    assert "set it back, or give the study another name" in str(caught.value)


def test_other_measurements_of_new_trials_are_refused_too(store):
    """All rows of a study are measured alike: also those of levels that the plan does not know yet."""
    plan(store, grid("factors: {k: [1]}"))
    with pytest.raises(PlanConflictError, match=r"measure.threshold: got 0.2, but study s was planned with 0.1"):
        look(store, grid("factors: {k: [5]}", "measure: {threshold: 0.2}"))


def test_the_same_measurements_written_out_are_no_conflict(store):
    plan(store, grid(SEEDS))
    assert look(store, grid(SEEDS, "measure: {threshold: 1e-1, images: 10000}")).new == ()


@pytest.mark.parametrize(
    "damage",
    [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: raw[:40] + bytes([raw[40] ^ 1]) + raw[41:]],
    ids=["half", "empty", "one bit"],
)
def test_a_damaged_plan_entry_is_named(store, damage):
    plan(store, grid(SEEDS))
    path = store.root / plan_key(1)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RecordError, match=r"plan/000001.parquet: damaged"):
        look(store, grid(SEEDS))


def test_a_damaged_trials_file_is_named_when_it_is_needed(store):
    work = run(store, grid(SEEDS))
    key = trials_key(work.missing[0].pack_id, work.missing[0].epochs)
    path = store.root / key
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RecordError, match=f"{key}: damaged"):
        look(store, grid(SEEDS, epochs=8))


# ---- Two drivers ----


class LosesTheRace:
    """A store in which somebody else writes the next plan entry just before this driver does."""

    def __init__(self, store: Store, rivals: list[Callable[[], Any]]) -> None:
        self._store = store
        self._rivals = rivals

    def create(self, key: str, raw: bytes) -> bool:
        if key.startswith(PLAN_FOLDER) and self._rivals:
            self._rivals.pop(0)()
        return self._store.create(key, raw)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def planned_twice(store: Store) -> list[str]:
    """trial_id of trials that two packs of the log name (no test here splits a pack)."""
    packs_of = defaultdict(set)
    for key in store.list(PLAN_FOLDER):
        for row in decode(store.read(key), key).select(["trial_id", "pack_id"]).to_pylist():
            packs_of[row["trial_id"]].add(row["pack_id"])
    return [trial_id for trial_id, packs in packs_of.items() if len(packs) > 1]


def test_who_loses_the_race_takes_the_packs_of_the_winner(store):
    winner: list[Work] = []
    rival = lambda: winner.append(plan(store, grid(SEEDS), machine=Machine("cpu", 1)))  # noqa: E731
    work = plan(LosesTheRace(store, [rival]), grid(SEEDS), machine=Machine("cpu", 6))
    assert work.new == ()
    assert {p.pack_id for p in work.missing} == {p.pack_id for p in winner[0].missing}
    assert len(store.list(PLAN_FOLDER)) == 1


def test_who_loses_twice_plans_what_the_winners_left(store):
    rivals = [lambda: plan(store, grid(SEEDS), ["seed=0"]), lambda: plan(store, grid(SEEDS), ["seed=1"])]
    work = plan(LosesTheRace(store, rivals), grid(SEEDS))
    assert {trial.settings.seed for pack in work.new for trial in pack.trials} == {2}
    assert ids_in(work.missing) == ids_of(trials_in(grid(SEEDS)))
    assert planned_twice(store) == []
    assert len(store.list(PLAN_FOLDER)) == 3


def test_many_drivers_at_once_make_one_set_of_packs(store):
    slots = [1, 2, 3, 4, 6, 8]
    together = threading.Barrier(len(slots))
    works: list[Work] = []

    def drive(slots: int) -> None:
        together.wait()
        works.append(plan(store, grid(SEEDS), machine=Machine("cpu", slots)))

    threads = [threading.Thread(target=drive, args=(n,)) for n in slots]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(works) == len(slots)
    assert len({frozenset(pack.pack_id for pack in work.missing) for work in works}) == 1
    assert planned_twice(store) == []
    assert len(store.list(PLAN_FOLDER)) == 1


def test_the_log_says_who_planned_what(store):
    plan(store, grid(SEEDS))
    plan(store, grid("factors: {k: [7]}"))
    first, second = read_plan(store).footers
    assert first["study"] == "s"
    assert first["grid"] == grid(SEEDS).text
    assert first["provenance"] == {"commit": "c"}
    assert first["factors"] == {"k": [1, 5], "seed": [0, 1, 2]}
    assert second["factors"] == {"k": [7], "seed": [0]}
    assert read_plan(store).factors() == {"k": [1, 5, 7], "seed": [0, 1, 2]}


# ---- Any sequence of commands: every (trial, epoch) is trained exactly once ----

some_levels = st.fixed_dictionaries(
    {
        "k": st.lists(st.sampled_from([1, 5]), min_size=1, unique=True),
        "warmup": st.lists(st.sampled_from([0, 20]), min_size=1, unique=True),
        "seed": st.lists(st.sampled_from([0, 1, 2]), min_size=1, unique=True),
    }
)
commands = st.fixed_dictionaries(
    {
        "levels": some_levels,
        "epochs": st.integers(1, 6),
        "only": st.sampled_from([(), (), ("seed=0",), ("warmup=20",), ("seed=1", "k=1")]),
        "slots": st.sampled_from([1, 2, 5]),
        "ends": st.sampled_from(["all", "all", "some", "none"]),
        "diverges": st.sampled_from([None, None, 0, 1, 2]),
    }
)


class Trained:
    """Stands for the workers: knows which epochs every trial has rows of, and refuses to write one twice."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.epochs: dict[str, set[int]] = defaultdict(set)
        self.at: dict[str, int] = {}
        self.fallen: set[str] = set()

    def run(self, pack: Pack, diverges: int | None) -> None:
        begins = self.at.get(pack.pack_id, pack.from_epoch if pack.parent else -1)
        if pack.parent:
            assert self.at[pack.parent] == pack.from_epoch, "the parent's newest state is where the child begins"
        for trial in pack.trials:
            if trial.trial_id in self.fallen:
                continue
            new = set(range(begins + 1, pack.epochs + 1))
            assert not new & self.epochs[trial.trial_id], "rows that are there are written again"
            assert begins == max(self.epochs[trial.trial_id], default=-1), "no epoch is left out"
            self.epochs[trial.trial_id] |= new
        self.at[pack.pack_id] = pack.epochs
        if diverges is not None and diverges < len(pack.trials):
            self.fallen.add(pack.trials[diverges].trial_id)
        end(self.store, pack, self.fallen)


@settings(deadline=None, max_examples=30)
@given(st.lists(commands, min_size=1, max_size=4))
def test_every_epoch_of_every_trial_is_trained_exactly_once(history):
    store = MemoryStore()
    trained = Trained(store)
    for command in history:
        asked = grid(f"factors: {command['levels']}", epochs=command["epochs"])
        wanted = trials_in(asked)
        with suppress(SelectionError):  # then all of them
            wanted = select(wanted, command["only"]) if command["only"] else wanted
        machine = Machine("cpu", command["slots"])
        work = settle(Request(store, asked, wanted, machine, DIGITS), {})
        live = [trial.trial_id for pack in work.missing for trial in pack.trials]
        assert len(live) == len(set(live)), "no trial in two packs that run"
        for i, pack in enumerate(work.missing):
            if command["ends"] == "all" or (command["ends"] == "some" and i % 2 == 0):
                trained.run(pack, command["diverges"])

    # The last command again until it says that nothing is missing: never more than one round and its children.
    for _ in range(3):
        work = settle(Request(store, asked, wanted, machine, DIGITS), {})
        for pack in work.missing:
            trained.run(pack, None)
    assert (work.new, work.missing) == ((), ())
    assert sorted(work.done) == ids_of(wanted)
    for trial in wanted:
        if trial.trial_id not in trained.fallen:
            assert trained.epochs[trial.trial_id] >= set(range(asked.base.training.epochs + 1))


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
