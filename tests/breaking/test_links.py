"""A study's folder that somebody has sent may hold links; none that leads out of it is ever followed."""

import os
import tarfile
from pathlib import Path

import pandas as pd
import pytest

from analysis import load
from analysis.claims.judge import stored_latent
from analysis.report.computed import Computed
from analysis.report.latent import latent_section
from study.commands.main import main
from study.doctor.stored_files import examine
from study.grid.results_folder import wrong_with
from study.status.found_study import files_below
from tests.study.finished_study import finished
from workers.contract.errors import UserError
from workers.store.folder import FolderStore
from workers.store.keys import FOLDERS, LATENT_CAPTIONS

SECRET = "the secret"


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("results").mkdir()
    return finished(Path("results"))


@pytest.fixture
def private(tmp_path):
    """A folder outside of the study with files that a link may lead to."""
    folder = tmp_path / "private"
    folder.mkdir()
    for name in ("secret.txt", "secret.png", "secret.pdf", "secret.csv"):
        (folder / name).write_text(f"a,b\n{SECRET},1\n")
    return folder


def packed() -> dict[str, bytes]:
    with tarfile.open("tiny.tar.gz") as archive:
        assert all(one.isreg() for one in archive)
        return {one.name: archive.extractfile(one).read() for one in archive}


def test_an_export_holds_nothing_that_a_link_leads_to(capsys, tiny, private):
    (tiny / "report.html").symlink_to(private / "secret.txt")
    (tiny / "report.md").write_text("mine")
    (tiny / "figures").symlink_to(private)
    assert main(["export", "tiny"]) == 0
    said = capsys.readouterr().out
    files = packed()
    assert not any(SECRET.encode() in raw for raw in files.values())
    assert "tiny/report.md" in files, "the negative control: a file goes into it"
    assert f"left out: results/tiny/report.html is a link to {private}/secret.txt; an archive holds no links" in said
    assert f"left out: results/tiny/figures is a link to {private}; an archive holds no links" in said


@pytest.mark.parametrize("folder", ["plan", "epochs", "trials", "weights"])
@pytest.mark.parametrize("is_whole", [True, False])
def test_an_export_of_results_behind_a_link_is_refused(capsys, tiny, private, folder, is_whole):
    """The very same bytes, but elsewhere: what lies there may be another thing tomorrow, or for the next reader."""
    path = tiny / folder if is_whole else min((tiny / folder).iterdir())
    path.rename(private / path.name)
    path.symlink_to(private / path.name)
    assert main(["export", "tiny", "--weights"]) == 2
    said = capsys.readouterr().err
    assert f"{path}: cannot be read or written (is a link to {private / path.name}, outside the study's folder)" in said
    assert not list(Path().glob("*.tar.gz"))


def test_status_counts_no_rows_behind_a_link(capsys, tiny, private):
    path = min((tiny / "epochs").iterdir())
    assert main(["status", "tiny"]) == 0
    assert "unreadable" not in capsys.readouterr().out
    path.rename(private / path.name)
    path.symlink_to(private / path.name)
    assert main(["status", "tiny"]) == 0
    assert f"unreadable: epochs/{path.name}; study doctor" in capsys.readouterr().out


def test_a_link_within_the_study_is_followed(tiny):
    """The negative control: the folder may have been arranged anew."""
    first = min((tiny / "epochs").iterdir())
    first.rename(tiny / "aside.parquet")
    first.symlink_to("../aside.parquet")
    assert len(load(tiny).epochs) > 0
    assert not [fault for fault in examine(FolderStore(tiny)).faults if "link" in fault.text]


def test_a_study_reached_through_a_link_is_read(tiny, tmp_path):
    (tmp_path / "other").symlink_to(tiny.resolve())
    assert len(load(tmp_path / "other").epochs) > 0


@pytest.mark.parametrize("name", [*FOLDERS, "report.html", "labels.yaml", "figures/a.png", "lease/x", "epochs/y"])
def test_doctor_names_every_link_that_leads_out(capsys, tiny, private, name):
    path = tiny / name
    path.parent.mkdir(exist_ok=True)
    if path.is_dir():
        path.rename(private / path.name)
    if not (private / path.name).exists():
        (private / path.name).touch()
    path.symlink_to(private / path.name)
    faults = {fault.key: fault for fault in examine(FolderStore(tiny)).faults}
    assert faults[name].text == f"is a link to {private / path.name}, outside the study's folder"
    assert faults[name].is_damage
    assert main(["doctor", "tiny"]) == 3
    assert "Traceback" not in capsys.readouterr().err


