"""A study comes back as a plain reader sees it, and knows what is missing."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from analysis.loading.load import load
from analysis.loading.study import LoadError
from analysis.loading.vectors import VECTORS
from tests.analysis.loading.stored_files import SCALARS, all_lists
from tests.analysis.planted import SMALL, flat_activity, flat_bound, write


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
    with pytest.raises(LoadError, match="the vector columns are activity, activity_test"):
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


def test_importing_analysis_needs_neither_torch_nor_ray():
    unwanted = ("torch", "ray", "study", "matplotlib.pyplot")
    code = f"import sys, analysis, analysis.report; print([name for name in {unwanted} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
