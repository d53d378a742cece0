"""Any sequence of commands: every (trial, epoch) is trained exactly once."""

from collections import defaultdict
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from study.grid.selection import SelectionError, select
from study.plan.machine import Machine
from study.plan.planning import settle
from study.plan.request import Request
from tests.study.plan.planned_study import grid, ids_of
from tests.study.small_study import DIGITS, end, trials_in
from workers.contract.trial import Pack
from workers.store.memory import MemoryStore
from workers.store.protocol import Store

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
