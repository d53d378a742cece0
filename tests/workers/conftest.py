"""Tests of workers run in a process that is set up as a worker sets itself up."""

from collections.abc import Iterator

import pytest
import tiny
import torch

from workers.data import Data
from workers.device import prepare_device


@pytest.fixture(scope="package", autouse=True)
def set_up_as_a_worker() -> None:
    prepare_device("cpu")


@pytest.fixture(autouse=True)
def keep_denormals() -> Iterator[None]:
    # Hypothesis draws no floats where a worker has set denormals to be flushed.
    torch.set_flush_denormal(False)
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="package")
def data() -> Data:
    return tiny.digits()
