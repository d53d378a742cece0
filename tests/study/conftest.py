"""A tiny study that has ended, in a folder of its own."""

from pathlib import Path

import pytest

from tests.study.finished_study import finished


@pytest.fixture
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> Path:
    """results/tiny, below the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("results").mkdir()
    finished(Path("results"))
    return Path("results/tiny")
