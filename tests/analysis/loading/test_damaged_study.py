"""What cannot be read is refused, and its file named."""

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from analysis.loading.load import load
from analysis.loading.study import LoadError
from analysis.loading.vectors import VECTORS
from tests.analysis.loading.stored_files import all_lists, flip, flip_page, twice
from tests.analysis.planted import SMALL, flat_activity, flat_bound, row_of, write
from workers.contract.columns import EPOCHS, SCHEMA_VERSION
from workers.contract.errors import RecordError, VersionError
from workers.store.keys import epochs_key
from workers.store.parquet import decode_with_footer, encode


def test_no_folder_no_study_and_a_file(tmp_path):
    with pytest.raises(LoadError, match="no such folder; give the folder of a study"):
        load(tmp_path / "nowhere")
    with pytest.raises(LoadError, match=r"no study here.*start one with"):
        load(tmp_path)
    (tmp_path / "grid.yaml").write_text("")
    with pytest.raises(LoadError, match="is a file"):
        load(tmp_path / "grid.yaml")
    write(tmp_path / "small")
    with pytest.raises(LoadError, match=r"did you mean .*small\?"):
        load(tmp_path)


@pytest.mark.parametrize("is_whole", [False, True], ids=["vectors when asked for", "vectors at once"])
@pytest.mark.parametrize("folder", ["plan", "epochs", "trials"])
@pytest.mark.parametrize("place", [0.01, 0.1, 0.3, 0.5, 0.7, 0.97])
def test_a_flipped_byte_changes_nothing_that_is_read_or_is_found_and_its_file_named(root, folder, place, is_whole):
    write(root)
    whole = load(root)
    wanted = [all_lists(whole, name) for name in VECTORS]
    file = sorted((root / folder).iterdir())[-1]
    flip(file, place)
    # A byte that carries no content (statistics, padding) may change nothing that is read.
    try:
        study = load(root, vectors=is_whole)
        found = [all_lists(study, name) for name in VECTORS]
    except RecordError as error:
        named = error
    else:
        pd.testing.assert_frame_equal(study.epochs, whole.epochs)
        pd.testing.assert_frame_equal(study.trials, whole.trials)
        assert found == wanted
        return
    assert named.path == str(file)
    assert str(named).startswith(f"{file}: damaged")


@pytest.mark.parametrize(
    ("folder", "column"), [("plan", "trial_id"), ("epochs", "test_bound"), ("epochs", "seconds"), ("trials", "nll")]
)
def test_a_flipped_byte_of_a_page_is_found(root, folder, column):
    write(root)
    file = sorted((root / folder).iterdir())[-1]
    flip_page(file, column)
    with pytest.raises(RecordError, match=f"{file.name}: damaged"):
        load(root)


@pytest.mark.parametrize("column", [*VECTORS, "k", "schema_version"])
def test_what_load_does_not_read_is_found_where_everything_is_read(root, column):
    write(root)
    file = sorted((root / "epochs").iterdir())[-1]
    flip_page(file, column)
    assert len(load(root).epochs) == 2 * 3 * 5
    with pytest.raises(RecordError, match=f"{file.name}: damaged"):
        load(root, vectors=True)


def test_a_file_cut_short_is_named(root):
    write(root)
    file = next((root / "epochs").iterdir())
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(RecordError, match=rf"{file.name}: damaged.*restore it from a copy"):
        load(root)


def test_another_schema_version_is_refused_by_name(root):
    write(root)
    file = next((root / "epochs").iterdir())
    table = pq.read_table(file)
    text = table.schema.metadata[b"study"].replace(f'"schema_version": {SCHEMA_VERSION}'.encode(), b'"schema_version": 7')
    pq.write_table(table.replace_schema_metadata({b"study": text}), file, store_schema=True)
    with pytest.raises(VersionError, match=rf"{file.name}: has schema_version 7, but this program reads {SCHEMA_VERSION}"):
        load(root)


def stored_again(store, key, name, change=lambda table: table):
    """The rows of a file under another name, as if a worker had written them there."""
    table, footer = decode_with_footer(store.read(key), key)
    assert store.create(name, encode(change(table), footer))


def test_rows_stored_twice_lost_or_never_planned_are_refused(root):
    store = write(root)
    files = sorted((root / "epochs").iterdir())
    pack_id = files[0].name.partition("-")[0]
    again = epochs_key(pack_id, 1, 2)
    stored_again(store, f"epochs/{files[0].name}", again, lambda table: table.filter(pc.field("epoch") > 0))
    with pytest.raises(RecordError, match="has no border"):
        load(root)
    (root / again).unlink()
    whole = files[0].read_bytes()
    files[0].unlink()
    with pytest.raises(RecordError, match=r"2 of 5 epochs of trial .* are left"):
        load(root)
    files[0].write_bytes(whole)
    row = row_of(load_trial(), {**{k: v[0] for k, v in SMALL.items()}}, 0, flat_bound, flat_activity, 0.1)
    foreign = pa.Table.from_pylist([{**row, "trial_id": "f" * 16}], schema=EPOCHS)
    store.create(epochs_key("f" * 16, 0, 0), encode(foreign, {"kind": "epochs", "pack_id": "f" * 16}))
    with pytest.raises(RecordError, match="no entry of the plan names"):
        load(root)


def test_rows_stored_twice_are_refused(root):
    copied = twice(root)
    with pytest.raises(RecordError, match=rf"epoch \d of trial .* is stored twice .*{copied}|{copied}.*stored twice"):
        load(root)


def test_an_unfinished_trial_with_a_gap_is_refused(root):
    write(root, done=lambda s: 3, epochs=6, borders=6)
    files = sorted((root / "epochs").iterdir())
    assert len(load(root).epochs) == 2 * 3 * 4
    files[1].unlink()
    with pytest.raises(RecordError, match=r"3 of 4 epochs of trial .* are left"):
        load(root)
    assert len(load(root, skip_bad=True).missing) == 6


def load_trial():
    from tests.analysis.planted import FINGERPRINT
    from workers.contract.settings import Settings
    from workers.contract.trial import trial_of

    return trial_of(Settings(), FINGERPRINT)


def test_a_file_in_the_wrong_folder_is_named(root):
    write(root)
    file = next((root / "trials").iterdir())
    pack_id = file.name.partition("-")[0]
    file.rename(root / epochs_key(pack_id, 3, 4).replace(pack_id, "f" * 16))
    with pytest.raises(RecordError, match=r"has no column epoch \(kind trials\)"):
        load(root)


def test_a_row_of_no_trial_is_refused(root):
    store = write(root)
    key = store.list("epochs")[0]
    table, footer = decode_with_footer(store.read(key), key)
    (root / key).unlink()
    none = pa.array([None, *table["trial_id"].to_pylist()[1:]], pa.string())
    store.create(key, encode(table.set_column(1, "trial_id", none), footer))
    with pytest.raises(RecordError, match="has a row without a trial or an epoch"):
        load(root)
