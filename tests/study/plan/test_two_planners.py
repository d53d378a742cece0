"""Nothing is planned by two drivers."""

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from study.plan.machine import Machine
from study.plan.planning import Work
from tests.study.plan.planned_study import SEEDS, grid, ids_in, ids_of, plan
from tests.study.small_study import trials_in
from workers.store.keys import PLAN_FOLDER
from workers.store.parquet import decode
from workers.store.plan_log import read_plan
from workers.store.protocol import Store


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
