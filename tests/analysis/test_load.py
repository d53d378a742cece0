import importlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from planted import SMALL, flat_activity, flat_bound, row_of, write

from analysis.load import LoadError, load
from workers.records import EPOCHS, RecordError, VersionError, decode_with_footer, encode
from workers.store import epochs_key


@pytest.fixture
def root(tmp_path):
    return tmp_path / "small"


def test_every_row_comes_back_as_a_plain_reader_sees_it(root):
    write(root)
    study = load(str(root))
    plain = pd.read_parquet(root / "epochs")
    keys = ["trial_id", "epoch"]
    mine, theirs = (frame.sort_values(keys, ignore_index=True) for frame in (study.epochs, plain))
    assert len(mine) == 2 * 3 * 5
    for name in EPOCHS.names:
        if pa.types.is_list(EPOCHS.field(name).type):
            assert [list(row) for row in mine[name]] == [list(row) for row in theirs[name]]
        else:
            pd.testing.assert_series_equal(mine[name], theirs[name], check_dtype=False)
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
    assert list(study.epochs)[: len(EPOCHS.names)] == EPOCHS.names
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
    raw[int(place * len(raw))] ^= 0x55
    file.write_bytes(raw)


@pytest.mark.parametrize("folder", ["plan", "epochs", "trials"])
@pytest.mark.parametrize("place", [0.01, 0.1, 0.3, 0.5, 0.7, 0.97])
def test_a_flipped_byte_changes_nothing_that_is_read_or_is_found_and_its_file_named(root, folder, place):
    write(root)
    whole = load(root)
    file = sorted((root / folder).iterdir())[-1]
    flip(file, place)
    # A byte that carries no content (statistics, padding) may change nothing that is read.
    try:
        study = load(root)
    except RecordError as error:
        named = error
    else:
        pd.testing.assert_frame_equal(study.epochs, whole.epochs)
        pd.testing.assert_frame_equal(study.trials, whole.trials)
        return
    assert named.path == str(file)
    assert str(named).startswith(f"{file}: damaged")


@pytest.mark.parametrize("folder", ["plan", "epochs", "trials"])
def test_a_flipped_byte_of_the_first_page_is_found(root, folder):
    write(root)
    file = sorted((root / folder).iterdir())[-1]
    flip(file, 40 / file.stat().st_size)
    with pytest.raises(RecordError, match=f"{file.name}: damaged"):
        load(root)


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
    text = table.schema.metadata[b"study"].replace(b'"schema_version": 3', b'"schema_version": 7')
    pq.write_table(table.replace_schema_metadata({b"study": text}), file)
    with pytest.raises(VersionError, match=rf"{file.name}: has schema_version 7, this program reads 3"):
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
    from planted import FINGERPRINT

    from workers.settings import Settings
    from workers.trial import trial_of

    return trial_of(Settings(), FINGERPRINT)


def test_a_file_in_the_wrong_folder_is_named(root):
    write(root)
    file = next((root / "trials").iterdir())
    pack_id = file.name.partition("-")[0]
    file.rename(root / epochs_key(pack_id, 3, 4).replace(pack_id, "f" * 16))
    with pytest.raises(RecordError, match="is no file of epochs/"):
        load(root)


# --- the door -----------------------------------------------------------------------------------------------------------


def test_importing_analysis_needs_neither_torch_nor_ray():
    unwanted = ("torch", "ray", "study", "matplotlib.pyplot")
    code = f"import sys, analysis, analysis.report; print([name for name in {unwanted} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("first", ["analysis", "analysis.report", "analysis.load", "analysis.average"])
def test_the_names_are_functions_whatever_was_imported_before(first):
    code = f"import {first}, analysis.load; from analysis import load, average; print(callable(load), callable(average))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
    assert importlib.import_module("analysis.load").load is load


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


def test_skip_bad_goes_on_without_a_damaged_file_and_names_it_and_what_it_costs(root):
    write(root)
    whole = load(root)
    file = sorted((root / "epochs").iterdir())[0]
    flip(file, 40 / file.stat().st_size)
    with pytest.raises(RecordError):
        load(root)
    study = load(root, skip_bad=True)
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
    flip(file, 40 / file.stat().st_size)
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
