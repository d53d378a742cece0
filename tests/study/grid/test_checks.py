"""Cells that make no sense are refused with their place; settings that change nothing get a note."""

import inspect
import re

import pytest

from study.commands.run import main
from study.grid.checks import notes, refuse
from study.grid.design import cells_by_settings
from study.grid.grid import Grid, GridError
from study.grid.presets import PRESETS
from tests.study.small_study import grid_of
from workers.contract.combinations import closed_form_kl, refusals, without_effect
from workers.contract.settings import Settings
from workers.contract.settings_table import default_of, settings_from


def checked(*lines: str, sets: tuple[str, ...] = ()) -> Grid:
    grid = grid_of(*lines, sets=sets)
    refuse(grid, cells_by_settings(grid))
    return grid


def problems(*lines: str, sets: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(GridError) as caught:
        checked(*lines, sets=sets)
    first, *rest = str(caught.value).splitlines()
    assert first == f"grid.yaml: {len(rest)} problem{'s' if len(rest) > 1 else ''}"
    return rest


def noted(*lines: str, sets: tuple[str, ...] = ()) -> list[str]:
    grid = grid_of(*lines, sets=sets)
    return notes(grid, cells_by_settings(grid))


# ---- Every refusal, and beside each a neighbour that is good ----

ANALYTIC, DREG, FREE = {"objective.kl": "analytic"}, {"objective.gradient": "dreg"}, {"objective.free_bits": 0.5}
TILE, DEEP, CONTINUOUS = (
    {"objective.iwae_tile_bug": True},
    {"model.layers_above": "8-z4"},
    {"decoder": "continuous_bernoulli"},
)
VAE, OUTSIDE, FREY = {"objective.bound": "vae"}, {"objective.beta_place": "outside"}, {"data.name": "frey_faces"}
GREY = {"data.input": "grey"}

REFUSED = {
    "closed form with weights": (ANALYTIC | {"k": 5}, "objective.kl", "importance weight", ANALYTIC | VAE | {"k": 5}),
    "closed form with stl": (ANALYTIC | {"objective.gradient": "stl"}, "objective.kl", "sampled form", {"objective.gradient": "stl"}),
    "closed form with dreg": (ANALYTIC | DREG, "objective.kl", "sampled form", DREG | {"objective.kl": "sampled"}),
    "closed form of several layers": (ANALYTIC | DEEP, "objective.kl", "top layer", DEEP),
    "dreg of the vae": (DREG | VAE | {"k": 5}, "objective.gradient", "no weights", DREG | {"k": 5}),
    "dreg outside": (DREG | OUTSIDE, "objective.gradient", "inside", DREG | {"warmup": 9}),
    "free bits with weights": (FREE | {"k": 5}, "objective.free_bits", "importance-weighted", FREE | VAE | ANALYTIC | {"k": 5}),
    "free bits of samples": (FREE | {"objective.kl": "sampled"}, "objective.free_bits", "closed form", FREE | {"objective.kl": "auto"}),
    "free bits of stl": (FREE | {"objective.gradient": "stl"}, "objective.free_bits", "closed form", FREE),
    "free bits of several layers": (FREE | DEEP, "objective.free_bits", "several layers", FREE),
    "tile bug of the vae": (TILE | VAE | {"k": 5}, "objective.iwae_tile_bug", "however they are grouped", TILE | {"k": 5}),
    "tile bug outside": (TILE | OUTSIDE | {"k": 5}, "objective.iwae_tile_bug", "known program", TILE | {"k": 5, "warmup": 9}),
    "tile bug with dreg": (TILE | DREG | {"k": 5}, "objective.iwae_tile_bug", "known program", DREG | {"k": 5}),
    "continuous bernoulli of bits": (CONTINUOUS, "decoder", "data.input: grey", CONTINUOUS | GREY),
    "continuous bernoulli of binarized data": (
        CONTINUOUS | GREY | {"data.name": "binarized_mnist"}, "decoder", "use other data", CONTINUOUS | GREY | {"data.name": "mnist"},
    ),
    "grey faces as probabilities": (FREY, "data.input", "not probabilities", FREY | GREY),
    "grey faces binarised once": (FREY | {"data.input": "static"}, "data.input", "not probabilities", FREY | {"data.input": "threshold"}),
}  # fmt: skip


@pytest.mark.parametrize(("bad", "name", "words", "good"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_with_the_setting_to_change_and_its_neighbour_is_not(bad, name, words, good):
    assert [(who, words in why) for who, why in refusals(settings_from(bad))] == [(name, True)]
    assert refusals(settings_from(good)) == []


def test_every_refusal_is_triggered():
    there = inspect.getsource(refusals).count("refuse(") - 1
    assert len({why.partition(": ")[2] for bad, *_ in REFUSED.values() for _, why in refusals(settings_from(bad))}) == there


def test_defaults_and_presets_are_never_refused():
    assert refusals(Settings()) == []
    for values in PRESETS.values():
        assert refusals(settings_from(values)) == []


# ---- Places and cells ----


def test_a_refused_setting_of_the_whole_study_has_its_place():
    said = problems("factors: {k: [5]}", "objective:", "  beta: 1", "  kl: analytic")
    assert said == [
        "grid.yaml:5:7: objective.kl: got analytic: each importance weight of k > 1 needs log q(z|x) at its sample; "
        "use sampled, or bound: vae"
    ]


def test_a_refused_level_has_its_place_its_cells_and_what_to_leave_out():
    said = problems("factors:", "  k: [1, 5, 50]", "  batch_norm: [false, true]", "  objective.kl: [auto, analytic]")
    assert said == [
        "grid.yaml:5:24: objective.kl: got analytic: each importance weight of k > 1 needs log q(z|x) at its sample; "
        "use sampled, or bound: vae (in 4 of 12 cells, like k=5 objective.kl=analytic; "
        "leave them out with exclude: [{k: [5, 50], objective.kl: analytic}])"
    ]


def test_what_the_message_says_to_leave_out_is_all_that_is_left_out():
    lines = "factors: {k: [1, 5, 50], batch_norm: [false, true], objective.kl: [auto, analytic]}"
    (said,) = problems(lines)
    exclude = said.partition("leave them out with ")[2].removesuffix(")")
    assert len(cells_by_settings(checked(lines, exclude))) == 12 - 4


def test_every_problem_at_once_and_every_reason_once():
    said = problems(
        "factors:",
        "  decoder: [bernoulli, continuous_bernoulli]",
        "  k: [1, 5]",
        "  objective.kl: [auto, analytic]",
        "  seed: [0, 1, 2]",
        "objective: {free_bits: 0.5}",
    )
    assert [line.split(": ")[:2] for line in said] == [
        ["grid.yaml:3:24", "decoder"],
        ["grid.yaml:5:24", "objective.kl"],
        ["grid.yaml:7:24", "objective.free_bits"],
    ]
    assert "in 4 of 8 cells, like decoder=continuous_bernoulli;" in said[0]
    assert "in 2 of 8 cells, like k=5 objective.kl=analytic;" in said[1]
    assert "in 4 of 8 cells, like k=5;" in said[2]


def test_several_values_of_one_reason_are_one_problem():
    (said,) = problems("factors: {objective.free_bits: [0, 0.1, 0.5], k: [5]}")
    assert said.startswith(
        "grid.yaml:2:36: objective.free_bits: got 0.1 or 0.5: an importance-weighted bound has no KL per unit"
    )
    assert "(in 2 of 3 cells, like objective.free_bits=0.1; leave" in said
    assert said.endswith("exclude: [{objective.free_bits: [0.1, 0.5]}])")


def test_cells_that_no_one_entry_leaves_out_are_not_given_one():
    """Three of four corners: any entry would take the fourth, or leave one."""
    gradient = "factors: {objective.gradient: [standard, stl], objective.beta_place: [inside, outside], k: [5]}"
    (said,) = problems(gradient, "objective: {iwae_tile_bug: true}")
    assert "in 3 of 4 cells, like k=5 objective.gradient=standard objective.beta_place=outside;" in said
    assert said.endswith("leave them out with exclude)")


def test_an_entry_that_would_leave_out_a_good_cell_is_not_given():
    """Of the cells with the bug one is good, and so is every cell without it."""
    (said,) = problems(
        "factors: {objective.iwae_tile_bug: [false, true], objective.gradient: [standard, stl], k: [5]}",
        "objective: {beta_place: inside}",
        "cells: [{k: 5, objective.iwae_tile_bug: true, objective.beta_place: outside}]",
    )
    assert "in 2 of 5 cells, like objective.gradient=stl objective.iwae_tile_bug=true;" in said
    assert said.endswith("leave them out with exclude)")
    (said,) = problems(
        "factors:",
        "  k: [5]",
        "  objective.iwae_tile_bug: [false, true]",
        "  objective.gradient: [standard, stl]",
        "  objective.beta_place: [inside, outside]",
    )
    assert "in 3 of 8 cells, like objective.iwae_tile_bug=true;" in said
    assert said.endswith("leave them out with exclude)")


def test_if_all_cells_are_refused_there_is_nothing_to_leave_out():
    (said,) = problems("factors: {k: [5, 50]}", "objective: {kl: analytic}")
    assert said.endswith("(in all 2 cells)")
    assert "exclude" not in said


def test_a_named_cell_has_its_own_place():
    (said,) = problems("cells: [{k: 1}, {k: 5, objective.kl: analytic}]")
    assert said.startswith("grid.yaml:2:38: objective.kl: got analytic")
    assert "in 1 of 2 cells, like k=5 objective.kl=analytic; leave them out with exclude)" in said


def test_what_comes_from_an_option_or_a_preset_says_so(monkeypatch):
    (said,) = problems("factors: {k: [5]}", sets=("objective.kl=analytic",))
    assert said.startswith("--set objective.kl=analytic: objective.kl: got analytic")
    monkeypatch.setitem(PRESETS, "mine", {"objective.kl": "analytic"})
    (said,) = problems("factors: {k: [5]}", "preset: mine")
    assert said.startswith("grid.yaml:3:1: objective.kl: got analytic")


def test_a_default_that_is_refused_points_at_its_room():
    (said,) = problems("factors: {k: [1]}", "data: {name: frey_faces}")
    assert said.startswith("grid.yaml:3:1: data.input: got dynamic: the pixels of frey_faces are not probabilities")


def test_levels_of_classes_are_shown_as_they_are_written():
    lines = "factors: {data.classes: [[1, 2], all], k: [1, 5], objective.kl: [auto, analytic]}"
    grid = grid_of(lines, "exclude: [{data.classes: all, k: 5, objective.kl: analytic}]")
    with pytest.raises(GridError, match=r"in 1 of 7 cells, like k=5 data.classes=\[1, 2\] objective.kl=analytic; leave"):
        refuse(grid, cells_by_settings(grid))


def test_a_refused_grid_is_bad_input_before_anything_starts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "g.yaml").write_text("study: s\nfactors: {k: [1, 5], objective.kl: [auto, analytic]}\n")
    for words in (["--plan"], ["--executor", "inline"], ["--smoke", "--plan"]):
        assert main(["g.yaml", *words]) == 2
        said = capsys.readouterr()
        assert said.err.startswith("g.yaml: 1 problem\ng.yaml:2:43: objective.kl: got analytic: each importance weight")
        assert said.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["g.yaml"]
    assert main(["g.yaml", "--plan", "--set", "exclude=[{k: 5, objective.kl: analytic}]"]) == 0


# ---- Settings without effect ----

IDLE = {
    "data.input": ({"data.name": "binarized_mnist", "data.input": "static"}, {"data.name": "mnist"}),
    "data.scale": ({"data.scale": "255"}, {"data.name": "npz", "data.path": "mine.npz"}),
    "data.image_size": ({"data.image_size": (28, 20)}, {"data.name": "npz", "data.path": "mine.npz"}),
    "data.subset": ({"data.subset": "random"}, {"data.classes": "1,2"}),
    "model.decoder_logvar": ({"model.decoder_logvar": "fixed"}, {"decoder": "gaussian"}),
    "model.decoder_logvar_value": (
        {"decoder": "gaussian", "model.decoder_logvar_value": 1.0},
        {"model.decoder_logvar": "global"},
    ),
    "model.decoder_logvar_limit": (
        {"decoder": "gaussian", "model.decoder_logvar_limit": 1.0},
        {"model.decoder_logvar": "linear_clamped"},
    ),
    "model.bn_scope": ({"model.bn_scope": "hidden_and_latent"}, {"batch_norm": True}),
    "model.bn_statistics": ({"model.bn_statistics": "running"}, {"batch_norm": True}),
    "model.bn_momentum": ({"batch_norm": True, "model.bn_momentum": 0.5}, {"model.bn_statistics": "running"}),
    "objective.bound": ({"objective.bound": "vae"}, {"k": 5}),
    "objective.kl": ({"objective.kl": "sampled", "k": 5}, {"k": 1}),
    "objective.beta_place": ({"objective.beta_place": "outside", "k": 5}, {"warmup": 9}),
    "objective.warmup_by": ({"objective.warmup_by": "step"}, {"warmup": 9}),
    "objective.warmup_cycles": ({"objective.warmup_cycles": 4}, {"warmup": 9}),
    "objective.warmup_share": ({"objective.warmup_share": 0.25, "warmup": 9}, {"objective.warmup_cycles": 4}),
    "objective.iwae_tile_bug": ({"objective.iwae_tile_bug": True}, {"k": 5}),
    "training.schedule_over": ({"training.schedule_over": 100}, {"training.schedule": "burda"}),
}


@pytest.mark.parametrize(("name", "values", "wakes"), [(name, *pair) for name, pair in IDLE.items()], ids=IDLE.keys())
def test_an_idle_setting_is_found_and_what_wakes_it_is_not(name, values, wakes):
    assert without_effect(settings_from(values)) == [name]
    assert without_effect(settings_from(values | wakes)) == []
    assert without_effect(settings_from(values | {name: default_of(name)})) == []


def test_every_setting_that_can_be_idle_is_tried():
    assert set(IDLE) == set(re.findall(r'^        "([a-z_.]+)":', inspect.getsource(without_effect), re.MULTILINE))


def test_auto_and_what_it_stands_for_are_the_same():
    for values in ({"k": 1}, {"k": 5}, {"k": 1, "objective.gradient": "stl"}, {"k": 5, "objective.bound": "vae"}):
        closed = closed_form_kl(settings_from(values))
        same, other = ("analytic", "sampled") if closed else ("sampled", "analytic")
        assert without_effect(settings_from(values | {"objective.kl": same})) == ["objective.kl"]
        assert without_effect(settings_from(values | {"objective.kl": other})) == []


def test_a_note_says_in_how_many_cells():
    assert noted("factors: {batch_norm: [false, true], k: [1, 5]}", "model: {bn_scope: hidden_and_latent}") == [
        "note: model.bn_scope has no effect in 2 of 4 cells, like batch_norm=false"
    ]
    assert noted("factors: {objective.bound: [iwae, vae], k: [1, 5, 50]}") == [
        "note: objective.bound has no effect in 1 of 6 cells, like k=1 objective.bound=vae"
    ]


def test_one_line_a_setting():
    lines = noted("factors: {k: [1, 5]}", "data: {subset: random}", "model: {bn_scope: hidden_and_latent, bn_momentum: 0.5}")
    assert lines == [
        "note: data.subset has no effect in any of 2 cells",
        "note: model.bn_scope has no effect in any of 2 cells",
        "note: model.bn_momentum has no effect in any of 2 cells",
    ]
    assert noted("data: {subset: random}") == ["note: data.subset has no effect"]
    assert noted(sets=("data.subset=random",)) == ["note: data.subset has no effect"]


@pytest.mark.parametrize("preset", PRESETS)
def test_what_a_preset_sets_is_not_noted(preset):
    assert noted(f"preset: {preset}", "factors: {k: [1, 5], batch_norm: [false, true], warmup: [0, 9]}") == []


def test_nothing_to_note_of_good_grids():
    assert noted("factors: {k: [1, 5], warmup: [0, 20], n_z: [2, 10]}") == []


# ---- Warm-up and learning rate that outlast the training ----


@pytest.mark.parametrize(
    ("objective", "epochs", "said"),
    [
        ({}, 20, "warmup 20 is longer than training.epochs 20: beta ends at 0.95"),
        ({}, 21, None),
        ({"beta": 4}, 11, "warmup 20 is longer than training.epochs 11: beta ends at 2.00"),
        ({"warmup_by": "step"}, 10, "warmup 20 is longer than training.epochs 10: beta ends at 0.50"),
        ({"warmup_cycles": 2}, 60, "warmup 20 in 2 cycles takes 60 epochs, longer than training.epochs 60: beta ends at 0.95"),
        ({"warmup_cycles": 2}, 61, None),
        ({"warmup_cycles": 2, "warmup_share": 1.0}, 40, "warmup 20 in 2 cycles takes 40 epochs, longer than training.epochs 40: beta ends at 0.95"),
        ({"warmup_cycles": 2, "warmup_share": 1.0}, 41, None),
    ],
)  # fmt: skip
def test_a_warmup_that_outlasts_the_training(objective, epochs, said):
    lines = noted("factors: {warmup: [0, 20], k: [1, 5]}", f"objective: {objective}", f"training: {{epochs: {epochs}}}")
    assert [line for line in lines if "warmup 20" in line] == ([f"note: {said}"] if said else [])


def test_a_schedule_that_outlasts_the_training():
    def lines(epochs: int) -> list[str]:
        return noted("training:", f"  epochs: {epochs}", "  schedule: burda", "  learning_rate: 0.01")

    assert lines(300) == [
        "note: training.schedule_over 3280 is longer than training.epochs 300: the learning rate ends at 0.0019"
    ]
    assert lines(3280) == lines(4000) == []
