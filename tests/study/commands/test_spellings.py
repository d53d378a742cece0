"""Every command that takes a study's name or path takes each spelling of it, and means the same study."""

import os
import shutil
from pathlib import Path

import pytest

from analysis.report.__main__ import main as report_main
from study.cluster.jobs import StudyJob, is_named
from study.commands.main import main
from study.commands.remove import remove
from study.status.found_study import find_study

SPELLINGS = [
    "tiny/",
    "./tiny/",
    "tiny/.",
    "tiny/../tiny",
    "tiny/epochs/..",
    "results/tiny/.",
    "results/tiny/",
    "results/../results/tiny/../tiny/",
    "results/tiny/epochs/../",
    "./results//tiny/plan/../.",
]


@pytest.mark.parametrize("name", SPELLINGS)
def test_rm_removes_the_study_and_nothing_else(capsys, tiny, name):
    shutil.copytree(tiny, "results/other")
    assert main(["rm", name, "--yes"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{tiny.absolute()}: 4 trials, ")
    assert said.out.endswith("study tiny was removed\n")
    assert sorted(path.name for path in Path("results").iterdir()) == ["other"]


@pytest.mark.parametrize("name", SPELLINGS)
def test_rm_ends_what_an_interrupted_one_left(capsys, tiny, name):
    os.rename(tiny, "results/.tiny.removed-01234567")
    assert main(["rm", name, "--yes"]) == 0
    assert "left by an interrupted removal" in capsys.readouterr().out
    assert list(Path("results").iterdir()) == []


@pytest.mark.parametrize("name", [".", "../tiny", "./epochs/.."])
def test_rm_from_within_the_study(tiny, monkeypatch, name):
    results = tiny.parent.absolute()
    monkeypatch.chdir(tiny)
    assert main(["rm", name, "--yes", "--out", "nowhere"]) == 0
    assert list(results.iterdir()) == []


def test_a_link_stays_a_link(capsys, tiny):
    Path("results/link").symlink_to("tiny")
    for name in ("link/", "tiny/../link", "results/link/."):
        assert main(["rm", name, "--yes"]) == 2
        assert "is a symbolic link to" in capsys.readouterr().err
    assert main(["status", "link/../tiny"]) == 0
    assert tiny.is_dir()


@pytest.mark.parametrize("name", SPELLINGS)
def test_it_is_found_under_its_own_name(tiny, name):
    found = find_study(name, "results")
    assert (found.name, found.folder.name) == ("tiny", "tiny")
    assert ".." not in found.folder.parts
    assert found.folder.samefile(tiny)


@pytest.mark.parametrize(
    "command", [("status",), ("stop",), ("doctor",), ("export", "--to", "x.tar.gz")], ids=lambda c: c[0]
)
def test_other_commands_take_them_too(capsys, tiny, command):
    assert main([command[0], "./tiny/../tiny/.", *command[1:]]) == 0
    said = capsys.readouterr()
    assert "tiny/.." not in said.out
    assert said.err == ""


@pytest.mark.parametrize("path", ["results/tiny/", "results/tiny/.", "results/tiny/../tiny"])
def test_a_report_is_written_into_the_study(capsys, tiny, path):
    assert report_main([path, "--figure", "spectrum", "--format", "png"]) == 0
    assert capsys.readouterr().out.startswith("tiny: ")
    assert list(tiny.glob("figures/*.png"))


@pytest.mark.parametrize("name", ["tiny", "tiny/", "./tiny", "tiny/../tiny", "study-1"])
def test_a_job_is_named_in_the_same_ways(name):
    fields = dict.fromkeys(StudyJob.__dataclass_fields__)
    assert is_named(StudyJob(**(fields | {"study": "tiny", "job_id": "study-1"})), name)
    assert not is_named(StudyJob(**(fields | {"study": "tiny2", "job_id": "study-2"})), name)


def test_a_path_through_the_study_itself_would_leave_it_half_removed(tiny):
    """The control: what happens to a spelling that is not made plain first."""
    with pytest.raises(FileNotFoundError):
        remove(Path("results/tiny/../tiny"))
