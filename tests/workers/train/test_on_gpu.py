"""What only a GPU can show; `python -m benchmarks.gpu_check` runs the same checks and writes them down."""

import pytest
import torch

from benchmarks import device_checks, kernel_checks
from workers.replicas.device import describe_device, prepare_device

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA GPU")


@pytest.fixture(params=["ieee", "tf32"])
def device(request):
    yield prepare_device("cuda", request.param)
    prepare_device("auto")


@pytest.mark.parametrize("check", kernel_checks.CHECKS.values(), ids=kernel_checks.CHECKS)
def test_a_kernel_computes_what_torch_does(check):
    assert check(prepare_device("cuda", "ieee")) < kernel_checks.TOLERANCE


@pytest.mark.parametrize("cell", device_checks.CELLS)
@pytest.mark.parametrize("check", device_checks.CHECKS.values(), ids=device_checks.CHECKS)
def test_packs(check, cell, device):
    check(cell, device)


def test_every_setting_trains():
    assert device_checks.every_setting_trains(prepare_device("cuda", "ieee")) == []


def test_provenance_names_the_generator_and_the_precision(device):
    found = describe_device(device)
    assert (found["device"], found["generator"]) == ("cuda", "philox4x32")
    assert prepare_device("cuda") == torch.device("cuda")
    assert describe_device(device)["precision"] == "tf32"
