"""Laws are asserted in files that pytest does not rewrite unasked."""

import os
from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tests.study.drive.executors.heard", "tests.study.drive.executors.laws")


@pytest.fixture(autouse=True, scope="module")
def a_place_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One current folder for all laws: Ray starts its workers in the folder that it was started in itself."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("laws"))
    yield
    os.chdir(before)
