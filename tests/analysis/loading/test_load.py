import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from analysis.averages.active_units import active_units, count_active
from analysis.averages.average import average
from analysis.loading import vectors
from analysis.loading.load import load
from analysis.loading.study import LoadError
from analysis.loading.vectors import VECTORS
from tests.analysis.planted import SMALL, flat_activity, flat_bound, row_of, write
from workers.contract.columns import EPOCHS
from workers.contract.errors import RecordError, VersionError
from workers.store.keys import epochs_key
from workers.store.parquet import decode_with_footer, encode

SCALARS = [name for name in EPOCHS.names if name not in VECTORS]


@pytest.fixture
def root(tmp_path):
    return tmp_path / "small"


def all_lists(study, column, trial_ids=None):
    """The vectors of rows by trial and epoch."""
    rows, lengths, values = study.vectors(trial_ids, column)
    lists = np.split(values, np.cumsum(lengths)[:-1]) if len(rows) else []
    return {key: list(one) for key, one in zip(rows.itertuples(index=False, name=None), lists, strict=True)}


def test_every_row_comes_back_as_a_plain_reader_sees_it(root):
    write(root)
    study = load(str(root))
    plain = pd.read_parquet(root / "epochs")
    keys = ["trial_id", "epoch"]
    texts = {"trial_id": str, "decoder": str}
    mine, theirs = (frame.astype(texts).sort_values(keys, ignore_index=True) for frame in (study.epochs, plain))
    assert len(mine) == 2 * 3 * 5
    assert list(mine) == SCALARS
    for name in SCALARS:
        pd.testing.assert_series_equal(mine[name], theirs[name], check_dtype=False)
    for name in VECTORS:
        assert all_lists(study, name) == {(row.trial_id, row.epoch): list(getattr(row, name)) for row in plain.itertuples()}
    assert study.name == "small"
    assert study.is_complete
    assert study.missing.empty
    assert study.threshold == 0.1
    assert study.factors == {name: tuple(levels) for name, levels in SMALL.items()}
    assert study.provenance["commit"] == ("6b0292a",)
    assert study.provenance["versions.torch"] == ("2.11.0",)


def test_trials_know_settings_goal_and_end(root):
    write(root)
    trials = load(root).trials.set_index(["k", "seed"])
    one = trials.loc[(5, 2)]
    assert (one["status"], one["epochs_goal"], one["epochs_done"], one["training.batch_size"]) == ("completed", 4, 4, 100)
    assert one["nll"] == pytest.approx(-flat_bound({"k": 5, "batch_norm": False, "seed": 2}, 4) - 1)
    assert (trials["baseline_bound"] == -25.0).all()


def test_activity_in_long_form(root):
    write(root, {**SMALL, "n_z": [2, 3]})
    study = load(root)
    long = study.activity()
    assert len(long) == 2 * 3 * 5 * (2 + 3)
    row = study.trials[(study.trials["n_z"] == 3) & (study.trials["seed"] == 1)].iloc[0]
    mine = study.activity([row["trial_id"]])
    last = mine[mine["epoch"] == 4].sort_values("unit")
    np.testing.assert_allclose(last["activity"], flat_activity({"n_z": 3, "seed": 1}, 4), rtol=1e-6)
    with pytest.raises(LoadError, match="there are activity, activity_test"):
        study.activity(column="test_bound")


def test_other_factors_are_joined_and_a_setting_that_changed_between_grids_is_one(root):
    write(root, {**SMALL, "training.learning_rate": [0.001, 0.01]})
    study = load(root)
    assert study.factors["training.learning_rate"] == (0.001, 0.01)
    assert set(study.epochs["training.learning_rate"]) == {0.001, 0.01}
    write(root, SMALL, settings={"training.batch_size": 50}, entry=2)
    study = load(root)
    assert study.factors["training.batch_size"] == (100, 50)
    assert len(study.trials) == 18


