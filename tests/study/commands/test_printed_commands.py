"""Commands that the program prints for later work when they are pasted into a shell, whatever the folders are called."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from study.commands.main import main
from study.commands.run import main as run_main
from study.commands.status import lines_of
from study.status.found_study import find_study
from study.status.standing import standing
from tests.study.finished_study import TINY
from tests.study.small_study import use_machine

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")

ODD = ["my results", "it's", 'a"b', "$HOME", "a;b", "-x", "é λ", "#1", "a\\b", "(x)", "a&b"]


@pytest.fixture(params=ODD)
def odd(request, tiny) -> str:
    shutil.move("results", request.param if request.param[0] != "-" else f"./{request.param}")
    return request.param


def words_of(command: str) -> list[str]:
    """What bash makes of a command."""
    printed = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, text=True, check=True)
    return printed.stdout.split("\0")[:-1]


def same(path: str, other: str) -> bool:
    return Path(path).resolve() == Path(other).resolve()


def test_the_last_lines_of_a_run(capsys, odd, monkeypatch):
    use_machine(monkeypatch)
    Path("tiny.yaml").write_text(TINY)
    assert run_main(["tiny.yaml", "--executor", "inline", f"--out={odd}", "--only", "seed=1"]) == 0
    said = capsys.readouterr().out
    (report,) = re.findall(r"^figures: (.*)$", said, re.M)
    words = words_of(report)
    assert words[:3] == ["python", "-m", "analysis.report"]
    assert same(words[3], f"./{odd}/tiny")
    assert not words[3].startswith("-")
    (rows,) = re.findall(r"^rows: pandas\.(read_parquet\(.*\))$", said, re.M)
    assert len(eval(rows, {"read_parquet": pd.read_parquet})) > 0


def test_what_status_says_comes_next(odd):
    found = find_study("tiny", odd)
    now = standing(found.store)
    (report,) = [line.partition(": ")[2] for line in lines_of(found, now, None, False) if line.startswith("next")]
    assert same(words_of(report)[-1], f"./{odd}/tiny")


def test_how_status_continues_a_study(odd):
    max(Path(f"./{odd}").glob("tiny/trials/*-000004.parquet")).unlink()
    grid = Path("my grid's.yaml")
    grid.write_text(TINY)
    found = find_study("tiny", odd)
    (line,) = [line for line in lines_of(found, standing(found.store), None, False) if line.startswith("next")]
    words = words_of(line.removeprefix("next     continue: "))
    assert words[:4] == ["study", "run", str(grid), "--out"]
    assert same(words[4], f"./{odd}")


def test_a_forecast_names_the_command_that_calibrates(capsys):
    Path("my grid.yaml").write_text(TINY)
    assert run_main(["my grid.yaml", "--plan"]) == 0
    (command,) = re.findall(r"`(python -m study\.run .*)`", capsys.readouterr().out)
    assert shlex.split(command) == ["python", "-m", "study.run", "my grid.yaml", "--calibrate"]


def test_one_of_them_really_runs(capsys, tiny):
    shutil.move("results", "my results")
    assert main(["status", "tiny", "--out", "my results"]) == 0
    command = capsys.readouterr().out.splitlines()[-1].partition(": ")[2]
    command = command.replace("python", shlex.quote(sys.executable), 1) + " --figure spectrum --format png"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert list(Path("my results/tiny/figures").glob("*.png"))
