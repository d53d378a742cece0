"""Vectors, read when they are asked for."""

import numpy as np
import pyarrow as pa
import pytest

from analysis.averages.active_units import active_units, count_active
from analysis.averages.average import average
from analysis.loading import vectors
from analysis.loading.load import load
from tests.analysis.loading.stored_files import all_lists, flip_page
from tests.analysis.planted import SMALL, flat_activity, write
from workers.contract.columns import EPOCHS
from workers.contract.errors import RecordError
from workers.store.parquet import decode_with_footer, encode

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
