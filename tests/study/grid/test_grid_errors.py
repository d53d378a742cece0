"""A bad grid file ends with every problem at once, each with its place and with what would be right."""

import math
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from study.grid.design import MAX_TRIALS, DesignError
from study.grid.grid import GridError, parse_grid, read_grid
from study.plan.planning import settle
from study.plan.request import Request
from tests import ROOT
from tests.study.small_study import grid_of, trials_in
from workers.contract.settings_table import leaves
from workers.store.memory import MemoryStore

HERE = "§"
"""Marks the place in a text that a problem must name."""


def marked(text: str) -> tuple[str, str]:
    """The text without its mark, and the mark's place."""
    before, _, after = text.partition(HERE)
    return before + after, f"grid.yaml:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}: "


BAD = {
    "unknown key": ("§factor: {k: [1]}", "factor: no such key; did you mean factors?"),
    "key of no likeness": ("§qqq: 1", "allowed: study, preset, factors"),
    "unknown setting": ("training: {epochs: 3, §learnig_rate: 0.1}", "training.learnig_rate: .*did you mean learning_rate?"),
    "setting of another room": ("model: {§epochs: 3}", "model.epochs: no such setting; did you mean training.epochs?"),
    "factor in a room": ("training: {§warmup: 3}", "did you mean factors.warmup?"),
    "unknown run setting": ("run: {§pack: none}", "run.pack: no such setting; did you mean packing?"),
    "unknown factor": ("factors: {§learning_rate: [1e-3]}", "factors.learning_rate: .*did you mean training.learning_rate?"),
    "misspelt level": ("factors:\n  decoder: [bernoulli, §gaussien]", r"factors.decoder\[1\]: got 'gaussien'; .*did you mean gaussian?"),
    "misspelt single level": ("factors:\n  decoder: §gaussien", "factors.decoder: got 'gaussien'; .*did you mean gaussian?"),
    "misspelt word": ("model: {activation: §softpuls}", "got 'softpuls'; allowed: softplus, tanh, relu, leaky_relu; did you mean softplus?"),
    "misspelt preset": ("preset: §papr", "preset: got 'papr'; allowed: paper.*did you mean paper?"),
    "preset of no name": ("preset: §[paper]", "preset: got a list; allowed: paper"),
    "text for a number": ("training: {epochs: §ten}", "training.epochs: got 'ten'; allowed: a whole number from 1 to 1000000"),
    "quoted number": ("factors: {k: [§'1']}", "got '1'; allowed: a whole number from 1 to 10000"),
    "fraction for a count": ("factors: {k: [1, §1.5]}", r"factors.k\[1\]: got 1.5; allowed: a whole number"),
    "number for a word": ("model: {activation: §1}", "got 1; allowed: softplus, tanh, relu"),
    "boolean for a number": ("factors: {k: [§true]}", "got true; allowed: a whole number"),
    "number for a boolean": ("factors: {batch_norm: [§1]}", "got 1; allowed: true or false"),
    "no for a boolean": ("factors: {batch_norm: [§no, true]}", r"batch_norm\[0\]: got 'no'; .*did you mean false?"),
    "Yes for a boolean": ("factors: {batch_norm: [§Yes]}", "got 'Yes'; .*did you mean true?"),
    "True for a boolean": ("factors: {batch_norm: [§True]}", "got 'True'; .*did you mean true?"),
    "level below the range": ("factors: {k: [1, §0]}", "got 0; allowed: a whole number from 1 to 10000"),
    "level above the range": ("factors: {training.learning_rate: [§11]}", "got 11; allowed: a number above 0 to 10"),
    "open end of a range": ("training: {beta1: §1}", "got 1; allowed: a number from 0 below 1"),
    "infinity": ("training: {epsilon: §.inf}", "got '.inf'; allowed: a number above 0"),
    "infinity by overflow": ("measure: {threshold: §1e999}", "measure.threshold: got 1e999; allowed: a number above 0"),
    "nan": ("measure: {threshold: §.nan}", "got '.nan'; allowed: a number above 0"),
    "nothing": ("factors: {k: [1, §~]}", "got nothing; allowed: a whole number"),
    "octal": ("factors: {k: [§012]}", "got '012'; allowed: a whole number"),
    "underscore": ("factors: {n_z: [§1_000]}", "got '1_000'; allowed: a whole number"),
    "hexadecimal": ("factors: {n_z: [§0x10]}", "got '0x10'; allowed: a whole number"),
    "sexagesimal": ("factors: {n_z: [§1:30]}", "got '1:30'; allowed: a whole number"),
    "integer of many digits": (f"factors: {{seed: [§{'9' * 5000}]}}", r"got '9{57}\.\.\.'; allowed: a whole number"),
    "level twice": ("factors: {k: [1, 5, §1]}", r"factors.k\[2\]: 1 is listed twice; keep one"),
    "level twice, otherwise written": ("factors: {training.beta1: [0.5, §5e-1]}", "5e-1 is listed twice; keep one"),
    "key twice": ("factors:\n  k: [1]\n  §k: [5]", "k: is given twice, first in line 3; keep one"),
    "room twice": ("model: {}\n§model: {}", "model: is given twice, first in line 2"),
    "list of a level": ("factors: {k: [§[1, 5]]}", r"factors.k\[0\]: got a list"),
    "mapping of a level": ("factors: {k: [§{from: 1}]}", r"factors.k\[0\]: got keys and values; allowed: a whole number"),
    "mapping of levels": ("factors: {k: §{from: 1}}", "factors.k: got keys and values; allowed: a whole number"),
    "no level": ("factors: {k: §[]}", "factors.k: got an empty list; give at least one level"),
    "factors as a list": ("factors: §[k, n_z]", "factors: got a list; allowed: keys and values below it"),
    "room as a word": ("model: §big", "model: got 'big'; allowed: keys and values below it"),
    "list in a room": ("training: {batch_size: §[10, 100]}", "training.batch_size: got a list; list levels under `factors`"),
    "list for the whole study": ("training: {epochs: §[10, 100]}", "training.epochs: got a list; give one value"),
    "layer of no unit": ("model: {hidden: §[200, 0]}", "model.hidden: .*allowed: a list of whole numbers from 1 to 8192"),
    "no layer": ("model: {hidden: §[]}", "model.hidden: .*allowed: a list of whole numbers"),
    "measure as a factor": ("factors: {§measure.threshold: [0.1]}", "cannot be a factor: it changes what is measured"),
    "epochs as a factor": ("factors: {§training.epochs: [1, 2]}", "cannot be a factor: a study can be made longer"),
    "layers as a factor": ("factors: {§model.hidden: [[8]]}", "cannot be a factor: it has one value for the whole study"),
    "data as a factor": ("factors: {§data.name: [digits, mnist]}", "cannot be a factor: it has one value"),
    "factor in its room, too": (
        "training: {epsilon: 0.1}\nfactors: {§training.epsilon: [0.1, 0.2]}",
        "factors.training.epsilon: is also set under training; keep one",
    ),
    "file without npz": ("§data: {path: mine.npz}", "data.path: has no effect with `name: digits`.*write `name: npz`"),
    "npz without a file": ("§data: {name: npz}", "data.path: is missing; name the file"),
    "excluded factor unknown": ("factors: {k: [1]}\nexclude: [{§kk: 1}]", r"exclude\[0\].kk: is not a factor.*did you mean k?"),
    "excluded level unknown": ("factors: {k: [1, 5]}\nexclude: [{k: 5}, {k: §7}]", r"exclude\[1\].k: 7 is not one of its levels; levels: 1, 5"),
    "excluded level wrong": ("factors: {k: [1, 5]}\nexclude: [{k: §five}]", r"exclude\[0\].k: got 'five'; allowed: a whole number"),
    "exclude as a mapping": ("factors: {k: [1]}\nexclude: §{k: 1}", "exclude: got keys and values; allowed: a list of {factor: level}"),
    "exclude nothing of something": ("exclude: [§{}]", r"exclude\[0\]: got keys and values; allowed: {factor: level}, like"),
    "cell of a seed": ("cells: [{k: 5, §seed: 1}]", r"cells\[0\].seed: every cell has all seeds; list them under factors.seed"),
    "cell of a word": ("cells: [{k: 5}, §k]", r"cells\[1\]: got 'k'; allowed: {factor: level}"),
    "cell of a list": ("cells: [{k: §[1, 5]}]", r"cells\[0\].k: got a list"),
    "cell of an unknown factor": ("cells: [{§K: 5}]", r"cells\[0\].K: no such setting"),
    "anchor": ("factors: {k: §&levels [1]}", "anchors and aliases .* are not allowed; write the value out"),
    "alias": ("model: {hidden: §*levels}", "anchors and aliases .* are not allowed"),
    "tag": ("factors: {k: [§!!int '1']}", "tags are not allowed, got tag:yaml.org,2002:int; write the value alone"),
    "python tag": ("factors: §!!python/object/apply:os.system [ls]", "tags are not allowed"),
    "two documents": ("model: {}\n§---\nstudy: t", "a second document begins here.*remove the `---`"),
    "too deep": ("factors: [[[[[[[§[[[1]]]]]]]]]]", "is nested deeper than 8 levels"),
    "key of a list": ("{§[a, b]: 1}", "a key must be plain text"),
    "tab": ("training:\n§\tepochs: 3", "is not valid YAML: .*check indentation"),
    "indentation": ("training:\n  epochs: 3\n §beta1: 0.5", "is not valid YAML: .*check indentation, colons and brackets"),
    "open bracket": ("factors: {k: [1, 5§}", "is not valid YAML: .*brackets"),
    "open quote": ("model: {activation: 'softplus}§", "is not valid YAML: "),
    "colon missing": ("factors\n§k: [1]", "is not valid YAML: .*colons"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "words"), BAD.values(), ids=BAD.keys())
