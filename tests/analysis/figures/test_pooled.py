"""Main effects and interactions: seeds or intervals around their means, looks, and the cells that they pool."""

from itertools import product

import numpy as np
import pytest
from matplotlib.colors import to_hex

from analysis import load
from analysis.figures.catalogue import catalogue
from analysis.figures.looks import level_looks
from tests.analysis.planted import SMALL, write

FACTORS = {**SMALL, "batch_norm": [False, True], "n_z": [3, 5]}
KEYS = ["main-effects", "interactions-nll"]


def bound(s, epoch):
    return s["k"] + 10 * s["batch_norm"] + s["seed"] ** 2 * (1 + s["n_z"]) - 50.0


def nll(**levels):
    return -bound(levels, 0) - 1


def study_of(root, seeds, **how):
    write(root, {**FACTORS, "seed": list(range(seeds))}, bound=bound, **how)
    return load(root)


def picture_of(study, key):
    return next(entry for entry in catalogue(study) if entry.key == key).make()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return study_of(tmp_path_factory.mktemp("pooled") / "s", 3)


def seeds_in(figure):
    return [line for axes in figure.axes for line in axes.lines if line.get_gid() == "seed"]


@pytest.mark.parametrize("key", KEYS)
def test_few_seeds_are_drawn_as_points_and_stand_in_the_table(study, key):
    made = picture_of(study, key)
    assert made.table[["low", "high"]].isna().all().all()
    rows = made.table[made.table["value"] == "nll"] if key == "main-effects" else made.table
    for row in rows.to_dict("records"):
        fixed = {row["factor"]: row["level"]} if key == "main-effects" else levels_of(row)
        for seed in (0, 1, 2):
            cells = product([1, 5], [False, True], [3, 5])
            all_cells = [dict(zip(("k", "batch_norm", "n_z"), cell, strict=True)) for cell in cells]
            own = [nll(**cell, seed=seed) for cell in all_cells if fixed.items() <= cell.items()]
            assert row[f"seed_{seed}"] == pytest.approx(np.mean(own), rel=1e-6)
        assert row["mean"] == pytest.approx(np.mean([row[f"seed_{seed}"] for seed in (0, 1, 2)]))
    figure = made.draw(None)
    assert not [bars for axes in figure.axes for bars in axes.collections], "no interval is drawn"
    drawn = np.concatenate([line.get_ydata() for line in seeds_in(figure)])
    table = made.table.filter(like="seed_").to_numpy(float)
    assert sorted(drawn) == pytest.approx(sorted(table.ravel()))
    for line in seeds_in(figure):
        low, high = line.axes.get_ylim()
        assert ((line.get_ydata() >= low) & (line.get_ydata() <= high)).all()
    assert "Small points: the seeds themselves" in made.caption
    assert "small points: the seeds" in made.draw.args[0].foot
    assert "interval" not in made.caption + made.draw.args[0].foot


def levels_of(row):
    """The two factors of a row of interactions and its levels."""
    titles = {"importance samples K": "k", "batch normalisation": "batch_norm", "latent units n_z": "n_z"}
    line, along = row["panel"].split(" by ")
    return {titles[line]: row["level"], titles[along]: row["x_level"]}


@pytest.mark.parametrize("key", KEYS)
def test_four_seeds_have_bars_and_one_has_neither(tmp_path, key):
    four = picture_of(study_of(tmp_path / "4", 4), key)
    assert four.table.filter(like="seed_").isna().all().all()
    assert four.table[["low", "high"]].notna().all().all()
    figure = four.draw(None)
    assert all(axes.collections for axes in figure.axes)
    assert not seeds_in(figure)
    assert "Bars: 95% t interval" in four.caption
    assert "bars: 95% t interval" in four.draw.args[0].foot
    one = picture_of(study_of(tmp_path / "1", 1), key)
    figure = one.draw(None)
    assert not seeds_in(figure)
    assert not any(axes.collections for axes in figure.axes)
    assert "Points: the one seed" in one.caption
    assert "interval" not in one.caption


def test_a_seed_that_lacks_a_cell_has_no_point(tmp_path):
    study = study_of(tmp_path / "s", 3, done=lambda s: 2 if s["seed"] == 1 and s["k"] == 5 and s["n_z"] == 3 else 10**9)
    table = picture_of(study, "main-effects").table
    rows = table[(table["value"] == "active_units") & (table["factor"] == "k")].set_index("level")
    assert np.isfinite(rows["seed_1"][1])
    assert np.isnan(rows["seed_1"][5])
    assert rows["n"].to_dict() == {1: 3, 5: 2}


def test_levels_have_the_colours_of_the_report(study):
    looks = level_looks(study, "batch_norm")
    panel = picture_of(study, "main-effects").draw(None).axes[0]
    marks = {
        tuple(line.get_xydata()[0]): line for line in panel.lines if line.get_gid() is None and len(line.get_xdata()) == 1
    }
    colours = [to_hex(line.get_color()) for _, line in sorted(marks.items())]
    expected = [look.colour.lower() for name in ("k", "batch_norm", "n_z") for look in level_looks(study, name).values()]
    assert colours == expected
    assert looks["no batch norm"].colour == "#000000" != looks["batch norm"].colour


# --- the cells that are pooled ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """K = 2 and 5 are crossed with the other factors; one cell at K = 1, with 9 units, is listed by itself."""
    root = tmp_path_factory.mktemp("listed") / "s"
    write(root, {**FACTORS, "k": [2, 5]}, bound=bound)
    write(root, {**SMALL, "k": [1], "n_z": [9]}, bound=bound, entry=2)
    study = load(root)
    study.crossed.update({"k": (2, 5), "n_z": (3, 5)})
    return study


@pytest.mark.parametrize("key", [*KEYS, "interactions-active-units"])
def test_captions_and_feet_name_the_crossed_part(listed, study, key):
    made = picture_of(listed, key)
    part = "all its crossed cells (at importance samples K in {2, 5}) with equal weight"
    assert part in made.caption
    assert part in made.draw.args[0].foot
    assert "crossed" not in picture_of(study, key).caption


@pytest.mark.parametrize("key", KEYS)
def test_the_note_on_the_kl_is_about_the_pooled_cells(listed, study, key):
    assert "closed form" not in picture_of(listed, key).caption, "K = 1 is not among the cells that are pooled"
    assert "K = 1 takes the KL in closed form" in picture_of(study, key).caption


def test_counts_are_cut_at_the_units_of_the_pooled_cells(listed):
    panels = picture_of(listed, "main-effects").draw.args[0].panels
    assert panels[1].options["between"] == (0.0, 5.0)
