"""Executors by their names: all choices derive from the registry, and naming them costs nothing."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from study import run
from study.commands.main import main
from study.drive import executors
from study.drive.executors import EXECUTORS, executor_named
from study.drive.executors.executor import Executor
from study.drive.executors.ray_tune import NODE_DIED, report_loss
from tests import ROOT
from tests.study.drive.executors.heard import Heard
from tests.study.small_study import CPU, use_machine
from workers.contract.errors import CommandError
from workers.contract.settings import RunSettings

GRID = "study: s\ntraining: {epochs: 2}\n"


@pytest.mark.parametrize("name", EXECUTORS)
def test_each_one_is_what_its_name_says(name):
    executor: Executor = executor_named(name)
    assert executor.name == name
    assert EXECUTORS[name].summary


@pytest.mark.parametrize("name", EXECUTORS)
def test_this_machine_is_a_place_for_every_executor(name, monkeypatch):
    use_machine(monkeypatch)
    site = executor_named(name).find_site(RunSettings(device="cpu"), "local")
    assert (site.machine, site.words, site.is_here, site.farewell) == (CPU, "this machine, 2 cores", True, "")


def test_naming_them_imports_neither_ray_nor_torch():
    code = (
        "import sys; from study.drive.executors import EXECUTORS, executor_named\n"
        "from study.commands.run import _parser; _parser()\n"
        "[executor_named(name) for name in EXECUTORS]\n"
        "print({'ray', 'torch', 'pyarrow'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "{'pyarrow'}", "the control: what is imported is seen"


def test_an_unknown_name_is_refused_with_the_allowed_ones(in_an_empty_folder):
    Path("g.yaml").write_text(GRID)
    with pytest.raises(CommandError, match="--executor threads: there is no such executor; allowed: ray, inline"):
        run("g.yaml", executor="threads")
    assert not Path("results").exists()


def test_the_choices_of_the_command_are_those_of_the_registry(in_an_empty_folder, monkeypatch, capsys):
    Path("g.yaml").write_text(GRID)
    use_machine(monkeypatch)
    more = {**EXECUTORS, "planted": executors.Entry(EXECUTORS["inline"].make, "a planted one")}
    monkeypatch.setattr("study.commands.run.EXECUTORS", more)
    monkeypatch.setattr(executors, "EXECUTORS", more)
    assert main(["plan", "g.yaml", "--executor", "planted"]) == 0
    with pytest.raises(SystemExit):
        main(["plan", "--help"])
    assert "planted: a planted one" in " ".join(capsys.readouterr().out.split())
    monkeypatch.undo()
    with pytest.raises(SystemExit):
        main(["plan", "g.yaml", "--executor", "planted"])


def test_the_default_is_ray(in_an_empty_folder, monkeypatch, capsys):
    """Known by its start, which the forecast of a plan counts."""
    Path("g.yaml").write_text(GRID)
    use_machine(monkeypatch)
    said = {}
    for words in ([], ["--executor", "ray"], ["--executor", "inline"]):
        assert main(["plan", "g.yaml", *words]) == 0
        (said[" ".join(words)],) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("forecast"))
    assert said[""] == said["--executor ray"] != said["--executor inline"]


def test_an_address_is_refused_by_an_executor_of_this_machine_alone(in_an_empty_folder, capsys):
    Path("g.yaml").write_text(GRID)
    assert main(["plan", "g.yaml", "--executor", "inline", "--address", "h:1"]) == 2
    assert "--address h:1 and --executor inline: leave one of them out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        (f"ActorDiedError: The actor died unexpectedly before finishing this task. The actor died because its {NODE_DIED}.", "lost_machine"),
        ("ActorDiedError: The actor died unexpectedly before finishing this task.\nIts worker process has died.", "died"),
    ],
    ids=["with its machine", "alone"],
)  # fmt: skip
def test_a_lost_machine_is_told_from_a_dead_process_by_ray_s_words(reason, name):
    heard = Heard(jobs=[])
    report_loss(heard, "p", reason)
    assert [call.name for call in heard.calls] == [name]


def test_those_are_ray_s_words():
    """Ray has no other sign of what happened, and may choose other words one day."""
    folder = Path(importlib.util.find_spec("ray").submodule_search_locations[0])
    programs = [next(folder.glob("_raylet*.so")), folder / "core/src/ray/gcs/gcs_server"]
    assert any(NODE_DIED.encode() in program.read_bytes() for program in programs)