def test_problem_has_its_place_and_what_would_be_right(text, words):
    # In flow style the whole file is one mapping.
    text, place = marked(f"{{study: s,\n{text[1:]}" if text.startswith("{") else f"study: s\n{text}")
    with pytest.raises(GridError) as caught:
        parse_grid(text)
    lines = str(caught.value).splitlines()
    assert lines[0] == "grid.yaml: 1 problem"
    assert len(lines) == 2, "one mistake, one problem"
    assert lines[1].startswith(place)
    assert re.search(words.replace("?", r"\?"), lines[1])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", "is empty; the README shows a grid file", id="empty"),
        pytest.param("\n# nothing yet\n", "is empty", id="comments alone"),
        pytest.param("- study: s\n", "must be keys and values, like `study: name`", id="list at the top"),
        pytest.param("study\n", "must be keys and values", id="word at the top"),
        pytest.param("factors: {k: [1]}\n", "study: is missing; name the study, like `study: quickstart`", id="no study"),
        pytest.param(f"study: s\n# {'x' * 50_000}\n", "is 50,012 bytes; at most 32,000 are allowed", id="larger than 32 KB"),
        pytest.param("study: s\n# \x00\n", "is not valid YAML: .*#x0000.*save it as plain UTF-8 text", id="zero byte"),
    ],
)
def test_problem_of_the_whole_file_stands_at_its_beginning(text, words):
    with pytest.raises(GridError, match=rf"grid.yaml:1:1: {words}"):
        parse_grid(text)


