"""Loads the images on which all contestants of a benchmark train: real digits, at 8x8 or enlarged to 28x28."""

import numpy as np
from numpy.typing import NDArray

from workers.contract.settings import DataSettings
from workers.data.files import read_images

N = 1_400
"""Number of images: whole batches of a hundred."""


def digits(n_x: int) -> NDArray[np.float32]:
    """Return the first 1,400 training digits as intensities in [0, 1], [image, pixel]; 784 pixels include a dark margin."""
    images = read_images(DataSettings(name="digits")).train[:N].reshape(N, 8, 8)
    grey = images.astype(np.float32)
    if n_x == 784:
        grey = np.pad(np.kron(grey, np.ones((3, 3), np.float32)), ((0, 0), (2, 2), (2, 2)))
    return grey.reshape(N, n_x)
