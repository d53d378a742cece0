"""Every figure by its number: what it rests on is said, and changes with the trials that stand behind it."""

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.averages.cell_table import cell_table
from analysis.figures.catalogue import FigureError, catalogue, chosen
from analysis.report.computed import Computed
from analysis.report.descriptive import cells_section, completeness_section
from tests.analysis.planted import SMALL, flat_activity, write

FULL = {
    "decoder": ["bernoulli", "gaussian"],
    "k": [1, 5],
    "batch_norm": [False, True],
    "warmup": [0, 2],
    "n_z": [2, 3],
    "training.learning_rate": [0.001, 0.01],
    "seed": [0, 1, 2],
}
DEEP = {"model.layers_above": "10-z2"}
PAPER = [
    *["2.2", "2.3", "2.4", "2.5", "3.1", "3.1a", "3.1b", "3.1c", "3.1d", "3.2"],
    *["3.3", "3.3a", "3.3b", "3.3c", "3.3d", "3.3-seeds"],
]
BEYOND = [
    "bound-by-training-learning_rate",
    "active-units-by-training-learning_rate",
    "thresholds",
    "spectrum",
    "kl",
    "pruning",
    "layers",
    "kl-map",
    "kl-map-seeds",
    "main-effects",
    "interactions-nll",
    "interactions-active-units",
]
KEYS = [
    *["2.1", "active-units-by-decoder"],
    *PAPER,
    *[f"{key}-gaussian" for key in PAPER],
    *BEYOND,
    *[f"{key}-gaussian" for key in BEYOND],
]


def deep_activity(s, epoch):
    """Units that are switched off, and one that comes back: 0.9 at even epochs, 0.001 at odd ones."""
    values = np.concatenate([flat_activity(s, epoch), [0.3, 0.002]])
    values[0] = 0.9 if epoch % 2 == 0 else 0.001
    return values


def study_of(root, **how):
    write(root, FULL, settings=DEEP, activity=deep_activity, **how)
    return load(root)


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    root = tmp_path_factory.mktemp("catalogue")
    return {
        "whole": study_of(root / "whole"),
        "removed": study_of(root / "removed", done=lambda s: -1 if s["seed"] == 2 else 4),
        "diverged": study_of(root / "diverged", diverged={(1, 1): 2, (5, 1): 2}),
        "other decoder": study_of(root / "other", done=lambda s: -1 if s["decoder"] == "gaussian" and s["seed"] == 2 else 4),
    }


def picture_of(study, key):
    return next(entry for entry in catalogue(study) if entry.key == key).make()


def test_these_are_all_figures(studies):
    assert [entry.key for entry in catalogue(studies["whole"])] == KEYS


MAPS = [key for key in KEYS if key.startswith(("3.3", "kl-map"))]


@pytest.mark.parametrize("key", [key for key in KEYS if key not in MAPS])
def test_a_missing_seed_changes_n_and_caption_of_every_figure_that_used_it(studies, key):
    whole = picture_of(studies["whole"], key)
    assert set(whole.table["n"]) == {3}
    assert "ase" in whole.caption or "all its cells" in whole.caption
    assert "n = 3" in whole.caption
    assert "Missing" not in whole.caption
    for damage, said in (("removed", "seed 2 unfinished (0 of 4 epochs)"), ("diverged", "seed 1 diverged after epoch 2")):
        hurt = picture_of(studies[damage], key)
        if hurt is None:
            # A pack with an unfinished trial has no end, and so no nll, of any.
            assert (damage, key.removesuffix("-gaussian")) == ("removed", "interactions-nll")
            continue
        assert hurt.table["n"].min() < 3, damage
        assert said in hurt.caption.replace("seeds", "seed"), damage
        assert "n = 3 seeds" not in hurt.caption
        assert "Missing: " in hurt.caption
        assert said[:6] in hurt.draw.args[0].foot, "the figure itself says it too"


def test_what_stands_below_a_figure_is_drawn(studies):
    figure = picture_of(studies["diverged"], "2.2").draw(None)
    words = " ".join(text.get_text() for text in reversed(figure.texts))
    assert "Base: Bernoulli decoder, no batch norm, no warm-up" in words
    assert "n = 2 to 3 of 3" in words
    assert "Missing: K = 1 / K = 5: seed 1 diverged after epoch 2" in words


@pytest.mark.parametrize("key", ["2.2", "3.1", "3.3", "spectrum", "main-effects"])
def test_what_a_figure_did_not_use_changes_nothing_in_it(studies, key):
    whole, other = (picture_of(studies[name], key) for name in ("whole", "other decoder"))
    assert whole.caption == other.caption
    pd.testing.assert_frame_equal(whole.table, other.table)
    assert picture_of(studies["other decoder"], f"{key}-gaussian").caption != whole.caption


@pytest.mark.parametrize("damage", ["removed", "diverged"])
def test_tables_change_too(studies, damage):
    whole, hurt = (cell_table(studies[name], "bernoulli") for name in ("whole", damage))
    assert whole["nll_n"].eq(3).all()
    assert hurt["nll_n"].eq(2 if damage == "diverged" else 0).all()
    assert hurt["active_units_n"].eq(2).all()
    assert hurt["missing"].str.contains("seed").all()
    assert completeness_section(Computed(studies["whole"])).tables == ()
    assert len(completeness_section(Computed(studies[damage])).tables[0].frame) == (64 if damage == "diverged" else 192)
    texts = cells_section(Computed(studies[damage])).tables[0].texts
    assert texts["n"].eq("2 of 3").all()


def test_figures_by_key(studies):
    study = studies["whole"]
    assert [entry.key for entry in chosen(study, ["2.2"])] == ["2.2", "2.2-gaussian"]
    assert [entry.key for entry in chosen(study, ["kl"])] == ["kl", "kl-gaussian"]
    assert [entry.key for entry in chosen(study, ["3.3a-gaussian", "2.1"])] == ["3.3a-gaussian", "2.1"]
    with pytest.raises(FigureError, match="--figure spectra: the study has no such figure; did you mean spectrum"):
        chosen(study, ["spectra"])


def test_what_a_study_cannot_show_is_not_there(tmp_path):
    write(tmp_path / "s", {**SMALL, "k": [1]})
    study = load(tmp_path / "s")
    made = {entry.key: entry.make() for entry in catalogue(study) if not entry.is_part}
    assert {key for key, picture in made.items() if picture} == {"3.3", "thresholds", "spectrum", "kl", "pruning", "kl-map"}


def test_marginal_means_are_refused_where_cells_are_no_full_product(tmp_path):
    write(tmp_path / "s", {**SMALL, "warmup": [0, 2]}, excluded=lambda s: s["k"] == 5 and s["warmup"] == 2)
    assert picture_of(load(tmp_path / "s"), "main-effects") is None


@pytest.mark.parametrize("width", [60, 174])
def test_type_keeps_its_size_at_any_width(studies, width):
    for key in ("2.2", "3.1", "3.3", "main-effects"):
        figure = picture_of(studies["whole"], key).draw(width)
        assert figure.get_figwidth() * 25.4 == pytest.approx(width)
        for axes in figure.axes:
            for text in [*axes.texts, axes.xaxis.label, axes.yaxis.label, axes.title]:
                if text.get_text() and text.get_visible():
                    assert text.get_fontsize() >= 6.5