NO_NAMES = {
    "above": "../x",
    "folder": "a/b",
    "empty": "''",
    "hidden": ".hidden",
    "option": "-x",
    "underscore first": "_x",
    "65 letters": "a" * 65,
    "blank": "a b",
    "umlaut": "ä",
    "dot": "a.b",
    "list": "[a]",
    "line end": r'"s\n"',
    "Windows": r"C:\x",
}


@pytest.mark.parametrize("name", NO_NAMES.values(), ids=NO_NAMES.keys())
def test_study_names_are_safe_as_folders(name):
    with pytest.raises(GridError, match=r"grid.yaml:1:8: study: got .*; allowed: letters, digits, - and _, at most 64"):
        parse_grid(f"study: {name}\n")


@pytest.mark.parametrize("name", ["a", "a" * 64, "A-b_9", "2024", "true", "0x1"])
def test_good_study_names_stay_as_written(name):
    assert parse_grid(f"study: {name}\n").study == name


def test_all_problems_are_told_at_once_in_the_order_of_the_file():
    texts = [
        "study: ../x",
        "preset: papr",
        "factors:",
        "  decoder: [gaussien]",
        "  k: [0, 1, 1]",
        "  training.epochs: [3]",
        "  learning_rate: [0.1]",
        "exclude: [{n_z: 3}]",
        "cells: [{seed: 3}]",
        "training: {beta1: 2}",
        "run: {packing: some}",
        "foo: 1",
    ]
    with pytest.raises(GridError) as caught:
        parse_grid("\n".join(texts), sets=["training.beta2=7", "nonsense", "k=["])
    lines = str(caught.value).splitlines()
    assert lines[0] == "grid.yaml: 15 problems"
    assert len(lines) == 16
    at = [problem.place.line for problem in caught.value.problems]
    assert at == [0, 0, 0, 1, 2, 4, 5, 5, 6, 7, 8, 9, 10, 11, 12]


