"""Choose the device that a pack runs on, make it deterministic, and describe it."""

import ctypes
import os
import platform
import sys
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from workers.replicas.seeds import generator_of

PRECISIONS = {"ieee": "highest", "tf32": "high", "bf16": "medium"}
"""The precisions of the factors of matrix products, and torch's words for them."""

PRECISIONS_OF = {"cpu": ("ieee", "bf16"), "cuda": ("ieee", "tf32", "bf16"), "mps": ("ieee",)}
"""The precisions that each device has."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def prepare_device(wanted: str, precision: str = "auto") -> torch.device:
    """Choose a device and set this process up for it; call it before every pack, because a reused process keeps settings.

    Raises:
        ValueError: this machine does not have the device, or the device does not have the precision.
    """
    name = wanted if wanted != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[name]:
        raise ValueError(
            f"run.device: got {name}, but this machine has no {name} device; "
            f"allowed here: auto, {', '.join(d for d in there if there[d])}"
        )
    if precision == "auto":
        precision = "tf32" if name == "cuda" else "ieee"
    if precision not in PRECISIONS_OF[name]:
        raise ValueError(
            f"run.precision: got {precision}, which {name} does not support; "
            f"allowed on {name}: auto, {', '.join(PRECISIONS_OF[name])}"
        )
    torch.set_float32_matmul_precision(PRECISIONS[precision])
    # Where processes share the cores, several OpenMP threads per process are up to 100 times slower than one.
    torch.set_num_threads(1)
    # Adam's second moments of pixels that are always black decay to denormal numbers, which are slow.
    torch.set_flush_denormal(True)
    # cuBLAS is deterministic only with a fixed workspace.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_default_dtype(torch.float32)
    _keep_freed_memory()
    return torch.device(name)


def describe_device(device: torch.device) -> dict[str, Any]:
    """Return the facts about machine and software that can change a number; they are in the provenance of every file."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device": device.type,
        "device_name": name,
        "precision": precision_in_use(),
        "generator": generator_of(device),
        # Two machines with the same processor may differ here: a virtual machine can hide some of its instructions.
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "python": sys.version.split()[0],
        "torch": version("torch"),
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
    }


def precision_in_use() -> str:
    """Return the precision that this process is set up for, as torch reports it."""
    wanted = torch.get_float32_matmul_precision()
    return next(name for name, word in PRECISIONS.items() if word == wanted)


def _keep_freed_memory() -> None:
    # glibc returns blocks of a few MB to the system and requests them again in every step, which costs page faults. 32 MB is
    # the highest threshold that it accepts.
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**30)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
