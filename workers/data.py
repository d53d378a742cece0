"""The data set on the device, as the model sees it: training batches drawn anew, fixed images to measure on."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from workers.images import Images, known, load_images
from workers.rng import EVALUATION_SEED, Seeds, Stream, generator
from workers.settings import DataSettings, MeasureSettings


@dataclass(frozen=True)
class Data:
    """Everything a pack needs of a data set; pixels of `train` are probabilities, all others are inputs (0 or 1)."""

    train: Float[Tensor, "image pixel"]
    """Training images as probabilities in [0, 1]; a batch is binarised anew every time it is used."""
    measured: Float[Tensor, "measured pixel"]
    """The fixed training images on which activity is measured, binarised once."""
    test: Float[Tensor, "test pixel"]
    """The test images, binarised once."""
    test_classes: Int[Tensor, "test"] | None
    """The class of every test image, from 0; None where the data have no labels."""
    n_classes: int
    fingerprint: str

    @property
    def n_x(self) -> int:
        """Pixels an image."""
        return self.train.shape[1]


def load_data(settings: DataSettings, measure: MeasureSettings, device: torch.device) -> Data:
    """Read the data set and lay it on the device.

    The images to measure on and their binarisation depend on the data set alone, never on a trial's seed.

    Raises:
        DataError: see workers.images.load_images.
    """
    return data_from(load_images(settings), known(settings).fingerprint, measure, device)


def data_from(images: Images, fingerprint: str, measure: MeasureSettings, device: torch.device) -> Data:
    """Data from arrays."""
    train, test = _probabilities(images.train), _probabilities(images.test)
    order = generator(EVALUATION_SEED, Stream.EVALUATION_IMAGES, 0).permutation(len(train))
    chosen = np.sort(order[: measure.images])
    classes, n_classes = None, 0
    if images.test_labels is not None:
        classes = torch.from_numpy(images.test_labels).to(device)
        n_classes = 1 + max(int(labels.max()) for labels in (images.train_labels, images.test_labels) if labels is not None)
    return Data(
        train=torch.from_numpy(train).to(device),
        measured=torch.from_numpy(_binarised_once(train[chosen], part=0)).to(device),
        test=torch.from_numpy(_binarised_once(test, part=1)).to(device),
        test_classes=classes,
        n_classes=n_classes,
        fingerprint=fingerprint,
    )


def training_batch(
    data: Data, seeds: Seeds, images: Int[Tensor, "seed batch"], step: int
) -> Float[Tensor, "replica batch pixel"]:
    """The inputs of a step: the named images, binarised anew (Salakhutdinov and Murray 2008; Burda et al. 2016)."""
    probabilities = data.train[images]
    drawn = seeds.uniform(Stream.BINARISATION, step, tuple(probabilities.shape[1:]))
    return seeds.spread((drawn < probabilities).float())


def _probabilities(images: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    flat = images.reshape(len(images), -1)
    return flat.astype(np.float32) / np.float32(255) if flat.dtype == np.uint8 else flat.astype(np.float32)


def _binarised_once(probabilities: NDArray[np.float32], part: int) -> NDArray[np.float32]:
    drawn = generator(EVALUATION_SEED, Stream.EVALUATION_BINARISATION, part).random(probabilities.shape, dtype=np.float32)
    return (drawn < probabilities).astype(np.float32)
