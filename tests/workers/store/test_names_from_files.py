"""Names that come out of files: none that is not a name of this study is read, deleted or made part of a path."""

import re
from functools import cache

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from study.doctor.stored_files import examine
from study.drive.checkpoint_cleanup import Pruning
from tests.breaking.hostile_names import PIECES
from tests.workers import tiny
from workers.contract.columns import TRIALS
from workers.contract.errors import RecordError
from workers.store import keys
from workers.store.ends import checkpoint_named_by, end_rows, prune_checkpoints, statuses_of_pack
from workers.store.memory import MemoryStore
from workers.store.parquet import decode_with_footer, encode
from workers.store.plan_log import Plan, append_entry, lineage_of, read_plan
from workers.train.commit import newest_state

PACK = tiny.pack({"seed": 0}, borders=(1, 2, 4))

OTHER = "f" * 16

NEARLY = (
    keys.checkpoint_key(OTHER, 4, "0"),
    keys.checkpoint_key(PACK.pack_id, 2, "0"),
    keys.checkpoint_key(PACK.pack_id, 5, "0"),
    keys.checkpoint_key(PACK.pack_id, 4, "0") + "\n",
    keys.checkpoint_key(PACK.pack_id, 4, "0").replace("-000004-", "-00000\u0664-"),
    "checkpoints/../" + keys.checkpoint_key(PACK.pack_id, 4, "0"),
    "../" + keys.checkpoint_key(PACK.pack_id, 4, "0"),
    keys.closed_key(PACK.pack_id),
    keys.plan_key(1),
    keys.epochs_key(PACK.pack_id, 0, 1),
    "/dev/zero",
    "/some/file",
    "../x",
)
"""Names that look like the right one, or that would be harmful."""

KINDS = (
    keys.PLAN_KEY,
    keys.EPOCHS_KEY,
    keys.TRIALS_KEY,
    keys.WEIGHTS_KEY,
    keys.CHECKPOINT_KEY,
    keys.CLOSED_KEY,
    keys.STOP_KEY,
    keys.LEASE_KEY,
)

hostile = st.one_of(
    st.sampled_from(NEARLY),
    st.sampled_from([piece for piece in PIECES if piece]),
    st.text(min_size=1),
    st.integers(),
    st.lists(st.text(), max_size=2),
)


class Watched(MemoryStore):
    """Remembers what is asked of it that is no key."""

    def __init__(self) -> None:
        super().__init__()
        self.strange: list[object] = []

    def _look(self, key: object) -> None:
        if not (isinstance(key, str) and any(grammar.fullmatch(key) for grammar in KINDS)):
            self.strange.append(key)
            raise FileNotFoundError(key)

    def read(self, key: str) -> bytes:
        self._look(key)
        return super().read(key)

    def delete(self, key: str) -> None:
        self._look(key)
        super().delete(key)


@cache
def trained() -> dict[str, bytes]:
    store = MemoryStore()
    assert tiny.run(PACK, store).status == "done"
    return tiny.everything(store)


def naming(name: object) -> tuple[Watched, str]:
    """A study whose newest rows name something else as their checkpoint, with right checksums; and the key of these rows."""
    store = Watched()
    key = keys.epochs_key(PACK.pack_id, 3, 4)
    for each, raw in trained().items():
        if each == key:
            table, footer = decode_with_footer(raw, key)
            raw = encode(table, {**footer, "checkpoint": name})
        if not each.startswith("trials/"):
            store.create(each, raw)
    return store, key


@tiny.LAWS
@given(hostile)
def test_a_checkpoint_of_another_name_is_damage_and_is_never_touched(name):
    store, key = naming(name)
    before = tiny.everything(store)
    for ask in (
        lambda: newest_state(store, PACK, (), tiny.CPU),
        lambda: tiny.run(PACK, store),
        lambda: checkpoint_named_by(store, key),
        lambda: prune_checkpoints(store, PACK.pack_id, 1),
        lambda: Pruning(store, {PACK.pack_id: PACK}).committed(PACK.pack_id, 4),
    ):
        with pytest.raises(RecordError) as caught:
            ask()
        assert caught.value.path == key
        assert caught.value.exit_code == 3
        assert str(caught.value).isprintable()
    # A name that is no text is found earlier, as a footer with an entry of the wrong type.
    faults = [fault.key for fault in examine(store).faults if "as its checkpoint" in fault.text or type(name) is not str]
    assert faults[:1] == [key]
    assert store.strange == []
    assert tiny.everything(store) == before


def test_its_own_checkpoint_is_none():
    store, key = naming(keys.checkpoint_key(PACK.pack_id, 4, "0"))
    assert checkpoint_named_by(store, key) == keys.checkpoint_key(PACK.pack_id, 4, "0")


