"""Data that are replaced after planning: nothing is trained, planned or believed silently."""

from pathlib import Path

import numpy as np
import pytest

import study.drive.driver
from study.commands.main import main
from tests.study.drive.tiny_study import command, rows
from tests.study.finished_study import changed
from tests.study.small_study import files_in
from workers.contract.settings import DataSettings
from workers.data.images import fingerprint as fingerprint_of
from workers.data.images import load_images

pytestmark = pytest.mark.usefixtures("beside_a_tiny_grid")

OWN = ("--set", "data={name: npz, path: mine.npz}")


def write(first: int) -> str:
    """A hundred digits in the file, and their fingerprint."""
    whole = load_images(DataSettings())
    part = slice(first, first + 100)
    np.savez("mine.npz", images=whole.train[part], labels=whole.train_labels[part])
    return fingerprint_of(load_images(DataSettings(name="npz", path="mine.npz")))


def test_data_replaced_after_planning_end_the_run_before_anything_is_trained(capsys, monkeypatch):
    planned, found = write(0), []
    settle = study.drive.driver.settle

    def settle_then_replace(*arguments):
        work = settle(*arguments)
        found.append(write(100))
        return work

    monkeypatch.setattr(study.drive.driver, "settle", settle_then_replace)
    # Not even the look at what is stored comes between the plan and the workers.
    assert command(*OWN) == 3
    said = capsys.readouterr()
    sentence = f"data.path: {Path('mine.npz').absolute()} has the fingerprint {found[0]}, but this study was planned on data"
    assert sentence in said.out
    assert f"with the fingerprint {planned}; put the former data back, or give the study another name" in said.out
    assert "Traceback" not in said.err
    assert not Path("results/tiny/epochs").exists()
    # The negative control: with the former data the same command comes to its end.
    monkeypatch.undo()
    assert write(0) == planned


def test_with_the_former_data_the_study_comes_to_its_end_and_with_others_it_is_not_planned(capsys):
    planned = write(0)
    assert command(*OWN) == 0
    before, there = files_in(Path("results")), write(100)
    capsys.readouterr()
    for words in ((), ("--set", "training.epochs=3"), ("--plan",), ("--set", "seed=[0, 1, 2]")):
        assert command(*OWN, *words) == 2
        said = capsys.readouterr().err
        assert (
            f"mine.npz has the fingerprint {there}, but this study was planned on data with the fingerprint {planned}"
            in said
        )
    assert files_in(Path("results")) == before
    write(0)
    assert command(*OWN) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_another_data_set_under_its_own_name_is_no_conflict():
    write(0)
    assert command(*OWN, "--set", "k=1", "--set", "seed=0") == 0
    assert command("--set", "k=1", "--set", "seed=0") == 0
    assert rows()["trial_id"].nunique() == 2


def test_doctor_finds_other_data_on_disk_and_in_what_was_trained(capsys):
    planned = write(0)
    assert command(*OWN) == 0
    capsys.readouterr()
    main(["doctor", "tiny"])
    assert "fingerprint" not in capsys.readouterr().out
    there = write(100)
    assert main(["doctor", "tiny"]) == 2
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "fingerprint" in line]
    place = Path("mine.npz").absolute()
    assert f"plan/: was made on data with the fingerprint {planned}, but data.path: {place} has {there} now;" in line
    # What a worker of the former version stored after the file had been replaced.
    write(0)
    files = [max(Path("results/tiny", folder).iterdir()) for folder in ("epochs", "trials")]
    for file in files:
        changed(file, lambda frame: None, lambda footer: footer["provenance"].update(fingerprint=there))
    assert main(["doctor", "tiny"]) == 3
    lines = [line for line in capsys.readouterr().out.splitlines() if "fingerprint" in line]
    for line, file in zip(sorted(lines), sorted(files), strict=True):
        assert (
            f"{file}: was computed on data with the fingerprint {there}, but its trials were planned on {planned};" in line
        )


def test_data_that_are_not_here_are_no_fault(capsys):
    write(0)
    assert command(*OWN) == 0
    Path("mine.npz").unlink()
    capsys.readouterr()
    main(["doctor", "tiny"])
    assert "mine.npz" not in capsys.readouterr().out
