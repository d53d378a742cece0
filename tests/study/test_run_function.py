"""`study.run`, the function for notebooks and scripts, takes what the command takes."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import study
from study.commands.run import _parser
from tests.study.finished_study import TINY

ONLY_OF_THE_COMMAND = {"plan", "calibrate", "cluster", "help"}


def test_every_option_of_the_command_has_its_parameter():
    options = {action.dest for action in _parser()._actions} - ONLY_OF_THE_COMMAND
    assert {{"sets": "set"}.get(name, name) for name in inspect.signature(study.run).parameters} == options


@pytest.mark.parametrize("out", ["there", Path("there"), None], ids=repr)
@pytest.mark.parametrize("retry_failed", [True, False])
def test_where_results_go_and_whether_failed_trials_are_tried_again(monkeypatch, out, retry_failed):
    asked = {}
    monkeypatch.setattr("study.pipeline.run_grid", lambda grid, **options: asked.update(options) or 1)
    assert study.run("g.yaml", out=out, retry_failed=retry_failed, executor="inline") == 1
    assert (asked["out"], asked["retry_failed"]) == (None if out is None else "there", retry_failed)


@pytest.mark.usefixtures("in_an_empty_folder")
def test_a_script_in_ascii(tiny):
    Path("results").rename("résultats λ")
    Path("tiny.yaml").write_text(TINY)
    program = "import study; print(study.run('tiny.yaml', out='résultats λ', only=['k=1'], executor='inline'))"
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert (done.stderr, done.stdout.splitlines()[-1]) == ("", "0")
    assert "figures: python -m analysis.report 'r?sultats ?/tiny'" in done.stdout
