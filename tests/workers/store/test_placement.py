"""Files that are whole and stand where they do not belong, or that cannot be read at all."""

import pytest

from analysis.loading.load import load
from tests.analysis.planted import SMALL, write
from workers.contract.errors import RecordError


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
