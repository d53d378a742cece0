"""Every annotated tensor shape of workers is checked while tests run; one thread a process, as in real runs."""

import os
from collections.abc import Iterator

import pytest
import torch
from jaxtyping import install_import_hook

os.environ["OMP_NUM_THREADS"] = "1"
if not torch.cuda.is_available():
    # Before anybody imports Triton: its interpreter runs the kernels on the CPU.
    os.environ["TRITON_INTERPRET"] = "1"
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