def test_a_running_study_says_what_is_missing(root):
    write(root, done=lambda s: {0: 4, 1: 2, 2: -1}[s["seed"]] if s["k"] == 5 else 4, diverged={(1, 1): 3})
    study = load(root)
    assert not study.is_complete
    said = {(row.cell.split()[1], row.seed): row.reason for row in study.missing.itertuples()}
    assert said == {
        ("k=1", 1): "diverged after epoch 3",
        ("k=5", 0): "unfinished (4 of 4 epochs)",
        ("k=5", 1): "unfinished (2 of 4 epochs)",
        ("k=5", 2): "unfinished (0 of 4 epochs)",
    }


def test_nothing_stored_yet(root):
    write(root, done=lambda s: -1)
    study = load(root)
    assert len(study.epochs) == 0
    assert list(study.epochs) == SCALARS
    assert set(study.trials["status"]) == {"unfinished"}
    assert study.activity().empty


def test_a_longer_study_is_unfinished_again_and_its_end_not_mixed(root):
    write(root, epochs=4)
    write(root, epochs=8, done=lambda s: -1, borders=4, entry=2)
    study = load(root)
    assert set(study.trials["status"]) == {"unfinished"}
    assert study.trials["nll"].isna().all()
    assert set(study.trials["epochs_done"]) == {4}


def test_another_threshold_in_some_files_is_counted_again(root):
    # Written at 0.7, where one unit of the two is active; the plan says 0.1.
    write(root, threshold=0.7)
    assert set(load(root).epochs["active_units"]) == {2}


# --- what cannot be read ------------------------------------------------------------------------------------------------


def test_no_folder_no_study_and_a_file(tmp_path):
    with pytest.raises(LoadError, match="no such folder; name the folder of a study"):
        load(tmp_path / "nowhere")
    with pytest.raises(LoadError, match=r"no study here.*start one with"):
        load(tmp_path)
    (tmp_path / "grid.yaml").write_text("")
    with pytest.raises(LoadError, match="is a file"):
        load(tmp_path / "grid.yaml")
    write(tmp_path / "small")
    with pytest.raises(LoadError, match=r"did you mean .*small\?"):
        load(tmp_path)


def flip(file, place):
    raw = bytearray(file.read_bytes())
    raw[round(place * len(raw))] ^= 0x55
    file.write_bytes(raw)


def flip_page(file, column):
    """Change a byte of the values of a column."""
    metadata = pq.read_metadata(file)
    chunk = metadata.row_group(0).column(metadata.schema.to_arrow_schema().names.index(column))
    begins = min(place for place in (chunk.dictionary_page_offset, chunk.data_page_offset) if place is not None)
    flip(file, (begins + chunk.total_compressed_size - 1) / file.stat().st_size)


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
    text = table.schema.metadata[b"study"].replace(b'"schema_version": 4', b'"schema_version": 7')
    pq.write_table(table.replace_schema_metadata({b"study": text}), file, store_schema=True)
    with pytest.raises(VersionError, match=rf"{file.name}: has schema_version 7, this program reads 4"):
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


def twice(root):
    """A study with the rows of one file also in a file of another pack, which the plan does not know; returns its key."""
    store = write(root)
    key = sorted(store.list("epochs"))[0]
    table, footer = decode_with_footer(store.read(key), key)
    copied = epochs_key("0" * 15 + "a", 0, 2)
    store.create(copied, encode(table, {**footer, "pack_id": "0" * 15 + "a"}))
    return copied


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


# --- vectors, read when they are asked for ------------------------------------------------------------------------------


def first_trial(study):
    """A trial of the pack whose files come first."""
    return study.epochs["trial_id"].iloc[0]


def test_a_damaged_vector_is_told_to_whoever_reads_it_and_to_nobody_else(root):
    write(root)
    file = sorted((root / "epochs").iterdir())[0]
    flip_page(file, "activity")
    study = load(root)
    other = study.epochs["trial_id"].iloc[-1]
    assert len(all_lists(study, "activity", [other])) == 5
    assert len(all_lists(study, "kl_per_unit")) == len(study.epochs)
    for read in (
        study.vectors,
        study.activity,
        lambda: study.activity([first_trial(study)]),
        lambda: count_active(study, 0.2),
        lambda: active_units(study, epoch=1),
        lambda: average(study, "active_units", by=["k"], threshold=0.2, epoch="every"),
    ):
        with pytest.raises(RecordError, match="damaged") as refusal:
            read()
        assert refusal.value.path == str(file)