def test_design_that_is_empty_names_the_place_of_exclude():
    grid = "study: s\nfactors: {k: [1, 5]}\nexclude: [{k: [1, 5]}]\n"
    with pytest.raises(DesignError, match=r"grid.yaml.*exclude: leaves no cell; remove an entry"):
        trials_in(parse_grid(grid))
    with pytest.raises(DesignError, match=r"grid.yaml:3:\d+: exclude"):
        trials_in(parse_grid(grid))


def test_excluding_every_seed_leaves_no_trial():
    with pytest.raises(DesignError, match="exclude: leaves no trial"):
        trials_in(grid_of("factors: {k: [1], seed: [0, 1]}", "exclude: [{seed: [0, 1]}]"))


def test_too_many_trials_are_refused_before_they_are_made():
    n_z = ", ".join(map(str, range(1, 1002)))
    seeds = ", ".join(map(str, range(1000)))
    assert MAX_TRIALS < 1001 * 1000
    with pytest.raises(DesignError, match=r"1,001,000 trials; at most 100,000 are allowed; remove levels"):
        trials_in(grid_of(f"factors: {{n_z: [{n_z}], seed: [{seeds}]}}"))


@pytest.mark.parametrize("name", [name for name, field in leaves().items() if field.annotation is int])
def test_no_integer_is_accepted_that_its_column_cannot_hold(name):
    """What is allowed must fit the plan (int64) and, for the six factors, the rows (int32)."""
    largest = 2**31 if "." not in name and name != "seed" else 2**63
    room, _, key = name.rpartition(".")
    lines = f"{room}: {{{key}: {largest}}}" if room else f"factors: {{{name}: [{largest}]}}"
    with pytest.raises(GridError, match=f"{name}.*: got {largest}; allowed: a whole number from . (to|below)"):
        parse_grid(f"study: s\n{lines}\n")


@pytest.mark.parametrize(
    "key", [r'"a\nb"', r'"a\rb"', r'"a\e[2Jb"', r'"a\u2028b"'], ids=["line", "return", "escape", "U+2028"]
)
def test_one_problem_is_one_printable_line(key):
    with pytest.raises(GridError) as caught:
        parse_grid(f"study: s\n{key}: 1\nmodel: {{{key}: 1}}\nfactors: {{{key}: [1]}}\n")
    assert [line for line in str(caught.value).split("\n")[1:] if not line.startswith("grid.yaml:")] == []
    assert all(line.isprintable() for line in str(caught.value).split("\n"))


