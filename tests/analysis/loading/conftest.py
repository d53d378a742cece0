"""Where each of these tests puts its study."""

import pytest


@pytest.fixture
def root(tmp_path):
    return tmp_path / "small"