def test_skip_bad_leaves_out_the_rows_of_a_damaged_vector_and_says_so(root):
    write(root)
    file = sorted((root / "epochs").iterdir())[0]
    flip_page(file, "activity")
    study = load(root, skip_bad=True)
    whole = dict.fromkeys(study.epochs[["trial_id", "epoch"]].itertuples(index=False, name=None))
    assert study.left_out == {}
    found = all_lists(study, "activity")
    assert list(study.left_out) == [f"epochs/{file.name}"]
    assert len(whole) - len(found) == 3 * 3
    assert found.keys() < whole.keys()
    table = average(study, "active_units", by=["k"], threshold=0.2, epoch="every")
    assert sorted(table["n"].unique()) == [0, 3]
    assert set(table.loc[table["n"] == 0, "missing"]) == {"seeds 0, 1, 2 no finite value"}


def test_a_study_that_grows_is_read_as_it_was(root):
    write(root, done=lambda s: 2)
    study = load(root)
    was = len(study.epochs)
    write(root, done=lambda s: 4, entry=2)
    assert len(study.activity()) == 3 * was == 3 * 2 * 3 * 3
    assert set(study.activity()["epoch"]) == {0, 1, 2}
    (root / "plan" / "000002.parquet").unlink()
    assert set(load(root).activity()["epoch"]) == {0, 1, 2, 3, 4}


def test_a_file_that_is_another_one_now_is_refused(root):
    store = write(root)
    study = load(root)
    key = store.list("epochs")[0]
    table, footer = decode_with_footer(store.read(key), key)
    (root / key).unlink()
    moved = [[value + 1 for value in row] for row in table["activity"].to_pylist()]
    at = EPOCHS.get_field_index("activity")
    store.create(key, encode(table.set_column(at, EPOCHS.field(at), pa.array(moved, EPOCHS.field(at).type)), footer))
    with pytest.raises(RecordError, match="is not the file that was there when the study was loaded"):
        study.vectors(column="kl_per_unit")
    assert len(all_lists(load(root), "kl_per_unit")) == len(study.epochs)


@pytest.mark.parametrize("is_kept", [True, False])
def test_what_was_read_is_kept_as_far_as_memory_goes(root, is_kept, monkeypatch):
    monkeypatch.setattr(vectors, "KEPT_BYTES", 10**6 if is_kept else 0)
    write(root)
    study = load(root)
    early, whole = all_lists(study, "activity"), load(root, vectors=True)
    for file in (root / "epochs").iterdir():
        file.unlink()
    for one in (study, whole):
        if is_kept:
            assert all_lists(one, "activity") == early
        else:
            with pytest.raises(RecordError, match=r"epochs/.*: cannot be read \(No such file"):
                one.vectors()
    assert len(all_lists(whole, "posterior_mean")) == 30 if is_kept else True
    with pytest.raises(RecordError, match="cannot be read"):
        study.vectors(column="posterior_mean")


def test_vectors_of_some_trials_are_those_of_all(root):
    write(root, {**SMALL, "n_z": [2, 3]}, activity=lambda s, e: flat_activity(s, e) + e)
    study = load(root)
    every = all_lists(study, "activity")
    some = study.trials["trial_id"].tolist()[1::2]
    assert all_lists(study, "activity", some) == {key: one for key, one in every.items() if key[0] in some}
    assert all_lists(study, "activity", []) == {}
    blocks = list(study.vectors_by_file(some))
    assert len(blocks) == len(list((root / "epochs").iterdir()))
    places = np.concatenate([block.places for block in blocks])
    assert study.epochs.iloc[places].index.equals(study.vectors(some)[0].index)


# --- the door -----------------------------------------------------------------------------------------------------------


def test_importing_analysis_needs_neither_torch_nor_ray():
    unwanted = ("torch", "ray", "study", "matplotlib.pyplot")
    code = f"import sys, analysis, analysis.report; print([name for name in {unwanted} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- layers -------------------------------------------------------------------------------------------------------------

