"""Files that are whole and stand where they do not belong, or that cannot be read at all."""

import pytest

from analysis.loading.load import load
from tests.analysis.planted import SMALL, write
from tests.workers import tiny
from workers.contract.errors import RecordError
from workers.store.keys import epochs_key
from workers.store.memory import MemoryStore
from workers.store.placement import keys_at_borders, refuse_lost_rows


@pytest.fixture
def root(tmp_path):
    return tmp_path / "small"


def named(root, pattern):
    return sorted(root.glob(pattern))


def other_pack(name, packs):
    return name.replace(packs[0], packs[1])


MISPLACED = {
    "rows of another border": ("epochs", lambda n, packs: n.replace("-000002", "-000004"), "has no border"),
    "rows from another epoch": (
        "epochs",
        lambda n, packs: n.replace("-000000-", "-000001-"),
        "contains epochs 0 to 2, which does not match its name",
    ),
    "rows to an earlier epoch": (
        "epochs",
        lambda n, packs: n.replace("-000002", "-000001"),
        "contains epochs 0 to 2, which does not match its name",
    ),
    "rows of another pack": ("epochs", other_pack, "belongs to pack"),
    "rows of no pack": ("epochs", lambda n, packs: "f" * 16 + n[16:], "belongs to pack"),
    "rows by no such name": ("epochs", lambda n, packs: f"copy of {n}", "has a name that is not valid in epochs/"),
    "rows with another ending": ("epochs", lambda n, packs: n + ".bak", "has a name that is not valid in epochs/"),
    "rows with more zeros": (
        "epochs",
        lambda n, packs: n.replace("-000002", "-0000002"),
        "has a name that is not valid in epochs/",
    ),
    "ends of another pack": ("trials", other_pack, "belongs to pack"),
    "ends of another epoch": (
        "trials",
        lambda n, packs: n.replace("-000004", "-000005"),
        "contains epoch 4, which does not match its name",
    ),
    "ends with another ending": (
        "trials",
        lambda n, packs: n.replace("parquet", "PARQUET"),
        "has a name that is not valid in trials/",
    ),
    "an entry by no such name": ("plan", lambda n, packs: f"{n}~", "has a name that is not valid in plan/"),
    "an entry by another number": ("plan", lambda n, packs: "000007.parquet", "is not a new entry|is missing, although"),
}


@pytest.mark.parametrize("is_copy", [True, False], ids=["copied", "renamed"])
@pytest.mark.parametrize(("folder", "rename", "words"), MISPLACED.values(), ids=MISPLACED)
def test_a_whole_file_under_a_wrong_name_is_refused_and_named(root, folder, rename, words, is_copy):
    write(root)
    write(root, {**SMALL, "k": [10]}, entry=2)
    whole = load(root)
    packs = list(dict.fromkeys(file.name.partition("-")[0] for file in named(root, "trials/*")))
    file = named(root, f"{folder}/*")[0]
    target = file.with_name(rename(file.name, packs))
    raw = file.read_bytes()
    if not is_copy:
        file.unlink()
    target.write_bytes(raw)
    with pytest.raises(RecordError, match=words) as refusal:
        load(root)
    wanted = {str(target), str(root / "plan" / "000001.parquet"), str(root / "plan" / "000003.parquet")}
    assert refusal.value.path in (wanted if folder == "plan" else {str(target)})
    lax = load(root, skip_bad=True)
    assert lax.left_out
    kept = lax.epochs.merge(whole.epochs[["trial_id", "epoch", "test_bound"]], on=["trial_id", "epoch"], suffixes=("", "_"))
    assert (kept["test_bound"] == kept["test_bound_"]).all()
    assert len(kept) == len(lax.epochs) > 0


@pytest.mark.parametrize("folder", ["epochs", "trials"])
def test_files_that_changed_places_are_refused(root, folder):
    write(root)
    one, other = named(root, f"{folder}/*")[:: 2 if folder == "epochs" else 1][:2]
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    with pytest.raises(RecordError, match="belongs to pack"):
        load(root)


def test_entries_of_the_plan_that_changed_places_are_refused(root):
    write(root, epochs=4)
    write(root, epochs=8, done=lambda s: 4, borders=4, entry=2)
    assert set(load(root).trials["epochs_goal"]) == {8}
    one, other = named(root, "plan/*")
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    with pytest.raises(RecordError, match=r"plan/000002\.parquet: is not a new entry: it adds no border to pack"):
        load(root)
    assert set(load(root, skip_bad=True).trials["epochs_goal"]) == {8}


def test_a_lost_entry_of_the_plan_is_named(root):
    for entry, k in ((1, 1), (2, 5), (3, 10)):
        write(root, {**SMALL, "k": [k]}, entry=entry)
    named(root, "plan/*")[1].unlink()
    with pytest.raises(RecordError, match=r"plan/000002\.parquet: is missing, although plan/000003\.parquet exists"):
        load(root)
    study = load(root, skip_bad=True)
    assert study.factors["k"] == (1, 10)
    assert "plan/000002.parquet" in study.left_out


