"""`study status` and `study stop`: on studies that have ended, on none, and on one that another process runs right now."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from study.commands.main import main
from study.drive import lease
from study.drive.lease import hold
from study.status.found_study import sizes
from tests import ROOT
from tests.study.drive.test_lease_elsewhere import plant
from tests.study.finished_study import TINY
from tests.waiting import wait_until
from workers.store.keys import CHECKPOINTS_FOLDER, lease_key, stop_key
from workers.store.open import open_store

PROBE = """
import sys
import time
from study.commands.main import main
code = main(sys.argv[1:])
print("imported:", *sorted({"torch", "ray", "torchvision", "matplotlib"} & sys.modules.keys()))
sys.exit(code)
"""


pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def python(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


def said_by(capsys, *words: str, code: int = 0) -> str:
    assert main(list(words)) == code
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return said.out if code == 0 else said.err


def test_a_study_that_has_ended(capsys, tiny):
    lines = said_by(capsys, "status", "tiny").splitlines()
    assert lines[0] == "study tiny in results/tiny"
    assert lines[1] == "trials   4: 4 completed, 0 begun, 0 to do, 0 diverged, 0 failed"
    assert lines[2].startswith(
        f"epochs   {len(pd.read_parquet(tiny / 'epochs'))} rows (one per trial and epoch) stored, the newest at 2"
    )
    assert lines[3] == "run by   nobody"
    assert " in 2 files" in lines[4]
    assert lines[5:] == ["next     all trials have ended: python -m analysis.report results/tiny"]


def test_disk_is_what_the_files_hold(tiny):
    (tiny / "checkpoints" / "out").symlink_to("/usr")
    wanted = {
        folder.name: (len(files := [*folder.iterdir()]), sum(file.lstat().st_size for file in files))
        for folder in tiny.iterdir()
    }
    assert sizes(tiny) == wanted


def test_a_study_half_way(capsys, tiny):
    """Without the end of one pack; its rows are there."""
    child = max(tiny.glob("trials/*-000004.parquet"))
    child.unlink()
    lines = said_by(capsys, "status", "tiny", "--packs").splitlines()
    assert lines[1] == "trials   4: 3 completed, 1 begun, 0 to do, 0 diverged, 0 failed"
    packs = [line for line in lines if line.startswith("  pack ")]
    assert len(packs) == 4
    assert f"  pack {child.name[:16]}, 1 trial: last border 4 of 4 epochs" in packs
    assert lines[-1] == "next     continue: study run GRID --out results  (GRID: the grid file that it was started with)"
    Path("tiny.yaml").write_text(TINY)
    assert said_by(capsys, "status", "tiny").splitlines()[-1] == "next     continue: study run tiny.yaml --out results"
    for rows in tiny.glob(f"epochs/{child.name[:16]}-*"):
        rows.unlink()
    assert f"{child.name[:16]}, 1 trial: no border yet of 4 epochs" in said_by(capsys, "status", "tiny", "--packs")


def test_a_damaged_rows_file_is_named_and_the_rest_told(capsys, tiny):
    bad = min(tiny.glob("epochs/*.parquet"))
    bad.write_bytes(bad.read_bytes()[:-20])
    said = said_by(capsys, "status", "results/tiny")
    assert f"unreadable: epochs/{bad.name}; study doctor results/tiny gives the reason" in said
    assert "4 completed" in said


def test_a_damaged_plan_ends_with_its_name(capsys, tiny):
    (tiny / "plan/000001.parquet").write_bytes(b"PAR1")
    assert "plan/000001.parquet: damaged" in said_by(capsys, "status", "tiny", code=3)


@pytest.mark.parametrize("name", ["tiny", "results/tiny", "./results/tiny/"])
def test_a_name_or_a_path(capsys, tiny, name):
    assert said_by(capsys, "status", name).startswith("study tiny in ")
    assert said_by(capsys, "status", str(tiny.absolute())).startswith(f"study tiny in {tiny.absolute()}")


@pytest.mark.parametrize("command", ["status", "stop", "verify", "doctor", "export", "rm"])
def test_no_such_study_says_what_is_there(capsys, tiny, command):
    said = said_by(capsys, command, "tyni", code=2)
    assert said == "no such study: tyni (looked in results/ and at the path itself); studies there: tiny\n"
    assert "there is no study yet; start one with study run GRID" in said_by(
        capsys, command, "tiny", "--out", "none", code=2
    )


def test_nobody_runs_it_and_that_is_no_error(capsys, tiny):
    before = sorted(tiny.rglob("*"))
    assert said_by(capsys, "stop", "tiny") == "nobody is running study tiny; there is nothing to stop\n"
    assert sorted(tiny.rglob("*")) == before


def test_stop_leaves_the_key_that_workers_look_for(capsys, tiny):
    store = open_store(str(tiny))
    with hold(store, "abcd", print):
        assert f"pid {os.getpid()}, since " in said_by(capsys, "stop", "tiny")
        assert stop_key("abcd") in store.list(CHECKPOINTS_FOLDER)
        assert "was already asked to stop" in said_by(capsys, "stop", "tiny")
        status = said_by(capsys, "status", "tiny")
    assert re.search(r"run by   host \S+, pid \d+, since \S+ \S+, last heartbeat \d+ s ago", status)
    assert status.splitlines()[-1] == "next     wait, or stop it without losing what it has trained: study stop results/tiny"


def test_a_silent_driver_elsewhere_is_asked_to_stop_all_the_same(capsys, monkeypatch, tiny):
    """It may only sleep."""
    monkeypatch.setattr(lease, "BEAT_EVERY_S", 0.1)
    store = open_store(str(tiny))
    plant(store, beat=time.time() - 3e7)
    said = said_by(capsys, "stop", "tiny")
    assert "the driver of study tiny is silent (host elsewhere, pid 1, since " in said
    assert stop_key("aa") in store.list(CHECKPOINTS_FOLDER)
    status = said_by(capsys, "status", "tiny")
    assert "run by   nobody, as it seems; the last driver is silent (host elsewhere, pid 1, since " in status
    assert "both by the clock of that host)" in status
    store.delete(lease_key(1, "aa"))
    plant(store, 2)
    assert "run by   host elsewhere, pid 1, since " in said_by(capsys, "status", "tiny")


def test_status_needs_nothing_heavy_and_works_from_elsewhere(tiny, tmp_path):
    done = python(PROBE, "status", str(tmp_path / "results" / "tiny"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "imported:"
    assert done.stderr == ""


def test_the_whole_command_on_a_run_in_another_process(capsys):
    """Status sees the driver, stop ends it at a border, and then nobody runs it."""
    Path("tiny.yaml").write_text(TINY)
    options = [
        "tiny.yaml",
        "--executor",
        "inline",
        "--only",
        "k=1",
        "--set",
        "training.epochs=3000",
        "--set",
        "run.commit_every=5",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(
        [sys.executable, "-m", "study", "run", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        epochs = Path("results/tiny/epochs")
        wait_until(lambda: any(epochs.glob("*.parquet")) or running.poll() is not None, "no rows come")
        assert running.poll() is None, running.communicate()
        status = said_by(capsys, "status", "tiny")
        assert f"pid {running.pid}, since " in status
        assert re.search("0 completed, [12] running, [01] to do", status)
        assert "asked the driver of study tiny to stop" in said_by(capsys, "stop", "tiny")
        out, err = running.communicate(timeout=300)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 130, out + err
    assert "Traceback" not in err
    rows = pd.read_parquet("results/tiny/epochs")
    assert rows["epoch"].max() % 5 == 0
    assert rows["epoch"].max() < 3000
    status = said_by(capsys, "status", "tiny")
    assert "run by   nobody\n" in status
    assert re.search("0 completed, [12] begun, [01] to do", status)


def test_run_and_plan_are_the_command_of_study_run(capsys):
    Path("tiny.yaml").write_text(TINY)
    planned = said_by(capsys, "plan", "tiny.yaml")
    assert planned == said_by(capsys, "run", "tiny.yaml", "--plan")
    assert "4 to do in 2 packs" in planned
    assert not Path("results").exists()
    assert "missing.yaml:1:1: no such file" in said_by(capsys, "run", "missing.yaml", code=2)


def test_it_runs_as_a_module_and_help_names_every_subcommand():
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "study", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    for command in ("run", "plan", "submit", "list", "logs", "status", "stop", "verify", "doctor", "export", "rm"):
        assert re.search(rf"^    {command} ", done.stdout, re.M), command
    for code in ("0 success", "2 bad input", "3 damaged data", "4 conflicting content", "130 interrupted"):
        assert code in " ".join(done.stdout.split())


@pytest.mark.parametrize("words", [[], ["statsu"], ["status"], ["run"], ["verify", "x", "--sample", "-1"]], ids=" ".join)
def test_words_that_do_not_exist_are_bad_input(capsys, words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage: study" in capsys.readouterr().err


def test_a_folder_that_cannot_be_read_ends_with_a_sentence(capsys, tiny, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "results/tiny/trials")

    monkeypatch.setattr("study.commands.status.standing", refuse)
    said = said_by(capsys, "status", "tiny", code=2)
    assert said == (
        "results/tiny/trials: cannot be read or written (Permission denied); check the disk, its free space and the permissions\n"
    )