# ---- Files ----


def test_file_that_is_no_text(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes("study: fünf\n".encode("latin-1"))
    with pytest.raises(GridError, match=r"latin.yaml:1:1: is not UTF-8 text \(byte 8\)"):
        read_grid(path)


def test_file_that_is_not_there_names_those_that_are(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "other.yml").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GridError, match=r"grud.yaml:1:1: no such file; YAML files here: mine.yaml, other.yml"):
        read_grid("grud.yaml")
    with pytest.raises(GridError, match=r"directory"):
        read_grid(tmp_path)


def test_byte_order_mark_and_windows_lines_are_fine(tmp_path):
    path = tmp_path / "grid.yaml"
    text = "study: s\nfactors:\n  k: [1, 5]\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert trials_in(read_grid(path)) == trials_in(parse_grid(text))


# ---- Any text at all ----

LINES = (ROOT / "grid.yaml").read_text().splitlines()
PIECES = [
    "\n",
    "\t",
    " ",
    "  ",
    ":",
    ": ",
    ",",
    "[",
    "]",
    "{",
    "}",
    "- ",
    "-",
    "'",
    '"',
    "#",
    "&a ",
    "*a",
    "!",
    "!!int ",
    "|",
]
PIECES += [
    "---\n",
    "...",
    "?",
    "<<",
    "~",
    "null",
    "0",
    "1",
    "1e9",
    ".inf",
    "-",
    "%",
    "@",
    "`",
    "\\",
    "\x00",
    "\x85",
    "é",
    "🙂",
]
PIECES += ["\\n", "\u2028", "\ufeff", "seed", "k", "digits", "[1, 2]", "{a: 1}", "- ? "]


@st.composite
def mangled(draw):
    """grid.yaml with lines moved, and pieces put in, taken out and replaced."""
    lines = list(LINES)
    if draw(st.booleans()):
        a, b = (draw(st.integers(0, len(lines) - 1)) for _ in "ab")
        lines[a], lines[b] = lines[b], lines[a]
    text = "\n".join(lines)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(text)))
        gone = draw(st.sampled_from([0, 0, 1, 1, 2, 5]))
        text = text[:at] + draw(st.sampled_from(["", *PIECES])) + text[at + gone :]
    return text


@settings(max_examples=300, deadline=None)
@given(mangled())
@example('study: s\n"a\\nb": 1\n')
@example("study: s\n? |\n  a\n  b\n: 1\n")
def test_no_text_gives_anything_but_trials_or_problems_with_places(text):
    try:
        trials_in(parse_grid(text))
    except DesignError as error:
        assert str(error).startswith("grid.yaml:")
    except GridError as error:
        first, *rest = str(error).split("\n")
        assert re.fullmatch(r"grid.yaml: \d+ problems?", first)
        assert len(rest) == len(error.problems) > 0
        assert all(re.match(r"grid.yaml:\d+:\d+: \S", line) for line in rest)


def _number(name: str, low: float, high: float) -> st.SearchStrategy[str]:
    numbers = st.integers() if leaves()[name].annotation is int else st.floats(allow_nan=True)
    return st.one_of(numbers, st.sampled_from([low, high, math.inf])).map(lambda value: f"{name}={value}")


NUMBERS = {name: field for name, field in leaves().items() if field.annotation in (int, float)}


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(NUMBERS)).flatmap(lambda name: _number(name, 0, 1)))
def test_a_number_is_refused_or_can_be_planned(option):
    """What the reader of a grid accepts, the plan log can hold; nothing in between is a traceback."""
    from tests.study.small_study import CPU, DIGITS

    try:
        grid = grid_of(sets=[option])
    except GridError as error:
        assert f"--set {option}: " in str(error)
        return
    work = settle(Request(MemoryStore(), grid, trials_in(grid), CPU, DIGITS), {})
    assert len(work.new) == 1
