"""`study export`: an archive that a reader can use, the same bytes for the same study, and nothing of a damaged one."""

import gzip
import hashlib
import json
import os
import shutil
import tarfile
import time
from pathlib import Path

import pandas as pd
import pytest

import study.commands.export
from analysis import load
from study.commands.main import main
from study.grid.grid import parse_grid
from tests.study.finished_study import TINY, changed

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def export(capsys, *words: str, code: int = 0) -> str:
    assert main(["export", "tiny", *words]) == code
    said = capsys.readouterr()
    return said.out if code == 0 else said.err


def names(path: str = "tiny.tar.gz") -> list[str]:
    with tarfile.open(path) as archive:
        return archive.getnames()


def unpacked(path: str = "tiny.tar.gz") -> Path:
    with tarfile.open(path) as archive:
        # Python before 3.11.4, as Debian 12 has it, knows no filter; later ones warn without.
        archive.extractall("unpacked", **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return Path("unpacked/tiny")


def test_the_unpacked_folder_is_a_study_that_loads(capsys, tiny):
    assert export(capsys).startswith("tiny.tar.gz: ")
    copy = unpacked()
    was, now = load(tiny), load(copy)
    pd.testing.assert_frame_equal(was.epochs, now.epochs)
    pd.testing.assert_frame_equal(was.activity(), now.activity())
    pd.testing.assert_frame_equal(was.trials, now.trials)
    assert now.is_complete
    assert (copy / "grid.yaml").read_text() == TINY
    assert parse_grid((copy / "grid.yaml").read_text()).study == "tiny"
    assert main(["status", str(copy)]) == 0
    assert main(["doctor", str(copy)]) in (0, 2)  # 2: a token of this machine's user, say
    assert "study tiny: every file is intact" in capsys.readouterr().out


def test_what_is_in_it(capsys, tiny):
    (tiny / "figures").mkdir()
    for name in ("report.html", "report.md", "labels.yaml", "figures/a.png", "figures/.half", "notes.txt", "verify.json"):
        (tiny / name).write_text("x: y" if name == "labels.yaml" else name)
    (tiny / "figures" / "out.png").symlink_to("/etc/hostname")
    parquet = [str(path.relative_to(tiny)) for path in sorted(tiny.rglob("*.parquet"))]
    export(capsys)
    wanted = [*parquet, "figures/a.png", "labels.yaml", "report.html", "report.md", "grid.yaml", "provenance.json"]
    assert names() == [f"tiny/{name}" for name in wanted]
    weights = [f"tiny/weights/{path.name}" for path in sorted((tiny / "weights").iterdir())]
    assert "weights" not in " ".join(names())
    export(capsys, "--weights", "--to", "all.tgz")
    assert [name for name in names("all.tgz") if "weights" in name] == weights


def test_the_sums_and_the_provenance_are_right(capsys, tiny):
    export(capsys, "--weights")
    copy = unpacked()
    facts = json.loads((copy / "provenance.json").read_text())
    files = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()} - {"provenance.json"}
    assert facts["sha256"].keys() == files
    for name, checksum in facts["sha256"].items():
        assert hashlib.sha256((copy / name).read_bytes()).hexdigest() == checksum
    assert facts["study"] == "tiny"
    assert {"torch", "commit", "fingerprint", "device", "precision", "generator"} <= facts["provenance"].keys()


def test_equal_studies_give_equal_bytes_wherever_and_whenever(capsys, tiny):
    export(capsys)
    other = Path("elsewhere/deep")
    other.mkdir(parents=True)
    shutil.copytree(tiny, other / "tiny")
    for path in other.rglob("*"):
        os.utime(path, (time.time() - 1e6, time.time() - 1e6))
        path.chmod(0o755)
    assert main(["export", "tiny", "--out", str(other), "--to", "other.tar.gz"]) == 0
    assert Path("tiny.tar.gz").read_bytes() == Path("other.tar.gz").read_bytes()
    with tarfile.open("tiny.tar.gz") as archive:
        assert {(one.mtime, one.uid, one.gid, one.uname, one.mode) for one in archive} == {(0, 0, 0, "", 0o644)}
    assert Path("tiny.tar.gz").read_bytes()[4:8] == bytes(4), "the time of writing"
    assert b"tiny.tar" not in Path("tiny.tar.gz").read_bytes()[:64], "the archive's own name"
    changed(max((tiny / "epochs").iterdir()), lambda frame: frame.__setitem__("test_kl", frame["test_kl"] + 1e-9))
    export(capsys, "--to", "third.tar.gz")
    assert gzip.decompress(Path("third.tar.gz").read_bytes()) != gzip.decompress(Path("tiny.tar.gz").read_bytes())


@pytest.mark.parametrize("folder", ["plan", "epochs", "trials", "weights"])
def test_nothing_is_written_of_a_damaged_study(capsys, tiny, folder):
    path = max((tiny / folder).iterdir())
    path.write_bytes(path.read_bytes()[:-30])
    said = export(capsys, "--weights", code=3)
    assert f"results/tiny/{folder}/{path.name}: damaged" in said
    assert [path.name for path in Path().iterdir()] == ["results"]
    if folder == "weights":
        assert "all verified" in export(capsys), "which do not go into it"


def test_an_interrupted_export_leaves_nothing(capsys, tiny, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(study.commands.export.os, "replace", interrupt)
    assert main(["export", "tiny"]) == 130
    assert [path.name for path in Path().iterdir()] == ["results"]
    assert "run the same command again" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("to", "sentence"),
    [
        ("there.tar.gz", "there.tar.gz: already exists; move it away, or name another file with --to"),
        ("a.zip", "--to a.zip: must end in .tar.gz or .tgz"),
        ("none/a.tar.gz", "--to none/a.tar.gz: the folder none does not exist; create it first"),
    ],
)
def test_targets_that_cannot_be(capsys, tiny, to, sentence):
    Path("there.tar.gz").write_text("mine")
    assert export(capsys, "--to", to, code=2) == f"{sentence}\n"
    assert Path("there.tar.gz").read_text() == "mine"
