"""Where packs run: this machine's cores or GPUs, found without importing torch."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from workers.contract.errors import UserError
from workers.contract.settings import RunSettings

PRECISIONS = {
    "cpu": ("auto", "ieee", "bf16"),
    "cuda": ("auto", "ieee", "tf32", "bf16"),
    "mps": ("auto", "ieee"),
}
"""What run.precision may be, by device."""


class MachineError(UserError):
    """The device asked for is not there."""


@dataclass(frozen=True)
class Machine:
    """What decides the sizes of packs."""

    device: str
    """cpu | cuda | mps"""
    slots: int
    """Packs that run at once."""


def this_machine(run: RunSettings) -> Machine:
    """The device and how many packs run at once.

    Raises:
        MachineError: run.device names a device that this machine lacks, or run.precision what the device lacks.
    """
    gpus = gpu_count()
    device = run.device
    if device == "auto":
        device = "cuda" if gpus else "cpu"
    refuse_precision(device, run.precision)
    if device == "cuda" and not gpus:
        raise MachineError("run.device: got cuda, but this machine shows no NVIDIA GPU; allowed here: auto, cpu")
    if device == "mps" and sys.platform != "darwin":
        raise MachineError("run.device: got mps, which only a Mac has; allowed here: auto, cpu")
    if device == "cuda":
        return Machine(device, max(1, int(gpus / gpus_of_pack(run))))
    return Machine(device, cores() if device == "cpu" else 1)


def refuse_precision(device: str, precision: str) -> None:
    """Before anything runs: the device can compute so.

    Raises:
        MachineError: run.precision names what the device does not have.
    """
    if precision not in PRECISIONS[device]:
        raise MachineError(
            f"run.precision: got {precision}, which {device} does not have; allowed: {', '.join(PRECISIONS[device])}"
        )


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu_count() -> int:
    """NVIDIA GPUs that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        there = len(os.listdir(Path("/proc/driver/nvidia/gpus")))
    except OSError:
        return 0
    return (
        there
        if visible is None
        else min(there, len([part for part in visible.split(",") if part.strip() not in ("", "-1")]))
    )


def gpus_of_pack(run: RunSettings) -> float:
    """GPUs (or a share of one) that a pack takes.

    Raises:
        MachineError: more than one, and no whole number.
    """
    gpus = 1.0 if run.gpus_per_pack == "auto" else run.gpus_per_pack
    if gpus > 1 and gpus != int(gpus):
        raise MachineError(f"run.gpus_per_pack: got {gpus}; allowed are shares of one GPU, and whole numbers above")
    return gpus


def in_words(machine: Machine) -> str:
    """The first line a user reads: `this machine, 2 cores`."""
    thing = {"cpu": "core", "cuda": "GPU", "mps": "Apple GPU"}[machine.device]
    return f"this machine, {machine.slots} {thing}{'s' if machine.slots > 1 else ''}"
