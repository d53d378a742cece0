"""`python -m study.run` as a user meets it: sentences and exit codes, and nothing heavy imported without need."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from study.commands.run import main
from tests import ROOT
from workers.store.open import open_store

PROBE = """
import runpy, sys
sys.argv = ["study.run", *sys.argv[1:]]
try:
    runpy.run_module("study.run", run_name="__main__")
finally:
    print("imported:", *sorted({"torch", "ray", "torchvision", "matplotlib"} & sys.modules.keys()))
"""


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def python(*words: str) -> subprocess.CompletedProcess[str]:
    # The cache of compiled files is not a result.
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=300, env=environment)


def everything_below(folder: str = ".") -> list[str]:
    return sorted(str(path) for path in Path(folder).rglob("*"))


def test_a_reader_who_leaves_early_gets_no_traceback():
    grid = ROOT / "grids" / "paper.yaml"
    line = f"set -o pipefail; {sys.executable} -m study.run {grid} --plan | true"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=300)
    # The pipe may take all words before it is closed.
    assert done.returncode in (0, 130)
    assert done.stderr == ""


def test_the_plan_of_the_paper_needs_no_data_and_writes_nothing():
    done = python("-c", PROBE, str(ROOT / "grids" / "paper.yaml"), "--plan")
    assert done.returncode == 0, done.stderr
    assert "97 cells, 485 trials (decoder 2, k 2, batch_norm 2, warmup 2, n_z 6, seed 5), 300 epochs each" in done.stdout
    assert "0 trials done, 485 to do in " in done.stdout
    assert "485 trials are new" in done.stdout
    assert "  n_z: 2, 5, 10, 20, 50, 100\n" in done.stdout
    assert "results in results/paper\n" in done.stdout
    assert done.stdout.splitlines()[-1] == "imported:"
    assert done.stderr == ""
    assert everything_below() == []


@pytest.mark.parametrize("name", ["burda", "further", "further-continuous"])
def test_the_other_grids_can_be_planned_without_data(capsys, name):
    assert main([str(ROOT / "grids" / f"{name}.yaml"), "--plan"]) == 0
    said = capsys.readouterr().out
    assert f"results in results/{name}\n" in said
    assert "note:" not in said
    if name == "further":
        assert "  data.classes: [1], [1, 2], [1, 2, 3, 4, 5], all\n" in said
    assert everything_below() == []


def test_a_short_version_of_every_grid_can_be_planned(capsys):
    short = ["--set", "training.epochs=2", "--set", "seed=[0]", "--set", "measure.nll_samples=10", "--plan"]
    for name in ("burda", "further", "further-continuous"):
        assert main([str(ROOT / "grids" / f"{name}.yaml"), *short, "--set", "training.schedule_over=2"]) == 0
    said = capsys.readouterr().out
    assert [line.split(" (")[0] for line in said.splitlines() if " cells, " in line] == [
        "5 cells, 5 trials",
        "15 cells, 15 trials",
        "18 cells, 18 trials",
    ]


def test_a_bad_grid_ends_before_anything_heavy_is_imported():
    Path("bad.yaml").write_text("study: s\nfactors:\n  k: [0]\n  decodr: [gaussian]\n")
    done = python("-c", PROBE, "bad.yaml")
    assert done.returncode == 2
    assert done.stderr == (
        "bad.yaml: 2 problems\n"
        "bad.yaml:3:7: factors.k[0]: got 0; allowed: a whole number from 1 to 10000\n"
        "bad.yaml:4:3: factors.decodr: no such setting; did you mean decoder?\n"
    )
    assert done.stdout == "imported:\n"
    assert everything_below() == ["bad.yaml"]


def test_the_module_runs_as_a_program():
    done = python("-m", "study.run", "missing.yaml")
    assert done.returncode == 2
    assert done.stderr == "missing.yaml: 1 problem\nmissing.yaml:1:1: no such file; YAML files here: none\n"
    assert done.stdout == ""


def test_help_has_every_exit_code(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("usage: python -m study.run ")
    codes = said.partition("Exit codes: ")[2]
    for code in ("0 all done", "1 ended, but", "2 bad input", "3 damaged data", "4 conflicting content", "130 interrupted"):
        assert code in codes
    for option in ("--set", "--out", "--plan", "--only", "--smoke", "--executor", "--address"):
        assert f"{option} " in said


@pytest.mark.parametrize(
    "words", [[], ["--plan"], ["g.yaml", "--nonsense"], ["g.yaml", "--executor", "threads"]], ids=" ".join
)
def test_words_that_do_not_exist_are_bad_input(capsys, words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage: python -m study.run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--set", "k=0"], "--set k=0: factors.k: got 0; allowed: a whole number from 1 to 10000"),
        (["--set", "epochs"], "--set epochs: must be NAME=VALUE, like --set training.epochs=10"),
        (["--only", "decoder=gaussien"], "--only decoder=gaussien: got 'gaussien'; allowed: bernoulli, gaussian"),
        (["--set", "exclude=[{seed: 0}]"], "exclude: leaves no trial; remove an entry"),
        (
            ["--set", "run.device=cuda"],
            "run.device: got cuda, but this machine shows no NVIDIA GPU (looked for /proc/driver/nvidia/gpus, ",
        ),
    ],
    ids=["set", "set without a value", "only", "exclude", "device"],
)
def test_bad_options_end_with_a_sentence(capsys, monkeypatch, words, sentence):
    monkeypatch.setattr("study.plan.machine.gpu_count", lambda: 0)
    Path("g.yaml").write_text("study: s\nfactors: {k: [1]}\n")
    assert main(["g.yaml", "--plan", *words]) == 2
    said = capsys.readouterr()
    assert sentence in said.err
    assert "Traceback" not in said.err + said.out
    assert everything_below() == ["g.yaml"]


@pytest.mark.parametrize(
    "out", ["there", "a/b", "2024", "1e3", "true", "null", "./~", "a: b", "a #1", "@a", "[a]", "*a", "'a'"]
)
def test_out_is_a_folder_as_it_is_written(capsys, out):
    Path("g.yaml").write_text("study: s\n")
    assert main(["g.yaml", "--plan", "--out", out]) == 0
    assert f"results in {out}/s\n" in capsys.readouterr().out


def test_out_wins_over_the_file_and_over_set(capsys):
    Path("g.yaml").write_text("study: s\nrun: {out: here}\n")
    assert main(["g.yaml", "--plan"]) == 0
    assert main(["g.yaml", "--plan", "--set", "run.out=there"]) == 0
    assert main(["g.yaml", "--plan", "--set", "run.out=there", "--out", "elsewhere"]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("results in")]
    assert said == ["results in here/s", "results in there/s", "results in elsewhere/s"]


def test_classes_that_the_data_lack_are_refused_before_anything_starts(capsys):
    """Also where a later level alone names them."""
    Path("g.yaml").write_text("study: s\nfactors: {data.classes: [[1, 2], [3, 11]]}\n")
    assert main(["g.yaml", "--executor", "inline"]) == 2
    assert "data.classes: the training images of digits have no class 11" in capsys.readouterr().err
    assert everything_below() == ["g.yaml"]


def test_notes_stand_before_the_plan(capsys):
    Path("g.yaml").write_text("study: s\nfactors: {objective.bound: [iwae, vae], k: [1, 5]}\n")
    assert main(["g.yaml", "--plan"]) == 0
    assert capsys.readouterr().out.splitlines()[1:3] == [
        "note: objective.bound has no effect in 1 of 4 cells, like k=1 objective.bound=vae",
        "4 cells, 4 trials (k 2, seed 1, objective.bound 2), 300 epochs each",
    ]


def test_a_plan_says_packs_and_borders(capsys, monkeypatch):
    monkeypatch.setattr("study.plan.machine.gpu_count", lambda: 0)
    monkeypatch.setattr("study.plan.machine.cores", lambda: 2)
    Path("g.yaml").write_text("study: s\nfactors: {k: [1, 5], seed: [0, 1, 2, 3, 4]}\nrun: {commit_every: 7}\n")
    assert main(["g.yaml", "--plan"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0] == "study s on this machine, 2 cores"
    assert "2 cells, 10 trials (k 2, seed 5), 300 epochs each" in said
    assert "0 trials done, 10 to do in 2 packs; 10 trials are new" in said
    assert "packs of 5 trials, stored every 7 epochs" in said
    assert open_store("results/s").list("plan") == []


def test_smoke_and_only_can_be_planned(capsys):
    Path("g.yaml").write_text("study: s\nfactors: {k: [1, 5], seed: [0, 1, 2]}\n")
    assert main(["g.yaml", "--plan", "--smoke"]) == 0
    assert main(["g.yaml", "--plan", "--only", "k=5"]) == 0
    said = capsys.readouterr().out
    assert "2 cells, 2 trials (k 2, seed 1), 2 epochs each" in said
    assert "results in results/s-smoke" in said
    assert "2 cells, 3 trials (k 2, seed 3), 300 epochs each" in said


def test_run_is_the_function_whatever_is_imported_first():
    program = """
        import study.commands.run, study.drive.driver, sys
        from study import run
        print(callable(run), "study.run" in sys.modules, "torch" in sys.modules)
    """
    done = python("-c", textwrap.dedent(program))
    assert done.stdout.split() == ["True", "False", "False"], done.stderr


def test_a_precision_that_the_device_lacks_is_refused_before_anything_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [str(ROOT / "grid.yaml"), "--plan", "--set", "run.device=cpu", "--set", "run.precision=tf32"]
    assert main(words) == 2
    assert "run.precision: got tf32, but cpu does not support it; allowed: auto, ieee, bf16" in capsys.readouterr().err
    assert main([*words[:-1], "run.precision=bf16"]) == 0
