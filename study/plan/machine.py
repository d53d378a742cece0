"""Find the cores or GPUs on which packs can run, without importing torch."""

import sys
from dataclasses import dataclass

from study.plan.cpus import cores
from study.plan.gpus import gpu_count, looked_at
from workers.contract.errors import UserError
from workers.contract.settings import RunSettings

PRECISIONS = {
    "cpu": ("auto", "ieee", "bf16"),
    "cuda": ("auto", "ieee", "tf32", "bf16"),
    "mps": ("auto", "ieee"),
}
"""Allowed values of run.precision, by device."""


class MachineError(UserError):
    """The device or cluster that was asked for cannot be used."""


@dataclass(frozen=True)
class Machine:
    """The device that packs run on, and how many run at once; this decides the sizes of packs."""

    device: str
    """cpu | cuda | mps"""
    slots: int
    """Packs that run at once."""


def this_machine(run: RunSettings) -> Machine:
    """Return the device of this machine, and how many packs run at once.

    Raises:
        MachineError: run.device names a device that this machine lacks, or run.precision one that the device lacks.
    """
    gpus = gpu_count()
    device = run.device
    if device == "auto":
        device = "cuda" if gpus else "cpu"
    refuse_precision(device, run.precision)
    if device == "cuda" and not gpus:
        raise MachineError(
            f"run.device: got cuda, but this machine shows no NVIDIA GPU ({looked_at()}); allowed here: auto, cpu"
        )
    if device == "mps" and sys.platform != "darwin":
        raise MachineError("run.device: got mps, but this machine is not a Mac; allowed here: auto, cpu")
    if device == "cuda":
        return Machine(device, max(1, int(gpus / gpus_of_pack(run))))
    return Machine(device, cores() if device == "cpu" else 1)


def refuse_precision(device: str, precision: str) -> None:
    """Check that the device has this precision.

    Raises:
        MachineError: the device does not have this precision.
    """
    if precision not in PRECISIONS[device]:
        raise MachineError(
            f"run.precision: got {precision}, but {device} does not support it; allowed: {', '.join(PRECISIONS[device])}"
        )


def gpus_of_pack(run: RunSettings) -> float:
    """Return how many GPUs a pack takes; below 1 it is a share of one.

    Raises:
        MachineError: the number is above 1 but not whole.
    """
    gpus = 1.0 if run.gpus_per_pack == "auto" else run.gpus_per_pack
    if gpus > 1 and gpus != int(gpus):
        raise MachineError(f"run.gpus_per_pack: got {gpus}; allowed: a share of one GPU (up to 1), or a whole number")
    return gpus


def in_words(machine: Machine) -> str:
    """Return the words for a machine, such as `this machine, 2 cores`."""
    thing = {"cpu": "core", "cuda": "GPU", "mps": "Apple GPU"}[machine.device]
    return f"this machine, {machine.slots} {thing}{'s' if machine.slots > 1 else ''}"
