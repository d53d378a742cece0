"""Maps show one seed, and what is bright at the end of a map is active at the end of that seed."""

import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from analysis import load
from analysis.averages.activity_map import FLOOR, activity_map, map_seed
from analysis.averages.average import AverageError
from analysis.averages.one_factor import map_cells
from analysis.figures import maps
from analysis.figures.catalogue import chosen
from tests.analysis.planted import SMALL, write

TWENTY = {**SMALL, "n_z": [20], "batch_norm": [False, True], "warmup": [0, 2]}


def unrelated_activity(s, epoch):
    """The order at epoch 1 tells nothing about the end, where 11 to 13 units are above 0.1, at other places in each seed."""
    rng = np.random.default_rng([s["seed"], s["k"]])
    early, late = rng.permutation(20), rng.permutation(20)
    return 0.2 + early / 40 if epoch < 3 else np.where(late < 11 + s["seed"], 0.8, 0.0002)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("maps") / "s"
    write(root, TWENTY, activity=unrelated_activity)
    return load(root)


def picture_of(study, key):
    return chosen(study, [key])[0].make()


def active_at_the_end(study, cell, seed):
    trials = study.trials
    for name, level in cell.items():
        trials = trials[trials[name] == level]
    (trial_id,) = trials["trial_id"][trials["seed"] == seed]
    rows = study.epochs[study.epochs["trial_id"] == trial_id]
    return int(rows["active_units"][rows["epoch"] == 4].iloc[0])


@pytest.mark.parametrize(("key", "seeds"), [("3.3", {0}), ("3.3-seeds", {0, 1, 2})])
def test_bright_cells_at_the_last_epoch_are_the_active_units_of_that_seed(study, key, seeds):
    table = picture_of(study, key).table
    assert set(table["seed"]) == seeds
    cells = dict(map_cells(study, "bernoulli"))
    last = table[table["epoch"] == 4]
    for (label, seed), rows in last.groupby(["label", "seed"]):
        assert (rows["log10_activity"] > -1).sum() == active_at_the_end(study, cells[label], seed) == 11 + seed
    assert last.groupby(["label", "seed"]).ngroups == 4 * len(seeds)


def test_a_mean_over_seeds_would_not_show_them(study):
    """The negative control: averaged by the rank at epoch 1, as a map of several seeds must be, units are lost."""
    tables = [activity_map(study, map_cells(study, "bernoulli")[0][1], seed) for seed in (0, 1, 2)]
    mean = np.mean([table["log10_activity"][table["epoch"] == 4].to_numpy() for table in tables], axis=0)
    assert (mean > -1).sum() < 8


def test_rows_are_sorted_by_the_activity_at_epoch_1(study):
    table = activity_map(study, map_cells(study, "bernoulli")[0][1], 1)
    at = table[table["epoch"] == 1]
    assert at["unit"].tolist() == list(range(1, 21))
    assert at["log10_activity"].is_monotonic_decreasing
    assert at["log10_activity"].iloc[0] == pytest.approx(np.log10(0.2 + 19 / 40), abs=1e-6)


def test_title_foot_and_caption_name_the_seed(study):
    for key in ("3.3", "3.3a", "kl-map"):
        made = picture_of(study, key)
        sheet = made.draw.args[0]
        assert "seed 0, one of 3" in made.title
        assert "Seed 0, one of 3" in sheet.foot
        assert "seed 0, one of 3" in made.caption
        assert "mean" not in made.caption + sheet.foot
    assert len(picture_of(study, "3.3-seeds").draw.args[0].panels) == 4 * 3


def test_the_seed_is_the_lowest_that_completed_in_every_panel(tmp_path):
    write(tmp_path / "s", TWENTY, activity=unrelated_activity, diverged={(5, 0): 2})
    hurt = load(tmp_path / "s")
    made = picture_of(hurt, "3.3")
    assert set(made.table["seed"]) == {1}
    assert "seed 1, one of 3" in made.title
    assert "importance weighted: K = 5: seed 0 diverged after epoch 2" in made.caption
    write(tmp_path / "early", TWENTY, activity=unrelated_activity, done=lambda s: 2 if s["seed"] else 0)
    assert map_seed(load(tmp_path / "early"), map_cells(hurt, "bernoulli")) == 1
    write(tmp_path / "none", TWENTY, activity=unrelated_activity, done=lambda s: 0)
    assert picture_of(load(tmp_path / "none"), "3.3") is None


def test_the_floor_keeps_dead_units_finite(tmp_path):
    write(tmp_path / "s", activity=lambda s, e: np.zeros(s["n_z"]))
    table = activity_map(load(tmp_path / "s"), {"k": 1})
    assert set(table["log10_activity"]) == {np.log10(FLOOR)}


def test_a_map_is_of_one_cell_and_of_a_seed_that_it_has(study):
    with pytest.raises(AverageError, match="takes one cell"):
        activity_map(study, {"k": 1})
    with pytest.raises(AverageError, match="has no seed 7; its seeds are 0, 1, 2"):
        activity_map(study, map_cells(study, "bernoulli")[0][1], 7)


def test_the_mesh_is_the_table_with_unit_1_on_top(study):
    table = activity_map(study, map_cells(study, "bernoulli")[0][1])
    axes = maps.activity_map(table, Figure().add_subplot())
    (mesh,) = [item for item in axes.collections if isinstance(item, QuadMesh)]
    assert mesh.get_array().shape == (20, 5)
    np.testing.assert_allclose(mesh.get_array()[:, 4], table["log10_activity"][table["epoch"] == 4])
    assert axes.get_ylim() == (20.5, 0.5)


def test_panels_are_those_of_the_paper_as_far_as_they_exist(study, tmp_path):
    assert [title for title, _ in map_cells(study, "bernoulli")] == [
        "vanilla: K = 1",
        "importance weighted: K = 5",
        "K = 5, batch norm",
        "K = 5, warm-up 2 epochs",
    ]
    write(tmp_path / "s", {**SMALL, "k": [1]})
    assert [title for title, _ in map_cells(load(tmp_path / "s"), "bernoulli")] == ["vanilla: K = 1"]
