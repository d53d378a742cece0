"""Tests of workers run in a process that is set up as a worker sets itself up."""

import pytest

from tests.workers import tiny
from workers.model.inputs import Data
from workers.replicas.device import prepare_device


@pytest.fixture(scope="package", autouse=True)
def set_up_as_a_worker() -> None:
    prepare_device("cpu")


@pytest.fixture(scope="package")
def data() -> Data:
    return tiny.digits()
