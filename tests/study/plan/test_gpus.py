"""GPUs as CUDA would show them, by CUDA_VISIBLE_DEVICES and by what the machine has."""

import pytest
import torch.cuda
from hypothesis import given
from hypothesis import strategies as st

from study.plan.gpus import ask_cuda, gpu_count, looked_at, visible_count
from study.plan.machine import MachineError, this_machine
from workers.contract.settings import RunSettings

UUIDS = ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-8945aaaa-0000-0000-0000-000000000001", "GPU-aaaa-2")


def machine(root, uuids=UUIDS, *devices: str):
    for number, uuid in enumerate(uuids):
        folder = root / "proc" / "driver" / "nvidia" / "gpus" / f"0000:0{number}:00.0"
        folder.mkdir(parents=True)
        (folder / "information").write_text(f"Model: \t\t NVIDIA A100\nGPU UUID: \t {uuid}\nDevice Minor: \t {number}\n")
    for device in devices:
        (root / "dev").mkdir(parents=True, exist_ok=True)
        (root / "dev" / device).touch()
    return root


def count(root, visible: str | None, answer: int | None = None) -> int:
    def ask(given):
        assert answer is not None, "the files answer this"
        assert given == visible
        return answer

    return gpu_count({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}, root, ask)


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, 3),
        ("", 0),
        ("none", 0),
        ("NoDevFiles", 0),
        ("void", 0),
        ("-1", 0),
        ("0", 1),
        ("2,1", 2),
        ("0,1,2", 3),
        (" 1 , 0 ", 2),
        ("0,0", 0),
        ("0,1,0", 0),
        ("0,2,-1,1", 2),
        ("0,3,1", 1),
        ("0,3,0", 0),
        ("3", 0),
        ("7,0", 0),
        ("0,,1", 1),
        ("1gpu,2ampere", 2),
        (UUIDS[0], 1),
        (f"{UUIDS[2]},{UUIDS[0]}", 2),
        ("GPU-8932", 1),
        ("GPU-89", 0),
        ("GPU-8932,GPU-8932f9", 0),
        ("GPU-ffff,GPU-8932", 0),
        ("GPU-8932,0", 1),
        ("0,GPU-8932", 1),
    ],
)
def test_what_the_variable_leaves_of_three_gpus(tmp_path, visible, expected):
    assert count(machine(tmp_path), visible) == expected


@given(st.lists(st.sampled_from(["0", "1", "2", "3", "-1", "", "x", " 1", "1x", "+2"]), max_size=5).map(",".join))
def test_it_is_what_torch_takes_for_the_answer_of_cuda(visible):
    """torch.cuda counts without CUDA as well, by the same variable."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", visible)
        patch.setattr(torch.cuda, "_raw_device_count_nvml", lambda: 3)
        assert visible_count(visible, UUIDS) == torch.cuda._device_count_nvml()


@given(
    st.lists(st.sampled_from([*UUIDS, "GPU-89", "GPU-8932", "GPU-aaaa", "GPU-x", "0", "MIG-1"]), max_size=4).map(",".join)
)
def test_so_are_uuids(visible):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", visible)
        patch.setattr(torch.cuda, "_raw_device_uuid_nvml", lambda: list(UUIDS))
        patch.setattr(torch.cuda, "_raw_device_count_nvml", lambda: 3)
        found = torch.cuda._device_count_nvml()
    assert (visible_count(visible, UUIDS) or 0) == max(0, found)


def test_instances_of_a_gpu_and_uuids_that_the_driver_hides_are_left_to_cuda(tmp_path):
    machine(tmp_path)
    assert count(tmp_path, "MIG-3f2a-1", answer=1) == 1
    assert count(machine(tmp_path / "other", ["GPU-????????-????"]), "GPU-8932", answer=1) == 1


@pytest.mark.parametrize("device", ["dxg", "nvhost-gpu", "nvgpu", "nvmap"])
def test_a_machine_that_lists_no_cards_is_asked(tmp_path, device):
    """WSL2 and Jetson boards."""
    machine(tmp_path, (), device)
    assert count(tmp_path, None, answer=1) == 1
    assert count(tmp_path, "0", answer=1) == 1
    assert count(tmp_path, "-1") == 0


def test_a_machine_with_nothing_is_not_asked(tmp_path):
    assert count(machine(tmp_path, (), "null"), None) == 0


def test_words_for_what_was_looked_at(tmp_path):
    assert looked_at({}, tmp_path) == (
        "looked for /proc/driver/nvidia/gpus, /dev/dxg, /dev/nvhost-gpu, /dev/nvgpu, /dev/nvmap"
    )
    assert looked_at({}, machine(tmp_path / "wsl", (), "dxg")) == "/dev/dxg exists, but CUDA finds no GPU"
    assert looked_at({"CUDA_VISIBLE_DEVICES": "none"}, machine(tmp_path / "cards")) == (
        "/proc/driver/nvidia/gpus lists 3; CUDA_VISIBLE_DEVICES is 'none'"
    )


@pytest.mark.parametrize(("gpus", "device"), [(0, "cpu"), (2, "cuda")])
def test_the_device_of_this_machine(monkeypatch, gpus, device):
    monkeypatch.setattr("study.plan.machine.gpu_count", lambda: gpus)
    assert this_machine(RunSettings()).device == device
    if gpus == 0:
        with pytest.raises(MachineError, match=r"got cuda, but this machine shows no NVIDIA GPU \(look"):
            this_machine(RunSettings(device="cuda"))


def test_cuda_is_really_asked_in_another_process():
    """Every machine answers, and no GPU is visible if none is to be."""
    assert ask_cuda("-1") == 0
