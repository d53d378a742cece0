"""Where Triton's kernels take the place of torch's: every seam asks here, and imports the kernels only then.

Triton comes with torch on Linux alone; what runs anywhere else is the reference that every kernel is held against.
"""

from torch import Tensor, float64

DEVICES = ["cuda"]
"""The tests add the CPU, where Triton's interpreter runs the same kernels."""


def has_kernels(like: Tensor) -> bool:
    """Whether kernels take this tensor: float32 (or integers) on a device that has them."""
    return like.device.type in DEVICES and like.dtype != float64
