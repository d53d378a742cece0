"""Going on with what is whole."""

import pandas as pd
import pytest

from analysis.loading.load import load
from analysis.loading.study import LoadError
from tests.analysis.loading.stored_files import flip, flip_page, twice
from tests.analysis.planted import SMALL, write
from workers.contract.errors import RecordError


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
        "2 of 5 epochs are left; the others are in a file that cannot be read" in why for why in study.missing["reason"]
    )
    kept = whole.epochs.merge(study.epochs[["trial_id", "epoch"]], on=["trial_id", "epoch"])
    assert kept["test_bound"].tolist() == study.epochs["test_bound"].tolist()


def test_skip_bad_without_a_file_of_ends(root):
    write(root)
    file = sorted((root / "trials").iterdir())[0]
    file.write_bytes(b"PAR1")
    study = load(root, skip_bad=True)
    assert study.trials["status"].value_counts().to_dict() == {"completed": 3, "unfinished": 3}
    assert all("its end is in a file that cannot be read" in why for why in study.missing["reason"])


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
