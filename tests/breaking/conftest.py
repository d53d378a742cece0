"""One small study, trained once for all of these tests."""

import pytest

from tests.breaking import victim


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    return victim.make(tmp_path_factory.mktemp("made"))
