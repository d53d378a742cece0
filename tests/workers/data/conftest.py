"""The small images taken for the real MNIST, and torchvision without a network."""

import sys
import types

import pytest

from tests.workers.data.small_images import FOLDERS, GREY, LABELS
from workers.data.arrays import Images
from workers.data.images import KNOWN, fingerprint


@pytest.fixture
def these_are_mnist(monkeypatch):
    """Take the small files for the real ones."""
    images = Images(GREY, GREY[:5], LABELS, LABELS[:5])
    for name in FOLDERS:
        monkeypatch.setitem(KNOWN, name, KNOWN[name].__class__(fingerprint(images), 23, 5, 12))


@pytest.fixture
def torchvision(monkeypatch):
    """torchvision without its import of seconds and without a network; set `download` to what shall happen."""
    calls = []

    def download(root, name):
        pytest.fail("files that lie ready were downloaded")

    module = types.ModuleType("torchvision.datasets")
    module.download = download
    for name, folder in FOLDERS.items():

        def data_set(root, download, name=name):
            assert download
            calls.append((root, name))
            module.download(root, name)

        setattr(module, folder, data_set)
    module.calls = calls
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)
    return module