@pytest.mark.parametrize("name", ["/some/file", "../x", keys.checkpoint_key(OTHER, 4, "0")])
def test_a_driver_that_believes_every_name_would_delete_it(name, monkeypatch):
    """The control: two borders later the file of that name is gone."""
    monkeypatch.setattr("workers.store.ends.named_checkpoint", lambda footer, key: footer["checkpoint"])
    store, _ = naming(name)
    longer = PACK.model_copy(update={"borders": (1, 2, 4, 5, 6)})
    pruning = Pruning(store, {PACK.pack_id: longer})
    pruning.committed(PACK.pack_id, 4)
    asked = []
    store.delete = asked.append
    for first, border in ((5, 5), (6, 6)):
        footer = {"kind": "epochs", "checkpoint": keys.checkpoint_key(PACK.pack_id, border, "1")}
        table = decode_with_footer(trained()[keys.epochs_key(PACK.pack_id, 3, 4)], "rows")[0]
        store.create(keys.epochs_key(PACK.pack_id, first, border), encode(table, footer))
        pruning.committed(PACK.pack_id, border)
    assert name in asked


@tiny.LAWS
@given(hostile)
def test_no_key_is_built_of_something_else_than_an_id(name):
    assume(not (isinstance(name, str) and keys.ID.fullmatch(name)))
    for build in (
        lambda: keys.epochs_key(name, 0, 1),
        lambda: keys.trials_key(name, 1),
        lambda: keys.weights_key(name, 1),
        lambda: keys.checkpoint_key(name, 1, "0"),
        lambda: keys.closed_key(name),
        lambda: keys.stop_key("run", name or "x"),
    ):
        with pytest.raises(RecordError, match="is not the name of a file of a study"):
            build()
    if not re.fullmatch("[0-9A-Za-z]{1,64}", str(name)):
        for build in (lambda: keys.stop_key(name), lambda: keys.lease_key(1, name)):
            with pytest.raises(RecordError):
                build()


@tiny.LAWS
@given(hostile, st.sampled_from(["trial_id", "pack_id", "parent_pack", "fingerprint"]))
def test_an_entry_of_the_plan_with_another_name_is_damage(name, column):
    name = str(name)
    assume(name.isascii() and not re.fullmatch("[0-9a-f]{16}|[0-9a-f]{64}", name))
    store = MemoryStore()
    append_entry(store, 1, [PACK], {"study": "s", "factors": {}})
    table, footer = decode_with_footer(store.read(keys.plan_key(1)), "plan")
    place = table.schema.get_field_index(column)
    other = table.set_column(place, table.schema.field(place), pa.array([name] * len(table), pa.string()))
    crafted = MemoryStore()
    crafted.create(keys.plan_key(1), encode(other, footer))
    with pytest.raises(RecordError, match="it is no list of packs and trials") as caught:
        read_plan(crafted)
    assert (caught.value.path, caught.value.exit_code) == (keys.plan_key(1), 3)
    assert str(caught.value).isprintable()


def test_a_pack_that_continues_no_pack_or_itself_is_damage():
    child = PACK.model_copy(update={"parent": OTHER})
    for packs in ({PACK.pack_id: child}, {PACK.pack_id: child, OTHER: PACK.model_copy(update={"parent": OTHER})}):
        with pytest.raises(RecordError, match=f"pack {OTHER} which pack .* could continue"):
            lineage_of(child, Plan(1, {}, {}, packs, ()))


@pytest.mark.parametrize("column", ["trial_id", "pack_id"])
@pytest.mark.parametrize("name", ["../x", "/dev/zero", "x\x1b[2J", OTHER.upper()])
def test_rows_of_an_end_with_another_name_are_damage(column, name):
    key = keys.trials_key(PACK.pack_id, 4)
    table, footer = decode_with_footer(trained()[key], key)
    place = TRIALS.get_field_index(column)
    store = MemoryStore()
    store.create(key, encode(table.set_column(place, TRIALS.field(place), pa.array([name], pa.string())), footer))
    for ask in (lambda: end_rows(store), lambda: statuses_of_pack(store, PACK.pack_id, 4)):
        with pytest.raises(RecordError, match="a row of another pack, or of something that is no trial") as caught:
            ask()
        assert caught.value.path == key
    unreadable: list[str] = []
    end_rows(store, unreadable)
    assert unreadable == [key]


@pytest.mark.parametrize("name", ["-00000\u0661.parquet", "-000001.parquet\n", "-1.parquet", "-00000000001.parquet"])
def test_other_digits_a_line_after_it_and_more_digits_are_no_name(name):
    assert keys.TRIALS_KEY.fullmatch(f"trials/{PACK.pack_id}-000001.parquet")
    assert not keys.TRIALS_KEY.fullmatch(f"trials/{PACK.pack_id}{name}")