def test_labels_behind_a_link_are_refused(tiny, private):
    (private / "labels.yaml").write_text("factors: {k: importance}")
    (tiny / "labels.yaml").symlink_to(private / "labels.yaml")
    with pytest.raises(UserError, match=r"labels\.yaml: is a link to .*private/labels\.yaml, outside the study's folder"):
        load(tiny)
    assert load(tiny, labels=private / "labels.yaml").labels.title_of("k") == "importance", "named by the user"


@pytest.mark.parametrize("name", ["../../../private/secret", "/etc/hostname", ".hidden", ""])
def test_captions_cannot_name_a_file_elsewhere(tiny, private, name):
    (tiny / "figures").mkdir()
    pd.DataFrame({"name": [name], "title": ["t"], "caption": ["c"], "number": [""]}).to_csv(
        tiny / "figures" / LATENT_CAPTIONS, index=False
    )
    with pytest.raises(UserError, match="names the file"):
        latent_section(Computed(load(tiny)))


def test_pictures_and_tables_behind_a_link_are_refused(tiny, private):
    figures = tiny / "figures"
    figures.mkdir()
    pd.DataFrame({"name": ["a"], "title": ["t"], "caption": ["c"], "number": [""]}).to_csv(
        figures / LATENT_CAPTIONS, index=False
    )
    for kind in ("png", "pdf", "csv"):
        (figures / f"a.{kind}").write_bytes((private / f"secret.{kind}").read_bytes())
    study = load(tiny)
    assert latent_section(Computed(study)) is not None, "the negative control"
    (figures / "a.png").unlink()
    (figures / "a.png").symlink_to(private / "secret.png")
    with pytest.raises(UserError, match=r"a\.png: cannot be read \(is a link to"):
        latent_section(Computed(study))
    (figures / "latent-trials-x.csv").symlink_to(private / "secret.csv")
    with pytest.raises(UserError, match=r"latent-trials-x\.csv: cannot be read \(is a link to"):
        stored_latent(study)
    figures.rename(private / "figures")
    figures.symlink_to(private / "figures")
    with pytest.raises(UserError, match=r"figures: cannot be read \(is a link to"):
        stored_latent(study)
    with pytest.raises(UserError, match=r"figures: cannot be read \(is a link to"):
        latent_section(Computed(study))


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"a,b\n1,2\n3,4,5,6\n", b"x,y\n1,2\n"])
def test_a_table_that_is_none_is_named(tiny, raw):
    (tiny / "figures").mkdir()
    (tiny / "figures" / "latent-trials-x.csv").write_bytes(raw)
    with pytest.raises(UserError, match=r"latent-trials-x\.csv: is not the table that was written"):
        stored_latent(load(tiny))


def test_a_store_neither_writes_nor_deletes_through_a_link(tmp_path, private):
    store = FolderStore(tmp_path / "study")
    assert store.create("lease/1", b"x")
    (tmp_path / "study" / "epochs").symlink_to(private)
    for work in (
        lambda: store.create("epochs/new", b"x"),
        lambda: store.delete("epochs/secret.txt"),
        lambda: store.list("epochs"),
        lambda: store.read("epochs/secret.txt"),
        lambda: store.read_range("epochs/secret.txt", 0, 1),
    ):
        with pytest.raises(OSError, match="outside the study's folder"):
            work()
    assert sorted(path.name for path in private.iterdir()) == ["secret.csv", "secret.pdf", "secret.png", "secret.txt"]
    assert store.read("lease/1") == b"x"
    (tmp_path / "study" / "lease" / "2").symlink_to(private / "secret.txt")
    store.delete("lease/2")
    assert (private / "secret.txt").exists(), "the link itself was removed"
    assert store.list("lease") == ["lease/1"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_might_never_end_is_not_read(tmp_path, kind):
    store = FolderStore(tmp_path)
    (tmp_path / "lease").mkdir()
    if kind == "pipe":
        os.mkfifo(tmp_path / "lease" / "1")
    else:
        (tmp_path / "lease" / "1").symlink_to("/dev/zero")
    for read in (lambda: store.read("lease/1"), lambda: store.read_range("lease/1", 0, 9)):
        with pytest.raises(OSError, match=r"is a pipe or a device, not a file|is a link to /dev/zero"):
            read()


def test_the_files_below_a_link_are_the_link(private, tmp_path):
    (tmp_path / "link").symlink_to(private)
    assert list(files_below(tmp_path / "link")) == [tmp_path / "link"]
    assert len(list(files_below(private))) == 4


def test_a_study_does_not_write_into_another(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "epochs").mkdir()
    assert wrong_with(str(tmp_path), "b") == ""
    (tmp_path / "b" / "epochs").symlink_to(tmp_path / "a" / "epochs")
    assert f"b/epochs is a link to {tmp_path}/a/epochs, outside {tmp_path}/b" in wrong_with(str(tmp_path), "b")
