"""A tiny grid in a folder of its own."""

from pathlib import Path

import pytest

from tests.study.drive.tiny_study import TINY
from tests.study.small_study import use_machine


@pytest.fixture
def beside_a_tiny_grid(tmp_path, monkeypatch):
    """Two slots everywhere, so that packs have the same members on every machine: a pack for each k."""
    monkeypatch.chdir(tmp_path)
    use_machine(monkeypatch)
    Path("tiny.yaml").write_text(TINY)
