"""Classes and layers are written as lists and stored as text: one text for one meaning, and words for what is wrong."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.grid.grid import GridError, parse_grid
from study.grid.hints import LISTS, allowed
from study.grid.selection import select
from tests.study.small_study import grid_of, levels_of, trials_from
from workers.contract.settings import ModelSettings, layers_above
from workers.contract.settings_table import adapter_of, leaves

CLASSES, LAYERS = "data.classes", "model.layers_above"


def flow(layers: list) -> str:
    return f"[{', '.join(f'{{hidden: {list(hidden)}, n_z: {n_z}}}' for hidden, n_z in layers)}]"


sizes = st.integers(1, 9999)
some_layers = st.lists(st.tuples(st.lists(sizes, min_size=1, max_size=8).map(tuple), sizes), min_size=1, max_size=8)


def test_every_setting_with_a_pattern_is_said_in_words():
    """A pattern is no help to a user; what takes lists must say so."""
    with_pattern = [name for name in leaves() if "pattern" in str(adapter_of(name).json_schema())]
    assert with_pattern == list(LISTS)
    for name in with_pattern:
        assert adapter_of(name).json_schema()["pattern"] not in allowed(name)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 9999), min_size=1, max_size=12), st.randoms())
def test_classes_are_a_set_however_they_are_written(classes, random):
    shuffled = random.sample(classes, len(classes))
    text = ",".join(map(str, shuffled))
    written = [str(shuffled), f"'{text}'", str(sorted(set(classes)))]
    stored = {grid_of(f"data: {{classes: {value}}}").base.data.classes for value in written}
    assert stored == {",".join(map(str, sorted(set(classes))))}


@settings(deadline=None, max_examples=50)
@given(some_layers)
def test_layers_survive_both_ways_to_write_them(layers):
    long = grid_of(f"model: {{layers_above: {flow(layers)}}}").base.model
    assert layers_above(long) == tuple(layers)
    assert grid_of(f"model: {{layers_above: {long.layers_above}}}").base.model == long


def test_lists_give_the_trials_of_their_text():
    assert trials_from("data: {classes: [3, 1, 2, 1]}") == trials_from('data: {classes: "1,2,3"}')
    assert trials_from("data: {classes: all}") == trials_from()
    above = "[{hidden: [100, 100], n_z: 50}, {hidden: [30], n_z: 7}]"
    assert trials_from(f"model: {{layers_above: {above}}}") == trials_from("model: {layers_above: 100-100-z50-30-z7}")
    assert trials_from("model:\n  layers_above:\n    - hidden: [8]\n      n_z: 4") == trials_from(
        "model: {layers_above: 8-z4}"
    )
    assert layers_above(ModelSettings(layers_above="none")) == ()


@pytest.mark.parametrize(
    ("name", "levels", "stored"),
    [
        (CLASSES, "[[1, 2], [5, 1, 2], all]", ["1,2", "1,2,5", "all"]),
        (CLASSES, "[[1]]", ["1"]),
        (CLASSES, "all", ["all"]),
        (LAYERS, "[none, 100-100-z50]", ["none", "100-100-z50"]),
        (LAYERS, "[none, [{hidden: [8], n_z: 4}], 8-z4-8-z2]", ["none", "8-z4", "8-z4-8-z2"]),
    ],
)
def test_a_level_is_itself_a_list(name, levels, stored):
    assert [level for (level,) in levels_of(trials_from(f"factors: {{{name}: {levels}}}"), name)] == stored
    assert [level for (level,) in levels_of(trials_from(sets=[f"factors.{name}={levels}"]), name)] == stored


def test_a_cell_takes_one_list_and_exclude_takes_levels():
    trials = trials_from("cells: [{data.classes: [2, 1]}, {model.layers_above: [{hidden: [8], n_z: 4}]}]")
    assert levels_of(trials, CLASSES, LAYERS) == [("1,2", "none"), ("all", "8-z4")]
    factors = "factors: {data.classes: [[1], [1, 2], all], data.subset: [classes, random]}"
    left = trials_from(factors, "exclude: [{data.classes: [[2, 1], all], data.subset: random}]")
    assert levels_of(left, CLASSES, "data.subset") == [
        ("1", "classes"),
        ("1", "random"),
        ("1,2", "classes"),
        ("all", "classes"),
    ]
    assert left == trials_from(factors, "exclude: [{data.classes: [[1, 2]], data.subset: random}, {data.classes: all, data.subset: random}]")  # fmt: skip


@pytest.mark.parametrize(
    ("option", "name", "stored"),
    [
        ("data.classes=[-3, 20231129, 2000000000]", CLASSES, "-3,20231129,2000000000"),
        ("data.classes=[dog, 10, '9', 2023-11-29, 'a, b', dog]", CLASSES, '9,10,"2023-11-29","a, b","dog"'),
        ("data.classes=[3, 2, 1]", CLASSES, "1,2,3"),
        ("data.classes=all", CLASSES, "all"),
        ("data.classes='2,1'", CLASSES, "1,2"),
        ("model.layers_above=[{hidden: [8, 4], n_z: 3}]", LAYERS, "8-4-z3"),
        ("model.layers_above=8-4-z3", LAYERS, "8-4-z3"),
    ],
)
def test_options_take_lists(option, name, stored):
    file = ["data: {classes: [7]}", "model: {layers_above: 9-z9}"]
    assert levels_of(trials_from(*file, sets=[option]), name) == [(stored,)]


def test_only_takes_lists():
    trials = trials_from("factors: {data.classes: [[1, 2], [3], all]}")
    assert levels_of(select(trials, ["data.classes=[2, 1]"]), CLASSES) == [("1,2",)]
    assert levels_of(select(trials, ["data.classes='1,2'", "data.classes=all"]), CLASSES) == [("1,2",), ("all",)]


BAD = {
    "classes as levels of one": (
        "factors: {data.classes: §[1, 2]}",
        "factors.data.classes: a level is itself a list of classes; write [[1, 2]] for this one level",
    ),
    "one class as a level": (
        "factors: {data.classes: §5}",
        "factors.data.classes: a level is itself a list of classes; write [[5]] for this one level",
    ),
    "layers as levels of one": (
        "factors: {model.layers_above: §[{hidden: [8], n_z: 4}]}",
        "factors.model.layers_above: a level is itself a list of layers; write [[{hidden: [8], n_z: 4}]] for this one level",
    ),
    "one layer as a level": (
        "factors: {model.layers_above: §{hidden: [8], n_z: 4}}",
        "write [[{hidden: [8], n_z: 4}]] for this one level",
    ),
    "a class among levels": (
        "factors: {data.classes: [all, §3]}",
        "factors.data.classes[1]: got 3; a level is a list of classes: write [3]",
    ),
    "a layer among levels": (
        "factors: {model.layers_above: [none, §{hidden: [8], n_z: 4}]}",
        "factors.model.layers_above[1]: got {hidden: [8], n_z: 4}; a level is a list of layers: write [{hidden: [8], n_z: 4}]",
    ),
    "classes in exclude": (
        "factors: {data.classes: [[1, 2], all]}\nexclude: [{data.classes: §[1, 2]}]",
        "exclude[0].data.classes: a level is itself a list of classes; write [[1, 2]] for this one level",
    ),
    "classes in exclude that are no level": (
        "factors: {data.classes: [[1, 2], all]}\nexclude: [{data.classes: §[[1, 3]]}]",
        "exclude[0].data.classes: [1, 3] is not one of its levels; levels: [1, 2], all",
    ),
    "the same classes twice": (
        "factors: {data.classes: [[1, 2], §[2, 1, 2]]}",
        "factors.data.classes[1]: [1, 2] is listed twice; keep one",
    ),
    "the same layers twice": (
        "factors: {model.layers_above: [8-z4, §[{hidden: [8], n_z: 4}]]}",
        "factors.model.layers_above[1]: 8-z4 is listed twice; keep one",
    ),
    "levels in a room": ("data: {classes: §[[1, 2], all]}", "data.classes: got [[1, 2], 'all']; allowed: all, or a list"),
    "levels of lists in a room": (
        "data: {classes: §[[1, 2], [3]]}",
        "data.classes: got a list; list levels under `factors`",
    ),
    "class with a quotation mark": (
        "data: {classes: §['a\"b', 2]}",
        "data.classes: got ['a\"b', 2]; allowed: all, or a list of labels, like [1, 2, 3] or [cat, dog]",
    ),
    "class without a name": ("data: {classes: §['', 2]}", "data.classes: got ['', 2]; allowed: all, or a list of labels"),
    "class as text": ("data: {classes: §cat}", "data.classes: got 'cat'; allowed: all, or"),
    "class that is a boolean": ("data: {classes: §[true]}", "data.classes: got [true]; allowed: all, or"),
    "fraction of a class": ("data: {classes: §[1.0]}", "data.classes: got [1.0]; allowed: all, or"),
    "no class": ("data: {classes: §[]}", "data.classes: got []; allowed: all, or"),
    "one class as a number": ("data: {classes: §5}", "data.classes: got 5; allowed: all, or"),
    "classes as keys": ("data: {classes: §{a: 1}}", "data.classes: got {a: 1}; allowed: all, or"),
    "classes misspelt": ("data: {classes: §al}", "data.classes: got 'al'; allowed: all, or"),
    "layer without n_z": (
        "model: {layers_above: §[{hidden: [8]}]}",
        "model.layers_above: got [{hidden: [8]}]; allowed: none, a list of layers like [{hidden: [100, 100], n_z: 50}]",
    ),
    "layer with more": ("model: {layers_above: §[{hidden: [8], n_z: 4, k: 1}]}", "model.layers_above: got [{hidden: [8]"),
    "layer without hidden units": ("model: {layers_above: §[{hidden: [], n_z: 4}]}", "or in short 100-100-z50"),
    "layer of nothing": ("model: {layers_above: §[{hidden: [8, 0], n_z: 4}]}", "all from 1 to 9999"),
    "hidden as a number": ("model: {layers_above: §[{hidden: 8, n_z: 4}]}", "model.layers_above: got [{hidden: 8, n_z: 4}]"),
    "short text without latent units": ("model: {layers_above: §100-100}", "model.layers_above: got '100-100'; allowed: none"),
    "sizes alone": ("model: {layers_above: §[100, 100]}", "model.layers_above: got [100, 100]; allowed: none, a list of layers"),
    "nine layers": (f"model: {{layers_above: §{'-'.join(['8-z4'] * 9)}}}", "at most 8 layers"),
    "nothing": ("model: {layers_above: §~}", "model.layers_above: got nothing; allowed: none"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "words"), BAD.values(), ids=BAD.keys())
def test_a_bad_list_has_its_place_and_what_would_be_right(text, words):
    before, _, after = f"study: s\n{text}".partition("§")
    place = f"grid.yaml:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}: "
    with pytest.raises(GridError) as caught:
        parse_grid(before + after)
    first, *lines = str(caught.value).splitlines()
    assert (first, len(lines)) == ("grid.yaml: 1 problem", 1)
    assert lines[0].startswith(place)
    assert words in lines[0]
    assert "^(" not in lines[0], "a pattern is no word"


def test_bad_lists_of_options_are_named_as_they_were_written():
    with pytest.raises(
        GridError, match=re.escape("--set data.classes=[0.5]: data.classes: got [0.5]; allowed: all, or a list")
    ):
        grid_of(sets=["data.classes=[0.5]"])