def test_an_entry_of_another_study_is_refused(root, tmp_path):
    write(root)
    write(tmp_path / "other", {**SMALL, "k": [10]})
    (root / "plan" / "000002.parquet").write_bytes((tmp_path / "other" / "plan" / "000001.parquet").read_bytes())
    with pytest.raises(RecordError, match="is an entry of study other, not of small"):
        load(root)


@pytest.mark.parametrize("folder", ["plan", "epochs", "trials"])
def test_what_cannot_be_read_is_named(root, folder):
    write(root)
    write(root, {**SMALL, "k": [10]}, entry=2)
    file = named(root, f"{folder}/*")[-1]
    file.unlink()
    file.mkdir()
    with pytest.raises(RecordError, match="cannot be read") as refusal:
        load(root)
    assert refusal.value.path == str(file)
    assert f"{folder}/{file.name}" in load(root, skip_bad=True).left_out


def test_a_file_in_place_of_a_folder_is_named(root):
    write(root)
    for file in named(root, "trials/*"):
        file.unlink()
    (root / "trials").rmdir()
    (root / "trials").write_text("")
    with pytest.raises(RecordError, match=r"small/trials: cannot be read"):
        load(root)
    assert len(load(root, skip_bad=True).missing) == 6


class Behind(MemoryStore):
    """A store whose listing does not show a key that is there, as a listing may that is made while others write."""

    def __init__(self, hidden: str) -> None:
        super().__init__()
        self.hidden = hidden

    def list(self, folder: str, beginning: str = "") -> list[str]:
        return [key for key in super().list(folder, beginning) if key != self.hidden]


def line_of_packs():
    """A pack that was split after epoch 4, and a child that has stored both of its borders."""
    parent = tiny.pack({"seed": 0}, {"seed": 1}, borders=(2, 4, 6))
    child = tiny.pack_of(parent.trials[:1], (6, 8), parent, 4)
    return child, parent, [*keys_at_borders(parent, 4), *keys_at_borders(child, 8)]


def test_a_line_of_packs_stores_its_borders_from_epoch_0_on():
    child, parent, keys = line_of_packs()
    of_parent, of_child = parent.pack_id, child.pack_id
    assert keys == [
        epochs_key(of_parent, 0, 2),
        epochs_key(of_parent, 3, 4),
        epochs_key(of_child, 5, 6),
        epochs_key(of_child, 7, 8),
    ]


@pytest.mark.parametrize("ended_at", [None, 4])
def test_a_pack_that_begins_at_its_own_end_stores_no_rows(ended_at):
    """Its parent trained all epochs and died while the end was measured."""
    parent = tiny.pack({"seed": 0}, {"seed": 1}, borders=(2, 4))
    child = tiny.pack_of(parent.trials[:1], (4,), parent, 4)
    store = MemoryStore()
    for key in keys_at_borders(parent, 4):
        store.create(key, b"rows")
    assert list(keys_at_borders(child, 4)) == []
    refuse_lost_rows(store, (child, parent), ended_at=ended_at)


@pytest.mark.parametrize("lost", range(4))
@pytest.mark.parametrize("ended_at", [None, 8])
def test_what_is_missing_in_a_line_of_packs_is_named(lost, ended_at):
    child, parent, keys = line_of_packs()
    store = MemoryStore()
    for key in keys:
        store.create(key, b"rows")
    refuse_lost_rows(store, (child, parent))
    store.delete(keys[lost])
    if lost == 3 and ended_at is None:
        # The newest border may as well not have been reached.
        refuse_lost_rows(store, (child, parent))
        return
    with pytest.raises(RecordError, match="is missing, although pack") as caught:
        refuse_lost_rows(store, (child, parent), ended_at=ended_at)
    assert caught.value.path == keys[lost]
    assert caught.value.exit_code == 3


def test_what_a_listing_does_not_show_yet_is_not_lost():
    child, parent, keys = line_of_packs()
    store = Behind(keys[0])
    for key in keys:
        store.create(key, b"rows")
    assert keys[0] not in store.list("epochs")
    refuse_lost_rows(store, (child, parent))


def test_rows_at_no_border_of_their_pack_are_named():
    child, parent, keys = line_of_packs()
    store = MemoryStore()
    for key in (*keys, epochs_key(parent.pack_id, 3, 3)):
        store.create(key, b"rows")
    with pytest.raises(RecordError, match=f"begins or ends where pack {parent.pack_id} has no border"):
        refuse_lost_rows(store, (child, parent))
    # What an ancestor stored after its child began is not asked for, whatever it is.
    store.delete(epochs_key(parent.pack_id, 3, 3))
    store.create(epochs_key(parent.pack_id, 5, 7), b"rows")
    refuse_lost_rows(store, (child, parent))
