"""What holds for all figures of a report: looks, seeds, ranges, the KL of K = 1, any matplotlibrc."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analysis import load
from analysis.averages.estimators import kl_estimators
from analysis.averages.one_factor import contrast, curves
from analysis.figures import curves as figures
from analysis.figures import effects
from analysis.figures.catalogue import catalogue
from analysis.figures.style import LINES, wrap
from tests.analysis.figures.hostile import HOSTILE
from tests.analysis.planted import SMALL, flat_bound, write
from workers.contract.combinations import closed_form_kl
from workers.contract.settings_table import settings_from

BRIDGE = {
    **{name: levels for name, levels in SMALL.items() if name != "seed"},
    "batch_norm": [False, True],
    "warmup": [0, 2],
    "objective.kl": ["auto", "sampled"],
    "seed": [0, 1, 2],
}


def away_from_bridge(s):
    return s["objective.kl"] == "sampled" and (s["k"] == 5 or s["batch_norm"] or s["warmup"] > 0)


def study_of(root, factors=BRIDGE, excluded=away_from_bridge, **how):
    write(root, factors, excluded=excluded, **how)
    return load(root)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return study_of(tmp_path_factory.mktemp("looks") / "s")


def picture_of(study, key):
    return next(entry for entry in catalogue(study) if entry.key == key).make()


def looks_in(figure):
    """The colour and line of every named curve, by panel."""
    return [
        {
            line.get_label(): (to_hex(line.get_color()), str(line._unscaled_dash_pattern))
            for line in axes.lines
            if named(line)
        }
        for axes in figure.axes
    ]


def named(line):
    return not str(line.get_label()).startswith("_") and line.get_gid() not in ("baseline", "threshold")


def test_one_cell_has_one_look_in_every_figure(study):
    drawn = {key: looks_in(picture_of(study, key).draw(None)) for key in ("2.2", "2.3", "2.4", "3.1", "spectrum", "pruning")}
    k, norm, warm, every = drawn["3.1"]
    base = {k["K = 5"], norm["no batch norm"], warm["no warm-up"], every["importance weighted: K = 5"]}
    assert base == {drawn["2.2"][0]["K = 5"]} == {drawn["spectrum"][0]["importance weighted: K = 5"]}
    assert {color for color, _ in base} == {"#000000"}
    assert {k["K = 1"], every["vanilla: K = 1"]} == {drawn["2.2"][0]["K = 1"]}
    assert {norm["batch norm"], every["K = 5, batch norm"]} == {drawn["2.3"][0]["batch norm"]}
    assert {warm["warm-up 2 epochs"], every["K = 5, warm-up 2 epochs"]} == {drawn["2.4"][0]["warm-up 2 epochs"]}
    assert len(set(every.values())) == 4
    assert drawn["pruning"][0] == every == drawn["pruning"][1]
    # Colour and line differ both, so that figures work in grey.
    assert len({line for _, line in every.values()}) == len({color for color, _ in every.values()}) == 4


def test_panels_line_up(study):
    figure = picture_of(study, "3.1").draw(None)
    boxes = [axes.get_position() for axes in figure.axes]
    assert len({(round(box.width, 6), round(box.height, 6)) for box in boxes}) == 1
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert [round(box.y0, 6) for box in boxes[:2]] == [round(boxes[0].y0, 6)] * 2


# --- seeds and ranges ---------------------------------------------------------------------------------------------------


def test_few_seeds_are_drawn_themselves_and_stand_in_the_table(study):
    made = picture_of(study, "2.2")
    rows = made.table[made.table["label"] == "K = 5"]
    assert made.table[["low", "high"]].isna().all().all()
    cell = {"k": 5, "batch_norm": False}
    for seed in (0, 1, 2):
        planted = [flat_bound({**cell, "seed": seed}, epoch) for epoch in range(5)]
        assert rows[f"seed_{seed}"].tolist() == pytest.approx(planted, rel=1e-6)
    axes = made.draw(None).axes[0]
    thin = [list(line.get_ydata()) for line in axes.lines if line.get_gid() == "seed"]
    assert len(thin) == 9
    assert not axes.collections
    for seed in (0, 1, 2):
        assert any(np.allclose(line, rows[f"seed_{seed}"]) for line in thin)
    assert "thin lines: the seeds" in made.caption
    assert "interval" not in made.caption + made.draw.args[0].foot


def test_four_seeds_have_a_band_and_one_has_neither(tmp_path):
    four = picture_of(study_of(tmp_path / "4", {**BRIDGE, "seed": [0, 1, 2, 3]}), "2.2")
    assert four.table.filter(like="seed_").isna().all().all()
    assert len(four.draw(None).axes[0].collections) == 3
    assert "t interval" in four.caption
    assert "t interval" in four.draw.args[0].foot
    one = picture_of(study_of(tmp_path / "1", {**BRIDGE, "seed": [0]}), "2.2")
    assert not one.draw(None).axes[0].collections
    assert "no interval" in one.draw.args[0].foot
    assert "t interval" not in one.caption + one.draw.args[0].foot


def test_bands_and_bars_keep_to_what_is_possible(tmp_path):
    seeds = {**BRIDGE, "n_z": [10], "seed": [0, 1, 2, 3]}
    study = study_of(tmp_path / "s", seeds, activity=lambda s, e: np.full(10, 0.9 if s["seed"] % 2 else 0.001))
    made = picture_of(study, "3.1a")
    assert made.table["low"].min() < 0 < 10 < made.table["high"].max(), "the intervals do leave the range"
    for band in made.draw(None).axes[0].collections:
        heights = np.concatenate([path.vertices for path in band.get_paths()])[:, 1]
        assert (heights.min(), heights.max()) == (0, 10)
    table = pd.DataFrame({"factor": "k", "title": "K", "label": ["1", "5"], "mean": [5.0, 6.0], "low": -9.0, "high": 99.0})
    axes = effects.main_effects(table.assign(n=3), Figure().add_subplot(), between=(0, 10), least=1.0)
    ends = np.concatenate([segment[:, 1] for bars in axes.collections for segment in bars.get_segments()])
    assert (ends.min(), ends.max()) == (0, 10)


def test_a_constant_has_a_sensible_axis_and_zero_is_visible(tmp_path):
    study = study_of(tmp_path / "s", bound=lambda s, e: -20.0, activity=lambda s, e: np.zeros(s["n_z"]))
    low, high = picture_of(study, "2.2").draw(None).axes[0].get_ylim()
    assert high - low >= 0.1
    for key in ("3.1a", "kl", "pruning"):
        for axes in picture_of(study, key).draw(None).axes:
            low, high = axes.get_ylim()
            assert low < -0.02 * high < 0


def test_names_of_what_curves_are_compared_with_stand_outside_the_data(study):
    for key, gid in (("2.2", "baseline"), ("spectrum", "threshold")):
        for width in (89, 174):
            figure = picture_of(study, key).draw(width)
            figure.canvas.draw()
            axes = figure.axes[0]
            assert any(line.get_gid() == gid for line in axes.lines)
            for text in [*axes.texts, *(axes.get_legend().get_texts() if axes.get_legend() else ())]:
                box, frame = text.get_window_extent(), axes.get_window_extent()
                assert not (box.x0 < frame.x1 and box.x1 > frame.x0 and box.y0 < frame.y1 and box.y1 > frame.y0), text


# --- K and the KL -------------------------------------------------------------------------------------------------------

CONFOUNDED = ["2.2", "3.1", "3.1a", "3.1d", "3.3", "spectrum", "pruning"]


@pytest.mark.parametrize("key", CONFOUNDED)
def test_captions_say_where_k_also_changes_the_kl(study, key):
    assert "K = 1 takes the KL in closed form, K = 5 at the samples" in picture_of(study, key).caption


def test_main_effects_and_interactions_say_it_too(tmp_path):
    factors = {name: levels for name, levels in BRIDGE.items() if name != "objective.kl"}
    study = study_of(tmp_path / "s", factors, excluded=lambda s: False)
    for key in ("main-effects", "interactions-nll"):
        assert "K = 1 takes the KL in closed form, K = 5 at the samples" in picture_of(study, key).caption


def test_captions_are_silent_where_the_kl_is_taken_alike(study, tmp_path):
    for key in ("2.3", "2.4", "3.1b", "bound-by-objective-kl"):
        assert "closed form" not in picture_of(study, key).caption
    factors = {name: levels for name, levels in BRIDGE.items() if name != "objective.kl"}
    alike = study_of(tmp_path / "s", factors, excluded=lambda s: False, settings={"objective.kl": "sampled"})
    for key in (*CONFOUNDED, "main-effects"):
        assert "closed form" not in picture_of(alike, key).caption


def test_the_bridge_is_a_third_curve(study):
    for key in ("2.2", "3.1a"):
        made = picture_of(study, key)
        assert list(made.table["label"].unique()) == ["K = 1", "K = 5", "K = 1, sampled KL"]
        assert "K = 1, sampled KL takes it at the samples too" in made.caption
    looks = looks_in(picture_of(study, "2.2").draw(None))[0]
    assert looks["K = 1, sampled KL"] == looks_in(picture_of(study, "bound-by-objective-kl").draw(None))[0]["sampled"]
    assert contrast(study, "k").base["objective.kl"] == "auto"


def test_how_trials_take_the_kl_is_what_training_does():
    for k in (1, 5):
        for kl in ("auto", "sampled", "analytic"):
            for gradient in ("standard", "stl", "dreg"):
                values = {"k": k, "objective.kl": kl, "objective.gradient": gradient}
                expected = "closed form" if closed_form_kl(settings_from(values)) else "sampled"
                assert kl_estimators(pd.DataFrame([values])) == {expected}


# --- the page -----------------------------------------------------------------------------------------------------------


def overflowing(figure):
    """The texts that leave the canvas."""
    figure.draw_without_rendering()
    texts = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        legend = axes.get_legend()
        texts += [*axes.texts, axes.title, *(legend.get_texts() if legend else ())]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            # Ticks beyond the ends of the axis exist but are not drawn.
            texts += [axis.label, *(tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high)]
    box = figure.bbox
    return [
        text.get_text()
        for text in texts
        if text.get_visible() and text.get_text()
        for extent in [text.get_window_extent()]
        if extent.x0 < box.x0 - 1 or extent.x1 > box.x1 + 1 or extent.y0 < box.y0 - 1 or extent.y1 > box.y1 + 1
    ]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    factors = {
        **SMALL,
        "decoder": ["bernoulli", "gaussian"],
        "batch_norm": [False, True],
        "warmup": [0, 2],
        "n_z": [2, 3],
        "training.learning_rate": [0.001, 0.01],
        "seed": [0, 1],
    }
    root = tmp_path_factory.mktemp("widths") / "s"
    write(root, factors, epochs=2, borders=1)
    study = load(root)
    made = {entry.key: entry.make() for entry in catalogue(study) if not entry.key.endswith("-gaussian")}
    return {key: picture for key, picture in made.items() if picture is not None}


# The narrowest has the least room for texts; the others are for the long run.
@pytest.mark.parametrize("width", [89, *(pytest.param(width, marks=pytest.mark.slow) for width in (120, 142, 174))])
def test_nothing_leaves_the_canvas(pictures, width):
    assert len(pictures) > 20
    assert {key: found for key, picture in pictures.items() if (found := overflowing(picture.draw(width)))} == {}


def test_a_title_that_is_not_wrapped_is_found():
    figure = Figure(figsize=(89 / 25.4, 2))
    figure.text(0.02, 0.9, "Test bound by importance samples K, Bernoulli decoder, and much more", fontsize=10.5)
    assert len(overflowing(figure)) == 1


def test_titles_name_the_decoder(pictures):
    for key, picture in pictures.items():
        assert ("Bernoulli decoder" in picture.title) == (key not in ("2.1", "active-units-by-decoder")), picture.title


@pytest.mark.parametrize("key", ["2.2", "3.3", "main-effects"])
def test_a_matplotlibrc_changes_no_byte(pictures, key):
    usual = pictures[key].render(("png", "svg"), 120)
    with matplotlib.rc_context(HOSTILE):
        assert pictures[key].render(("png", "svg"), 120) == usual


def test_drawing_on_axes_of_ones_own_needs_no_looks(study):
    axes = figures.active_unit_curves(curves(study, contrast(study, "k"), "active_units"), Figure().add_subplot())
    assert [to_hex(line.get_color()) for line in axes.lines if "K" in line.get_label()] == [
        color.lower() for color, _ in LINES[:2]
    ]


def test_a_level_stays_on_the_line_of_its_factor():
    words = "Base: Bernoulli decoder, no warm-up, n_z = 50, objective.kl = auto"
    for width in range(60, 300, 7):
        lines = wrap(words, 7.0, width)
        assert " ".join(lines) == words
        assert not any(line.endswith("=") or line.startswith("=") for line in lines)
