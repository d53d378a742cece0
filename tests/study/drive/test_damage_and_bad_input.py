"""Damaged files, conflicting numbers and bad input end in a sentence and an exit code."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.study.drive.tiny_study import command
from tests.study.small_study import contents_of, files_in
from workers.store.keys import EPOCHS_FOLDER, PLAN_FOLDER, TRIALS_FOLDER
from workers.store.open import open_store
from workers.store.parquet import decode, encode, read_footer

pytestmark = pytest.mark.usefixtures("beside_a_tiny_grid")


@pytest.mark.parametrize("folder", [PLAN_FOLDER, TRIALS_FOLDER, EPOCHS_FOLDER])
def test_a_damaged_file_is_named_and_left_alone(capsys, folder):
    assert command() == 0
    if folder == EPOCHS_FOLDER:  # read when a pack goes on
        shutil.rmtree("results/tiny/trials")
    damaged = sorted(Path("results/tiny", folder).iterdir())[0]
    damaged.write_bytes(damaged.read_bytes()[:-30])
    before = damaged.read_bytes()
    capsys.readouterr()
    assert command() == 3
    said = capsys.readouterr()
    assert f"{folder}/{damaged.name}: damaged" in said.out + said.err
    assert "restore it from a copy, or move it away" in said.out + said.err
    assert "Traceback" not in said.err or folder == EPOCHS_FOLDER
    assert damaged.read_bytes() == before


@pytest.mark.parametrize("epochs", [2, 3], ids=["done", "made longer"])
@pytest.mark.parametrize("which", ["-000000-000001", "-000002-000002"], ids=["before another", "the last"])
def test_a_lost_rows_file_is_named_and_nothing_is_trained(capsys, which, epochs):
    assert command() == 0
    lost = max(path for path in Path("results/tiny", EPOCHS_FOLDER).iterdir() if which in path.name)
    lost.unlink()
    before = files_in(Path("results"))
    capsys.readouterr()
    code = command("--set", f"training.epochs={epochs}")
    said = capsys.readouterr()
    if which == "-000002-000002" and epochs == 3:
        # The newest border of a pack that goes on is computed again, with the same numbers.
        assert code == 0
        assert f"{EPOCHS_FOLDER}/{lost.name}" in contents_of(Path("results/tiny"))
        return
    assert code == 3
    assert f"{EPOCHS_FOLDER}/{lost.name}: is missing, although pack {lost.name[:16]} has stored what follows it" in said.err
    assert "restore it from a copy" in said.err
    assert "completed" not in said.out
    assert files_in(Path("results")) == before


def test_a_lost_rows_file_of_a_pack_that_others_continue_is_named(capsys):
    assert command() == 0
    assert command("--only", "seed=0", "--set", "training.epochs=4") == 0
    ended = {
        path.name[:16] for path in Path("results/tiny", TRIALS_FOLDER).iterdir() if path.name.endswith("-000002.parquet")
    }
    lost = max(path for path in Path("results/tiny", EPOCHS_FOLDER).iterdir() if path.name[:16] in ended)
    lost.unlink()
    capsys.readouterr()
    assert command("--only", "seed=0", "--set", "training.epochs=4") == 3
    assert f"{EPOCHS_FOLDER}/{lost.name}: is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "is_copy", "sentence"),
    [
        ("000002.parquet", False, "plan/000001.parquet: is missing, although plan/000002.parquet exists"),
        ("000001 (copy).parquet", True, "plan/000001 (copy).parquet: has a name that is not valid in plan/"),
        ("000003.parquet", True, "plan/000002.parquet: is missing, although plan/000003.parquet exists"),
    ],
    ids=["renamed", "copied beside it", "copied to another number"],
)
def test_a_plan_whose_entries_are_not_numbered_from_1_is_named_and_nothing_is_written(capsys, name, is_copy, sentence):
    """A driver that counts files would write an entry under a number that is taken, again and again."""
    assert command() == 0
    entry = Path("results/tiny/plan/000001.parquet")
    (shutil.copy if is_copy else Path.rename)(entry, entry.with_name(name))
    before = files_in(Path("results"))
    capsys.readouterr()
    for words in ((), ("--set", "training.epochs=3")):
        assert command(*words) == 3
        assert sentence in capsys.readouterr().err
    assert files_in(Path("results")) == before


def plant(change: Callable[[pd.DataFrame], None]) -> str:
    """A study of one pack whose first border holds changed rows, written by somebody with the same provenance."""
    words = ["--set", "k=1", "--set", "seed=0"]
    assert command(*words, "--out", "first") == 0
    first, second = open_store("first/tiny"), open_store("second/tiny")
    key = first.list(EPOCHS_FOLDER)[0]
    (plan,) = first.list(PLAN_FOLDER)
    table = decode(first.read(key), key)
    frame = table.to_pandas()
    change(frame)
    changed = table.set_column(
        table.schema.get_field_index("test_bound"), table.schema.field("test_bound"), [frame["test_bound"].tolist()]
    )
    second.create(plan, first.read(plan))
    second.create(key, encode(changed, read_footer(first.read(key), key)))
    return key


def test_other_numbers_of_the_same_epochs_are_a_conflict(capsys):
    key = plant(lambda frame: frame.__setitem__("test_bound", frame["test_bound"] + 1))
    before = files_in(Path("second"))
    capsys.readouterr()
    assert command("--set", "k=1", "--set", "seed=0", "--out", "second") == 4
    said = capsys.readouterr().out
    assert f"{key}: contains other numbers than this run computed" in said
    assert "run the study into another --out folder, then compare them" in said
    assert "continues from its last border" not in said, "it would end the same way"
    assert files_in(Path("second")) == before


def test_the_same_numbers_of_the_same_epochs_are_none(capsys):
    plant(lambda frame: None)
    assert command("--set", "k=1", "--set", "seed=0", "--out", "second") == 0
    assert contents_of(Path("first/tiny")) == contents_of(Path("second/tiny"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--set", "data={name: npz, path: none.npz}"], "data.path: none.npz is not a file"),
        (["--set", "data={name: npz, path: tiny.yaml}"], "tiny.yaml is not an .npz file"),
        (["--set", "data.n_valid=1437"], "data.n_valid: 1437 leaves none of the 1437 images"),
        (
            ["--set", "data={}", "--set", "factors.data.n_valid=[0, 2000]"],
            "data.n_valid: 2000 leaves none of the 1437 images",
        ),
        (["--only", "k=9"], "--only k=9: matches no trial"),
        (["--set", "exclude=[{k: [1, 2]}]"], "exclude: leaves no cell"),
        (["--out", "taken"], "run.out: taken/tiny is a file; name a folder"),
        (["--out", "gs://bucket/x"], "write a folder or s3://bucket/prefix"),
    ],
    ids=["no npz", "damaged npz", "no image", "no image for a level", "only", "exclude", "file", "object store"],
)
def test_bad_input_ends_with_a_sentence_before_anything_is_written(capsys, words, sentence):
    Path("taken").mkdir()
    Path("taken/tiny").touch()
    assert command(*words) == (3 if "npz file" in sentence else 2)
    said = capsys.readouterr()
    assert sentence in said.err
    assert "Traceback" not in said.err
    assert not Path("results").exists()


@pytest.mark.parametrize("out", ["tiny.yaml", "tiny.yaml/below", "/dev/null/x"])
def test_results_that_cannot_be_written_end_with_a_sentence(capsys, out):
    assert command("--out", out) == 2
    assert f"run.out: {out}" in capsys.readouterr().err


def test_other_measurements_are_refused(capsys):
    assert command() == 0
    before = files_in(Path("results"))
    assert command("--set", "measure.nll_samples=6") == 2
    assert "measure.nll_samples: got 6, but study tiny was planned with 5" in capsys.readouterr().err
    assert files_in(Path("results")) == before


def test_a_warmup_without_its_end_is_said(capsys):
    assert command("--plan", "--set", "warmup=[0, 8]") == 0
    assert "note: warmup 8 is longer than training.epochs 2: beta ends at 0.12" in capsys.readouterr().out
