"""Every test starts from the same place: its own home and current folder, no settings of the caller, one thread per process.

Every annotated tensor shape of workers is checked while tests run.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

from tests import ROOT

CALLERS = ("AWS_", "CUBLAS_", "MPL", "RAY_", "SLURM_", "XDG_")
"""How variables begin that change what the program does, or where its libraries look."""

SESSION = Path(tempfile.mkdtemp(prefix="study-tests-"))
"""Homes and current folders of this process's tests; removed at the end."""


def _without_the_callers_settings() -> None:
    # Asked before anything is taken away: where there is a GPU, which one to use is the caller's to choose.
    if not torch.cuda.is_available():
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        # Before anybody imports Triton: its interpreter runs the kernels on the CPU.
        os.environ["TRITON_INTERPRET"] = "1"
    for name in [name for name in os.environ if name.startswith(CALLERS)] + ["COLUMNS", "LINES", "PYTHONWARNINGS"]:
        os.environ.pop(name, None)
    (SESSION / "home").mkdir()
    os.environ |= {
        "HOME": str(SESSION / "home"),
        "OMP_NUM_THREADS": "1",
        # Programs that tests start import this checkout, wherever they run.
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        # A list of fonts takes Matplotlib a second, in every process that finds none.
        "MPLCONFIGDIR": str(SESSION / "matplotlib"),
        # Examples that failed before would make one run differ from the next.
        "HYPOTHESIS_STORAGE_DIRECTORY": str(SESSION / "hypothesis"),
    }


_without_the_callers_settings()
# Rooms and files whose functions take tensors; the rest of train and replicas takes stores and devices.
install_import_hook(
    [
        "workers.kernels.philox_reference",
        "workers.measure",
        "workers.model",
        "workers.replicas.seeds",
        "workers.replicas.units",
        "workers.train.device_epoch",
        "workers.train.learner",
        "workers.train.optimizer",
    ],
    "beartype.beartype",
)


def pytest_unconfigure() -> None:
    shutil.rmtree(SESSION, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def in_no_folder_of_the_caller() -> Iterator[None]:
    """Fixtures that several tests share are made here, and not where somebody called pytest."""
    before = os.getcwd()
    (SESSION / "here").mkdir()
    os.chdir(SESSION / "here")
    yield
    os.chdir(before)


_number = count()


@pytest.fixture(autouse=True)
def a_place_of_its_own() -> Iterator[None]:
    """An empty home and an empty current folder; what a test does to the environment ends with it."""
    folder, before, environment = SESSION / str(next(_number)), os.getcwd(), dict(os.environ)
    for each in ("home", "here"):
        (folder / each).mkdir(parents=True)
    os.environ["HOME"] = str(folder / "home")
    os.chdir(folder / "here")
    yield
    os.chdir(before)
    environment["PYTEST_CURRENT_TEST"] = os.environ["PYTEST_CURRENT_TEST"]
    if os.environ != environment:
        os.environ.clear()
        os.environ.update(environment)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def a_process_that_has_not_trained() -> Iterator[None]:
    """A worker sets these for its whole process, and tests of other files run in it later."""
    _put_back()
    yield
    _put_back()


def _put_back() -> None:
    # Hypothesis draws no floats where denormals are flushed.
    torch.set_flush_denormal(False)
    torch.set_float32_matmul_precision("highest")
