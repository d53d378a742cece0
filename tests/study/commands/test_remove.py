"""`study rm`: the whole study and nothing else; asked for, never a running one, and half removed it is none any more."""

import io
import shutil
import sys
import time
from pathlib import Path

import pytest

import study.commands.remove
from study.commands.main import main
from study.drive import lease
from study.drive.lease import hold
from tests.study.drive.test_lease_elsewhere import plant
from tests.study.finished_study import TINY
from workers.store.open import open_store

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


def remove(capsys, *words: str, code: int = 0) -> str:
    assert main(["rm", *words]) == code
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return said.out if code == 0 else said.err


def names(folder: str = "results") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def test_yes_removes_the_study_and_nothing_else(capsys, tiny):
    shutil.copytree(tiny, "results/tiny2")
    Path("results/notes.txt").write_text("mine")
    files = [path for path in tiny.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    said = remove(capsys, "tiny", "--yes")
    assert said.startswith(f"{tiny.absolute()}: 4 trials, {len(files)} files, {size / 1000:.1f} kB; nobody is running it\n")
    assert "  weights: 6 files, " in said
    assert said.endswith("study tiny was removed\n")
    assert names() == ["notes.txt", "tiny2"]
    assert main(["status", "tiny2"]) == 0


@pytest.mark.parametrize(("typed", "left"), [("tiny\n", []), ("y\n", ["tiny"]), ("\n", ["tiny"])])
def test_a_terminal_is_asked(capsys, monkeypatch, tiny, typed, left):
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    said = remove(capsys, "tiny")
    assert "type its name: " in said
    assert ("nothing was removed" in said) is bool(left)
    assert names() == left


def test_without_a_terminal_it_is_refused(capsys, monkeypatch, tiny):
    monkeypatch.setattr(sys, "stdin", io.StringIO("tiny\n"))
    assert remove(capsys, "tiny", code=2) == "study rm tiny: cannot ask without a terminal; add --yes to remove it\n"
    assert names() == ["tiny"]


def test_a_running_study_is_refused(capsys, tiny):
    before = [path for path in sorted(tiny.rglob("*")) if path.name != "lease"]
    with hold(open_store(str(tiny)), "ab", print):
        said = remove(capsys, "tiny", "--yes", code=2)
        assert said.startswith("study tiny is running (host ")
        assert "stop it first with study stop results/tiny and wait until it has ended" in said
    assert [path for path in sorted(tiny.rglob("*")) if path.name != "lease"] == before


def test_one_that_began_to_run_while_it_was_asked_about_is_refused(capsys, monkeypatch, tiny):
    held = hold(open_store(str(tiny)), "ab", print)

    def answer(question: str) -> str:
        held.__enter__()
        return "tiny"

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", answer)
    assert "is running" in remove(capsys, "tiny", code=2)
    held.__exit__(None, None, None)
    assert names() == ["tiny"]


# ---- A driver elsewhere, whose process nobody can look for ----


def test_a_driver_elsewhere_that_beats_is_refused(capsys, monkeypatch, tiny):
    """Its clock says that it has been dead for a year; before, its study was removed."""
    store = open_store(str(tiny))
    plant(store, 1, beat=time.time() - 3e7)
    monkeypatch.setattr(lease.time, "sleep", lambda seconds: plant(store, 2, beat=time.time() - 3e7))
    said = remove(capsys, "tiny", "--yes", code=2)
    assert said.startswith("study tiny is running (host elsewhere, pid 1, since ")
    assert names() == ["tiny"]


@pytest.mark.parametrize("ahead", [0, -3e7, 3e7])
def test_a_silent_driver_elsewhere_is_named_and_in_nobodys_way(capsys, monkeypatch, tiny, ahead):
    monkeypatch.setattr(lease, "SILENT_AFTER_S", 0.2)
    plant(open_store(str(tiny)), beat=time.time() + ahead)
    said = remove(capsys, "tiny", "--yes").splitlines()
    assert said[0].startswith("a driver elsewhere may be running this study (host elsewhere, pid 1, since ")
    assert "; its driver elsewhere has shown no new heartbeat for 0 s (host elsewhere, pid 1, " in said[1]
    assert names() == []


def test_a_driver_elsewhere_that_wakes_while_it_is_asked_about_is_refused(capsys, monkeypatch, tiny):
    monkeypatch.setattr(lease, "SILENT_AFTER_S", 0.2)
    store = open_store(str(tiny))
    plant(store)

    def answer(question: str) -> str:
        plant(store, 2)
        return "tiny"

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", answer)
    assert "is running" in remove(capsys, "tiny", code=2)
    assert names() == ["tiny"]


def test_links_are_removed_and_not_followed(capsys, tiny):
    Path("mine").mkdir()
    Path("mine/precious.txt").write_text("mine")
    (tiny / "figures").symlink_to(Path("mine").absolute())
    (tiny / "weights" / "link").symlink_to(Path("mine/precious.txt").absolute())
    remove(capsys, "tiny", "--yes")
    assert names() == []
    assert Path("mine/precious.txt").read_text() == "mine"


def test_a_study_that_is_a_link_is_refused(capsys, tiny):
    Path("results/other").symlink_to(tiny.absolute())
    assert f"is a symbolic link to {tiny.absolute()}; name that folder" in remove(capsys, "other", "--yes", code=2)
    assert names() == ["other", "tiny"]


@pytest.mark.parametrize("name", ["results", ".", "..", "/", "", "results/tiny/epochs"])
def test_what_is_no_study_is_never_removed(capsys, tiny, name):
    before = sorted(Path().rglob("*"))
    assert "no such study" in remove(capsys, name, "--yes", code=2)
    assert sorted(Path().rglob("*")) == before


def test_interrupted_half_way_it_is_no_study_and_a_new_one_can_begin(capsys, monkeypatch, tiny):
    """The new study of the same name finds neither rows nor a plan of the old one."""

    def half(folder: Path) -> None:
        shutil.rmtree(folder / "epochs")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(study.commands.remove, "_delete", half)
        assert main(["rm", "tiny", "--yes"]) == 130
    (hidden,) = names()
    assert hidden.startswith(".tiny.removed-")
    capsys.readouterr()
    assert main(["status", "tiny"]) == 2
    assert "there is no study yet" in capsys.readouterr().err
    Path("tiny.yaml").write_text(TINY)
    assert main(["plan", "tiny.yaml"]) == 0
    assert "0 trials done, 4 to do" in capsys.readouterr().out
    assert remove(capsys, "tiny", "--yes") == f"removed results/{hidden}, left by an interrupted removal\n"
    assert names() == []
    assert "no such study" in remove(capsys, "tiny", "--yes", code=2)


def test_a_damaged_study_can_be_removed(capsys, tiny):
    min((tiny / "plan").iterdir()).write_bytes(b"PAR1")
    assert "a damaged plan" in remove(capsys, "tiny", "--yes")
    assert names() == []
