"""Decide where Triton kernels replace torch operations; callers ask here before they import a kernel.

Triton comes with torch on Linux only. Everywhere else the reference runs that every kernel is tested against.
"""

from torch import Tensor, float64

DEVICES = ["cuda"]
"""Types of devices that have kernels. The tests add the CPU, where Triton's interpreter runs the same kernels."""


def has_kernels(like: Tensor) -> bool:
    """Return whether the kernels accept this tensor: float32 (or integers) on a device that has kernels."""
    return like.device.type in DEVICES and like.dtype != float64
