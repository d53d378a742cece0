"""The device that a pack runs on: chosen, made deterministic, named."""

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
"""Of the factors of matrix products, in torch's words."""

_ALLOWED = {"cpu": ("ieee", "bf16"), "cuda": ("ieee", "tf32", "bf16"), "mps": ("ieee",)}

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def prepare_device(wanted: str, precision: str = "auto") -> torch.device:
    """Choose a device and set this process up for it; repeated before every pack, as a reused process keeps settings.

    Raises:
        ValueError: the device asked for is not there, or has no such precision.
    """
    name = wanted if wanted != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[name]:
        raise ValueError(f"run.device: this machine has no {name}; allowed here: {', '.join(d for d in there if there[d])}")
    if precision == "auto":
        precision = "tf32" if name == "cuda" else "ieee"
    if precision not in _ALLOWED[name]:
        raise ValueError(
            f"run.precision: got {precision}, which {name} does not have; allowed there: auto, {', '.join(_ALLOWED[name])}"
        )
    torch.set_float32_matmul_precision(PRECISIONS[precision])
    # More than one OpenMP thread a process is up to 100 times slower where processes share the cores.
    torch.set_num_threads(1)
    # Adam's second moments of pixels that are always black decay to denormals, which are slow.
    torch.set_flush_denormal(True)
    # cuBLAS is deterministic with a fixed workspace only.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_default_dtype(torch.float32)
    _keep_freed_memory()
    return torch.device(name)


def describe_device(device: torch.device) -> dict[str, Any]:
    """What of the machine and the software can change a number; part of every file's provenance."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device": device.type,
        "device_name": name,
        "precision": precision_in_use(),
        "generator": generator_of(device),
        "python": sys.version.split()[0],
        "torch": version("torch"),
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
    }


def precision_in_use() -> str:
    """The precision that this process is set up for, by torch's own word."""
    wanted = torch.get_float32_matmul_precision()
    return next(name for name, word in PRECISIONS.items() if word == wanted)


def _keep_freed_memory() -> None:
    # glibc gives blocks of some MB back to the system and asks for them anew in every step, at the cost of page faults.
    # 32 MB is the highest threshold that it accepts.
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
