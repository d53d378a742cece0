"""The plan log: what was planned is read back, the newest entry decides, one writer wins."""

import pyarrow as pa
import pytest

from tests.workers import tiny
from workers.contract.columns import PLAN
from workers.contract.errors import RecordError, VersionError
from workers.contract.settings_table import flatten
from workers.contract.trial import Pack
from workers.store.keys import plan_key
from workers.store.memory import MemoryStore
from workers.store.parquet import decode, encode
from workers.store.plan_log import append_entry, read_plan

FOOTER = {"study": "s", "factors": {"seed": [0, 1]}, "provenance": {"commit": "abc"}}


@pytest.fixture
def store():
    return MemoryStore()


def test_an_empty_study_has_an_empty_plan(store):
    plan = read_plan(store)
    assert (plan.entries, plan.trials, plan.packs, plan.live_packs(), plan.factors()) == (0, {}, {}, [], {})


def test_what_was_planned_is_read(store):
    settings = {"decoder": "gaussian", "model__hidden": (7, 5), "training__learning_rate": 0.5, "data__path": "a b.npz"}
    packs = [tiny.pack({"seed": 2**63 - 1, **settings}, {"seed": 1, **settings}), tiny.pack({"k": 5}, borders=(10,))]
    assert append_entry(store, 1, packs, FOOTER)
    plan = read_plan(store)
    assert plan.entries == 1
    assert plan.live_packs() == packs
    assert plan.packs == {pack.pack_id: pack for pack in packs}
    assert list(plan.trials.values()) == [trial for pack in packs for trial in pack.trials]
    assert plan.pack_of == {trial.trial_id: pack.pack_id for pack in packs for trial in pack.trials}
    assert plan.footers[0].items() >= {"kind": "plan", **FOOTER}.items()


def test_a_child_is_read_with_its_parent(store):
    parent = tiny.pack({"seed": 0}, {"seed": 1}, borders=(1, 4))
    child = tiny.pack_of(parent.trials[:1], (4,), parent, from_epoch=1)
    append_entry(store, 1, [parent], FOOTER)
    append_entry(store, 2, [child], FOOTER)
    plan = read_plan(store)
    assert plan.packs[child.pack_id] == child
    assert plan.pack_of == {parent.trials[0].trial_id: child.pack_id, parent.trials[1].trial_id: parent.pack_id}
    assert {pack.pack_id for pack in plan.live_packs()} == {parent.pack_id, child.pack_id}


def test_a_pack_whose_trials_all_moved_is_not_live(store):
    parent = tiny.pack({"seed": 0}, {"seed": 1}, borders=(1, 4))
    children = [tiny.pack_of((trial,), (4,), parent, from_epoch=1) for trial in parent.trials]
    append_entry(store, 1, [parent], FOOTER)
    append_entry(store, 2, children, FOOTER)
    plan = read_plan(store)
    assert plan.live_packs() == children
    assert plan.packs[parent.pack_id] == parent


def test_of_two_planners_one_wins(store):
    mine, theirs = tiny.pack({"seed": 0}), tiny.pack({"seed": 1})
    assert append_entry(store, 1, [theirs], FOOTER)
    before = store.read(plan_key(1))
    assert not append_entry(store, 1, [mine], FOOTER)
    assert store.read(plan_key(1)) == before
    assert read_plan(store).live_packs() == [theirs]
    assert append_entry(store, 2, [mine], FOOTER)
    assert read_plan(store).live_packs() == [theirs, mine]


def test_the_newest_entry_has_the_borders(store):
    short = tiny.pack({"seed": 0}, borders=(1, 2))
    longer = short.model_copy(update={"borders": (1, 2, 5)})
    append_entry(store, 1, [short], FOOTER)
    append_entry(store, 2, [longer], FOOTER)
    plan = read_plan(store)
    assert plan.packs[short.pack_id].borders == (1, 2, 5)
    assert len(plan.trials) == 1


def test_the_newest_entry_has_the_settings(store):
    """What is no identity, a number of epochs or of nll samples, may change from entry to entry."""
    old, new = (tiny.pack({"measure__nll_samples": n}, borders=borders) for n, borders in ((5, (1,)), (50, (1, 2))))
    assert old.pack_id == new.pack_id
    append_entry(store, 1, [old], FOOTER)
    append_entry(store, 2, [new], FOOTER)
    (trial,) = read_plan(store).trials.values()
    assert trial.settings.measure.nll_samples == 50


