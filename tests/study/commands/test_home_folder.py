"""`~` stands for the home folder wherever a user writes a path, although the shell leaves `--out=~/x` and grid files alone."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import analysis
from analysis.claims.__main__ import main as claims_main
from analysis.latent.models import read_model
from analysis.loading.labels import read_labels
from analysis.report.__main__ import main as report_main
from study.commands.main import main
from study.commands.run import main as run_main
from tests.study.finished_study import TINY
from workers.contract.settings import DataSettings
from workers.data.files import read_images
from workers.data.images import place_of
from workers.data.places import root_of

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


@pytest.fixture
def home() -> Path:
    return Path(os.environ["HOME"])


@pytest.fixture
def at_home(tiny, home) -> Path:
    """The tiny study in ~/results, and its grid file in the home folder."""
    shutil.move("results", home / "results")
    (home / "tiny.yaml").write_text(TINY)
    return home / "results" / "tiny"


@pytest.fixture(autouse=True)
def nothing_is_named_like_a_tilde():
    yield
    assert not [path for path in Path().rglob("*") if "~" in path.name]


@pytest.mark.parametrize(
    "words", [["--out=~/results"], ["--out", "~/results"], ["--set", "run.out=~/results"], ["--set", "run={out: ~/results}"]]
)
def test_results_of_a_run(capsys, at_home, words):
    assert run_main(["~/tiny.yaml", "--executor", "inline", "--plan", *words]) == 0
    said = capsys.readouterr().out
    assert f"results in {at_home}\n" in said


def test_results_that_the_grid_file_names(capsys, at_home, home):
    Path("g.yaml").write_text(f"{TINY.rstrip()[:-1]}, out: ~/results}}\n")
    assert run_main(["g.yaml", "--plan"]) == 0
    assert f"results in {at_home}\n" in capsys.readouterr().out


@pytest.mark.parametrize("name", [["tiny", "--out=~/results"], ["~/results/tiny"]])
@pytest.mark.parametrize("command", ["status", "stop", "doctor", "export"])
def test_commands_about_a_study(capsys, at_home, command, name):
    assert main([command, *name]) in (0, 2)
    assert "no such study" not in capsys.readouterr().err


def test_where_studies_are_listed_and_checked(capsys, at_home):
    assert main(["list", "--out=~/results"]) == 0
    assert capsys.readouterr().out == f"tiny  {at_home}\n"
    main(["doctor", "--out=~/results", "--data", "~/tiny.yaml"])
    assert f"results: {at_home.parent} is writable" in capsys.readouterr().out


def test_where_an_archive_goes(at_home, home):
    assert main(["export", "~/results/tiny", "--to=~/tiny.tgz"]) == 0
    assert (home / "tiny.tgz").is_file()


def test_images_of_a_user(home):
    np.savez(home / "mine.npz", images=np.eye(8)[:, None, :])
    settings = DataSettings(name="npz", path="~/mine.npz")
    assert len(read_images(settings).train) == 7
    assert place_of(settings) == f"data.path: {home}/mine.npz"


def test_the_folder_of_all_data_sets(home):
    assert root_of(DataSettings(root="~/data")) == home / "data"
    assert root_of(DataSettings()) == home / ".cache" / "factorial-iwae"


def test_readers_of_python(at_home, home):
    assert analysis.load("~/results/tiny").path == at_home
    (weights,) = list(at_home.glob("weights/*-000004.safetensors"))[:1]
    assert read_model("~/results/tiny", weights.name[:16]).epoch == 4
    (home / "labels.yaml").write_text("factors: {k: samples}\n")
    assert read_labels(Path("~/labels.yaml")).title_of("k") == "samples"


def test_files_of_the_analysis(at_home, home):
    (home / "labels.yaml").write_text("factors: {k: samples}\n")
    shutil.copy(Path(analysis.__file__).parent / "claims" / "paper.yaml", home / "mine.yaml")
    assert claims_main(["~/results/tiny", "--claims=~/mine.yaml", "--csv=~/verdicts.csv"]) == 0
    assert (home / "verdicts.csv").is_file()
    options = ["--figure", "spectrum", "--format", "png", "--labels=~/labels.yaml", "--out=~/there"]
    assert report_main(["~/results/tiny", *options]) == 0
    assert list((home / "there" / "figures").glob("*.png"))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: run_main(["~nonesuch/g.yaml"]), "~nonesuch/g.yaml: there is no user 'nonesuch'"),
        (lambda: main(["status", "~nonesuch/s"]), "~nonesuch/s: there is no user 'nonesuch'"),
        (lambda: run_main(["g.yaml", "--out=~nonesuch/x"]), "run.out: ~nonesuch/x: there is no user 'nonesuch'"),
        (
            lambda: run_main(["g.yaml", "--set", "data={name: npz, path: ~nonesuch/x.npz}"]),
            "data.path: ~nonesuch/x.npz: there",
        ),
        (lambda: report_main(["~nonesuch/s"]), "~nonesuch/s: there is no user 'nonesuch'"),
    ],
    ids=["grid", "study", "out", "data", "report"],
)
def test_the_home_of_a_user_who_does_not_exist(capsys, call, sentence):
    Path("g.yaml").write_text("study: s\n")
    assert call() == 2
    assert sentence in capsys.readouterr().err
