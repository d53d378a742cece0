"""A data set as arrays: the images, their labels, and how they were read."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.float32]
"""Either uint8 from 0 to 255, which the model sees divided by 255, or float32 from 0 to 1."""


@dataclass(frozen=True)
class Images:
    """A data set: images [n, height, width], either uint8 from 0 to 255 or float32 in [0, 1]; labels may be absent."""

    train: Pixels
    test: Pixels
    train_labels: NDArray[np.int64] | None
    test_labels: NDArray[np.int64] | None
    class_names: tuple[str, ...] | None = None
    """The name of every class, in the order of the labels; None if the labels 0 to C - 1 are their own names."""
    reading: str | None = None
    """How pixels were read from the file, in words; None if it follows from their type."""
    is_flat: bool = False
    """Whether the file holds rows of pixels, to which reading gave a height and a width. The fingerprint is that of rows."""


def name_of(images: Images, label: int) -> str:
    """Return the name of a class as the file of the data set has it."""
    return str(label) if images.class_names is None else images.class_names[label]