DEEP = {"model.layers_above": "10-z2"}


def deep_activity(s, epoch):
    """Three units next to the data, two of them active; two above, one of them active."""
    return np.array([0.9, 0.001, 0.5, 0.3, 0.002])


def test_every_entry_knows_its_layer(root):
    write(
        root,
        {**SMALL, "model.layers_above": ["none", "10-z2"]},
        activity=lambda s, e: deep_activity(s, e)[: 5 if s["model.layers_above"] != "none" else 3],
    )
    study = load(root)
    long = study.activity()
    sizes = study.layer_sizes()
    assert set(sizes.values()) == {(3,), (3, 2)}
    for trial_id, rows in long[long["epoch"] == 1].groupby("trial_id", observed=True):
        assert rows["layer"].tolist() == ([1, 1, 1, 2, 2] if len(sizes[trial_id]) == 2 else [1, 1, 1])
        assert rows["unit"].tolist() == list(range(sum(sizes[trial_id])))
    assert set(study.activity(column="reconstruction_per_class")["layer"]) == {1}


# --- going on with what is whole ------------------------------------------------------------------------------------------


def test_skip_bad_changes_nothing_where_all_is_whole(root):
    write(root, done=lambda s: 2 if s["seed"] == 1 else 4)
    strict, lax = load(root), load(root, skip_bad=True)
    pd.testing.assert_frame_equal(strict.epochs, lax.epochs)
    pd.testing.assert_frame_equal(strict.trials, lax.trials)
    pd.testing.assert_frame_equal(strict.missing, lax.missing)
    assert lax.left_out == {}


@pytest.mark.parametrize("is_whole", [False, True], ids=["vectors when asked for", "vectors at once"])
def test_skip_bad_goes_on_without_a_damaged_file_and_names_it_and_what_it_costs(root, is_whole):
    write(root)
    whole = load(root)
    file = sorted((root / "epochs").iterdir())[0]
    flip_page(file, "activity" if is_whole else "test_bound")
    with pytest.raises(RecordError):
        load(root, vectors=is_whole)
    study = load(root, skip_bad=True, vectors=is_whole)
    assert list(study.left_out) == [f"epochs/{file.name}"]
    gone = set(whole.epochs["trial_id"]) - set(study.epochs.loc[study.epochs["epoch"] == 1, "trial_id"])
    assert len(gone) == 3
    assert set(study.missing["trial_id"]) == gone
    assert all(
        "2 of 5 epochs are left, the others lie in a file that cannot be read" in why for why in study.missing["reason"]
    )
    kept = whole.epochs.merge(study.epochs[["trial_id", "epoch"]], on=["trial_id", "epoch"])
    assert kept["test_bound"].tolist() == study.epochs["test_bound"].tolist()


def test_skip_bad_without_a_file_of_ends(root):
    write(root)
    file = sorted((root / "trials").iterdir())[0]
    file.write_bytes(b"PAR1")
    study = load(root, skip_bad=True)
    assert study.trials["status"].value_counts().to_dict() == {"completed": 3, "unfinished": 3}
    assert all("its end lies in a file that cannot be read" in why for why in study.missing["reason"])


def test_skip_bad_without_an_entry_of_the_plan(root):
    write(root, {**SMALL, "k": [1]})
    write(root, {**SMALL, "k": [5]}, entry=2)
    file = root / "plan" / "000002.parquet"
    flip_page(file, "trial_id")
    study = load(root, skip_bad=True)
    assert study.factors["k"] == (1,)
    assert set(study.left_out) == {"plan/000002.parquet", "epochs"}
    flip(root / "plan" / "000001.parquet", 0.5)
    (root / "plan" / "000001.parquet").write_bytes(b"")
    with pytest.raises(LoadError, match="no entry of the plan can be read"):
        load(root, skip_bad=True)


def test_skip_bad_leaves_out_rows_stored_twice_in_both_files(root):
    twice(root)
    study = load(root, skip_bad=True)
    assert "stored twice" in next(iter(study.left_out.values()))
    assert not study.epochs.duplicated(["trial_id", "epoch"]).any()
    assert len(study.missing) == 3
