"""A short run of mutated_grids.py, the worst sizes one by one, and faults that the script must see."""

import re

import pytest

from study.grid.design import DesignError, cells_by_settings
from study.grid.grid import GridError, parse_grid
from tests.breaking import mutated_grids
from workers.contract import yaml_tree as nodes


def test_mutated_grids_are_planned_or_refused_with_places(tmp_path):
    tally, wrong, _ = mutated_grids.run(150, 5, tmp_path)
    assert [words for words, _ in wrong] == []
    assert tally["planned"] > 5
    assert tally["refused"] > 50
    assert tally["traceback"] == 0
    assert tally["naive"] > 20


def test_the_script_sees_an_exception_and_a_complaint_without_a_place(tmp_path, monkeypatch):
    def leaky(text, source):
        raise KeyError("x")

    with monkeypatch.context() as patch:
        patch.setattr(nodes, "read_nodes", leaky)
        tally, wrong, _ = mutated_grids.run(5, 0, tmp_path)
        # A file that is no text is refused before.
        assert tally["traceback"] == len(wrong) > 1
        assert mutated_grids.main(["--count", "3"]) == 1
    file = tmp_path / "g.yaml"
    assert mutated_grids.complaint(file, 2, f"{file}:3:1: no\nno place", "", 0.1).startswith(
        "a line without a place: no place"
    )
    assert mutated_grids.complaint(file, 2, f"{file}: 2 problems\n", "", 0.1).startswith("a line without a place")
    assert mutated_grids.complaint(file, 0, "", "2 cells, 8 trials", 17) == "17.0 standard loops for 8 trials (exit 0)"
    assert mutated_grids.complaint(file, 0, "", "2 cells, 8 trials", 15) == ""


FULL = nodes.MAX_BYTES - 100
LARGEST = {
    "seeds": "study: x\nfactors: {seed: [" + ", ".join(map(str, range(FULL // 8))) + "]}",
    "wrong levels": "study: x\nfactors: {k: [" + "x, " * (FULL // 3) + "]}",
    "the same level": "study: x\nfactors: {k: [" + "1, " * (FULL // 3) + "]}",
    "keys": "study: x\n" + "".join(f"key{i}: 1\n" for i in range(FULL // 12)),
    "settings": "study: x\nmeasure:\n" + "".join(f"  key{i}: 1\n" for i in range(FULL // 14)),
    "exclude": "study: x\nfactors: {k: [5, 6]}\nexclude: [" + "{k: 5}, " * (FULL // 9) + "]",
    "cells": "study: x\ncells: [" + ", ".join(f"{{k: {i + 2}}}" for i in range(FULL // 12)) + "]",
    "brackets": "[" * FULL,
    "questions": "? " * (FULL // 2),
    "one text": "study: " + "a" * FULL,
    "one key": "a" * FULL + ": 1",
    "lines": "study: x\n" + "\n" * FULL,
    "quotes": '"' * FULL,
    "classes": "study: x\ndata: {classes: [" + "1, " * (FULL // 3) + "]}",
}


@pytest.mark.parametrize("text", LARGEST.values(), ids=LARGEST)
def test_the_largest_file_of_every_kind_is_answered_in_time(text, tmp_path):
    code, words, _ = mutated_grids.ask(tmp_path / "grid.yaml", text.encode(), tmp_path)
    assert words == ""
    assert code in (0, 2)


def test_a_factorial_of_a_thousand_million_cells_is_refused_before_it_is_made():
    levels = ", ".join(map(str, range(1, 1001)))
    grid = parse_grid(f"study: x\nfactors: {{k: [{levels}], n_z: [{levels}], warmup: [{levels}]}}")
    with pytest.raises(DesignError, match=r"grid\.yaml:2:1: factors: 1,000,000,000 trials; at most 100,000 are allowed"):
        cells_by_settings(grid)


def test_a_thousand_problems_are_counted_and_a_hundred_shown():
    with pytest.raises(GridError) as refusal:
        parse_grid("study: x\nfactors: {k: [" + "x, " * 1000 + "]}")
    lines = str(refusal.value).splitlines()
    assert len(refusal.value.problems) == 1000
    assert lines[0] == "grid.yaml: 1000 problems"
    assert len(lines) == 102
    assert lines[-1] == "grid.yaml:2:315: 900 more problems from here on"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["data: {n_valid: 2000}"], r"grid\.yaml:2:17: data\.n_valid: 2000 leaves none of the 1437 images"),
        (["run: {device: mps}"], r"grid\.yaml:2:15: run\.device: got mps"),
        (["run: {device: cuda}"], r"grid\.yaml:2:15: run\.device: got cuda"),
        (["data: {name: npz, path: nowhere.npz}"], r"grid\.yaml:2:25: data\.path: nowhere\.npz is not a file"),
        (['run: {out: "a\\0b"}'], r"grid\.yaml:2:12: run\.out: got .*; allowed: printable characters"),
        (["run: {out: 's3://b'}"], r"grid\.yaml:2:12: run\.out: s3://b/x: b is not a valid bucket name"),
        (
            ["run: {out: grid.yaml}"],
            r"grid\.yaml:2:12: run\.out: grid\.yaml/x cannot be created, because grid\.yaml is a file",
        ),
    ],
)
def test_what_is_found_after_the_file_is_read_has_a_place_too(lines, words, tmp_path, monkeypatch, capsys):
    from study.commands.run import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("study.plan.machine.gpu_count", lambda: 0)
    (tmp_path / "grid.yaml").write_text("\n".join(["study: x", *lines]))
    assert main(["grid.yaml", "--plan"]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) in (1, 2)
    assert re.match(words, error.splitlines()[-1])
