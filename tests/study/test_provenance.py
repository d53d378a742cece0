"""No number without the code that made it."""

import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import analysis
import study
from study import provenance
from study.provenance import code_provenance
from tests import ROOT


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *who, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A checkout of this project with one commit."""
    (tmp_path / "study").mkdir()
    source = tmp_path / "study" / "provenance.py"
    source.write_text("one\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    monkeypatch.setattr(provenance, "__file__", str(source))
    return tmp_path


def test_this_checkout_is_named():
    said = code_provenance()
    assert (said["package"], said["version"]) == ("factorial-iwae", version("factorial-iwae"))
    if not (ROOT / ".git").exists():
        assert (said["commit"], said["dirty"]) == (None, None)
        pytest.skip("this is no checkout")
    assert said["commit"] == git(ROOT, "rev-parse", "HEAD")
    assert said["dirty"] == bool(git(ROOT, "status", "--porcelain", "--untracked-files=no"))


def test_a_change_of_a_tracked_file_makes_a_checkout_dirty(checkout):
    head = git(checkout, "rev-parse", "HEAD")
    assert code_provenance() | {"commit": head, "dirty": False} == code_provenance()
    (checkout / "results.parquet").write_text("untracked")
    assert code_provenance()["dirty"] is False
    (checkout / "study" / "provenance.py").write_text("two\n")
    assert (code_provenance()["commit"], code_provenance()["dirty"]) == (head, True)
    git(checkout, "commit", "-q", "-a", "-m", "two")
    assert code_provenance()["dirty"] is False
    assert code_provenance()["commit"] == git(checkout, "rev-parse", "HEAD") != head


def test_a_package_below_somebody_elses_checkout_has_no_commit(checkout, monkeypatch):
    inner = checkout / "site-packages" / "study" / "provenance.py"
    monkeypatch.setattr(provenance, "__file__", str(inner))
    assert (code_provenance()["commit"], code_provenance()["dirty"]) == (None, None)


def test_without_git_there_is_no_commit_and_no_error(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert (code_provenance()["commit"], code_provenance()["dirty"]) == (None, None)


def test_what_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr("workers.contract.version.PACKAGE", "no-such-package")
    assert code_provenance()["version"] is None


def test_both_packages_state_the_version_of_the_project():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert study.__version__ == analysis.__version__ == wanted
    assert set(study.__all__) == {"__version__", "run"}
    assert all(hasattr(analysis, name) for name in analysis.__all__)


def test_types_travel_with_the_packages():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert data["*"] == ["py.typed"]
    assert all((ROOT / package / "py.typed").is_file() for package in ("study", "workers", "analysis"))
