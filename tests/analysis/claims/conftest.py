"""A study of one cell, which lacks what most claims compare."""

import pytest

from tests.analysis.claims.planted_claims import K5, Plant


@pytest.fixture(scope="session")
def lonely(tmp_path_factory):
    return Plant([K5], seeds=2).write(tmp_path_factory.mktemp("lonely") / "s")
