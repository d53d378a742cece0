"""One tiny study, trained and drawn once for all of these tests."""

import pytest

from analysis.latent.__main__ import main
from tests.analysis.latent.trained_study import train_study


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    factors = {"decoder": ["bernoulli"], "n_z": [2, 4, 6], "seed": [0, 1]}
    return train_study(tmp_path_factory.mktemp("latent") / "tiny", factors, batch_norm=True)


@pytest.fixture(scope="session")
def drawn(root):
    assert main([str(root)]) == 0
    return root / "figures"


@pytest.fixture
def unrendered(monkeypatch):
    """Figures are drawn but made into no bytes, which is most of the time."""
    monkeypatch.setattr("analysis.latent.pictures.render", lambda *args: {"png": b"", "pdf": b""})
