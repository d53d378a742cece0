"""An empty store in a folder."""

import pytest

from workers.store.folder import FolderStore
from workers.store.protocol import Store


@pytest.fixture
def store(tmp_path) -> Store:
    return FolderStore(tmp_path / "s")