def test_entries_are_read_in_the_order_of_their_numbers(store):
    packs = [tiny.pack({"seed": 0}, borders=tuple(range(1, n + 1))) for n in range(1, 13)]
    for number in sorted(range(1, 13), key=str):  # 1, 10, 11, 12, 2, ...
        append_entry(store, number, [packs[number - 1]], FOOTER)
    assert read_plan(store).live_packs() == [packs[-1]]


@pytest.mark.parametrize("hidden", [1, 2, 3])
def test_an_entry_that_a_listing_does_not_show_yet_is_read(hidden):
    """A folder on a network shows new files late, and one that grows while it is listed may show a later file alone."""

    class Late(MemoryStore):
        def list(self, folder: str, beginning: str = "") -> list[str]:
            return [key for key in super().list(folder, beginning) if key != plan_key(hidden)]

    store = Late()
    for number in (1, 2, 3):
        append_entry(store, number, [tiny.pack({"seed": number})], FOOTER)
    assert read_plan(store).entries == 3


def test_a_missing_entry_is_named(store):
    for number in (1, 3):
        append_entry(store, number, [tiny.pack({"seed": number})], FOOTER)
    with pytest.raises(RecordError, match=r"plan/000002\.parquet: is missing, although plan/000003\.parquet exists"):
        read_plan(store)
    assert read_plan(store, {plan_key(2)}).entries == 2, "whoever knows that it is lost reads the others"


def test_factors_gather_over_entries(store):
    for number, levels in enumerate(({"seed": [0, 1], "k": [1]}, {"seed": [2, 0], "n_z": [2, 5]}), 1):
        append_entry(store, number, [tiny.pack({"seed": number})], FOOTER | {"factors": levels})
    assert read_plan(store).factors() == {"seed": [0, 1, 2], "k": [1], "n_z": [2, 5]}


def test_a_row_has_every_setting(store):
    pack = tiny.pack({"seed": 3})
    append_entry(store, 1, [pack], FOOTER)
    table = decode(store.read(plan_key(1)), "plan")
    assert table.column_names == PLAN.names
    (row,) = table.to_pylist()
    settings = flatten(pack.trials[0].settings)
    assert {name: tuple(row[name]) if isinstance(row[name], list) else row[name] for name in settings} == settings
    assert row["layer_sizes"] == [3]
    assert row["borders"] == [1, 2, 4]


@pytest.mark.parametrize("name", ["notes.txt", "000001 (copy).parquet", "1.parquet", "0000001.parquet", "000000.parquet"])
def test_other_files_in_the_folder_are_named(store, name):
    append_entry(store, 1, [tiny.pack({})], FOOTER)
    store.create(f"plan/{name}", store.read(plan_key(1)))
    with pytest.raises(RecordError, match="has a name that is not valid in plan/") as caught:
        read_plan(store)
    assert caught.value.path == f"plan/{name}"
    assert read_plan(store, {f"plan/{name}"}).entries == 1


def test_a_damaged_entry_is_named(store):
    append_entry(store, 1, [tiny.pack({})], FOOTER)
    raw = store.read(plan_key(1))
    store.create(plan_key(2), raw[:-3])
    with pytest.raises(RecordError, match=plan_key(2)):
        read_plan(store)


def test_a_plan_is_made_of_packs(store):
    append_entry(store, 1, [tiny.pack({})], FOOTER)
    assert all(isinstance(pack, Pack) for pack in read_plan(store).packs.values())


def rewrite(store, change):
    """An entry as another version would have written it, with its own columns."""
    append_entry(store, 1, [tiny.pack({"k": 1})], FOOTER)
    table = change(decode(store.read(plan_key(1)), "plan"))
    store.delete(plan_key(1))
    assert store.create(plan_key(1), encode(table, {"kind": "plan", **FOOTER}))


def test_a_setting_that_came_later_is_at_its_default(store):
    rewrite(store, lambda table: table.drop_columns(["objective.kl", "training.epsilon_mode"]))
    (found,) = read_plan(store).live_packs()
    assert found == tiny.pack({"k": 1})


def test_a_setting_of_a_later_version_is_refused_by_name(store):
    rewrite(store, lambda table: table.append_column("training.momentum", pa.array([0.5])))
    with pytest.raises(
        VersionError, match=r"plan/000001\.parquet: has settings .*training\.momentum.*use the program that wrote it"
    ):
        read_plan(store)
