"""Put the data set on the device in the form that the model sees: training batches, and fixed images for measurements."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from workers.contract.settings import DataSettings, MeasureSettings
from workers.contract.streams import EVALUATION_SEED, Stream, generator
from workers.data.arrays import Images
from workers.data.images import load_with_fingerprint
from workers.data.subset import subset
from workers.kernels.available import has_kernels
from workers.replicas.seeds import COUNTER, Seeds

Input = Literal["dynamic", "static", "threshold", "grey"]


# Steps of Stream.EVALUATION_BINARISATION; a number, once used, keeps its meaning. Test images are binarised only once, and
# in the same way for every kind of input that uses binarised test images.
_MEASURED, _TEST, _STATIC = 0, 1, 2


@dataclass(frozen=True)
class Data:
    """Everything that a pack needs of a data set; all pixels are in [0, 1]."""

    train: Float[Tensor, "image pixel"]
    """The training inputs; if `binarised_anew`, the probabilities from which every batch is drawn."""
    measured: Float[Tensor, "measured pixel"]
    """The fixed training images on which the activity is measured, as inputs; see `measured_at`."""
    test: Float[Tensor, "test pixel"]
    """The test images, as inputs."""
    other_measured: Float[Tensor, "other_measured pixel"] | None
    """`measured` in the other reading: binarised once if inputs are grey, otherwise grey; None if all pixels are 0 or 1."""
    other_test: Float[Tensor, "other_test pixel"] | None
    """`test` in the other reading."""
    test_classes: Int[Tensor, "test"] | None
    """The class of every test image, from 0; None if the data have no labels."""
    n_classes: int
    fingerprint: str
    input: Input
    """How pixels become inputs; see workers.contract.settings."""
    redrawn: bool
    """Whether the images for measurements are drawn again in every epoch."""
    class_names: tuple[str, ...] | None = None
    """The names of the classes; None if they are 0 to C - 1 themselves."""

    @property
    def n_x(self) -> int:
        """Pixels per image."""
        return self.train.shape[1]

    @property
    def binarised_anew(self) -> bool:
        """Whether a training image is binarised again every time it is used; False if all pixels are 0 or 1."""
        return self.input == "dynamic" and self.other_test is not None


def load_data(settings: DataSettings, measure: MeasureSettings, device: torch.device, expected: str | None = None) -> Data:
    """Read the data set and put it on the device.

    The images that are used, those for measurements and all binarisations that are done once depend only on the data set,
    never on a trial's seed.

    Raises:
        DataError: see workers.data.images.load_with_fingerprint, which also explains `expected`.
    """
    images, fingerprint = load_with_fingerprint(settings, expected)
    return data_from(subset(images, settings), fingerprint, measure, device, settings.input)


def data_from(
    images: Images, fingerprint: str, measure: MeasureSettings, device: torch.device, input: Input = "dynamic"
) -> Data:
    """Return the data on the device from the arrays of a data set."""
    train, test = _pixels(images.train), _pixels(images.test)
    order = generator(EVALUATION_SEED, Stream.EVALUATION_IMAGES, 0).permutation(len(train))
    chosen = np.sort(order[: measure.images])
    grey = train[chosen], test
    inputs, others = grey, None
    if not (_is_binary(train) and _is_binary(test)):
        train, binary = _binarised(train, test, chosen, input)
        inputs, others = (grey, binary) if input == "grey" else (binary, grey)
    classes, n_classes = None, 0
    if images.test_labels is not None:
        classes = torch.from_numpy(images.test_labels).to(device)
        n_classes = 1 + max(int(labels.max()) for labels in (images.train_labels, images.test_labels) if labels is not None)
    return Data(
        train=torch.from_numpy(train).to(device),
        measured=torch.from_numpy(inputs[0]).to(device),
        test=torch.from_numpy(inputs[1]).to(device),
        other_measured=None if others is None else torch.from_numpy(others[0]).to(device),
        other_test=None if others is None else torch.from_numpy(others[1]).to(device),
        test_classes=classes,
        n_classes=n_classes,
        fingerprint=fingerprint,
        input=input,
        redrawn=measure.images_redrawn,
        class_names=images.class_names,
    )


def training_batch(
    data: Data, seeds: Seeds, images: Int[Tensor, "seed batch"], step: int | Int[Tensor, "1"]
) -> Float[Tensor, "replica batch pixel"]:
    """Return the inputs of a step; `binarised_anew` is as in Salakhutdinov and Murray (2008) and Burda et al. (2016)."""
    if has_kernels(data.train) and seeds.source == COUNTER:
        from workers.kernels import philox as kernels_philox

        where = seeds.keys, seeds.index
        return kernels_philox.batch(data.train, images, where, Stream.BINARISATION if data.binarised_anew else None, step)
    # Not data.train[images], which copies one number at a time.
    pixels = data.train.index_select(0, images.flatten()).unflatten(0, images.shape)
    if not data.binarised_anew:
        return seeds.spread(pixels)
    drawn = seeds.uniform(Stream.BINARISATION, step, tuple(pixels.shape[1:]))
    return seeds.spread(drawn.lt_(pixels))


def measured_at(data: Data, epoch: int) -> Float[Tensor, "measured pixel"]:
    """Return the images for the measurements of an epoch: always the same, unless `measure.images_redrawn` is set."""
    if not data.redrawn:
        return data.measured
    order = generator(EVALUATION_SEED, Stream.REDRAWN, epoch).permutation(len(data.train))
    chosen = np.sort(order[: len(data.measured)])
    pixels = data.train[torch.from_numpy(chosen).to(data.train.device)]
    if not data.binarised_anew:
        return pixels
    drawn = generator(EVALUATION_SEED, Stream.REDRAWN, epoch, part=1).random(tuple(pixels.shape), dtype=np.float32)
    return (torch.from_numpy(drawn).to(pixels.device) < pixels).float()


def pixel_mean(data: Data) -> Float[Tensor, "pixel"]:
    """Return the mean of every pixel of the training inputs, in float64."""
    return data.train.double().mean(0)


def pixel_variance(data: Data) -> Float[Tensor, "pixel"]:
    """Return the variance (divisor n) of every pixel of the training inputs, in float64; p (1 - p) if `binarised_anew`."""
    if data.binarised_anew:
        p = pixel_mean(data)
        return p * (1 - p)
    return data.train.double().var(0, correction=0)


def _pixels(images: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    flat = images.reshape(len(images), -1)
    return flat.astype(np.float32) / np.float32(255) if flat.dtype == np.uint8 else flat.astype(np.float32)


def _is_binary(pixels: NDArray[np.float32]) -> bool:
    return bool(((pixels == 0) | (pixels == 1)).all())


def _binarised(
    train: NDArray[np.float32], test: NDArray[np.float32], chosen: NDArray[np.int64], input: Input
) -> tuple[NDArray[np.float32], tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return `train` as in Data, and the binary reading of the measured and of the test images."""
    if input == "threshold":
        train, tested = ((pixels > 0.5).astype(np.float32) for pixels in (train, test))
        return train, (train[chosen], tested)
    tested = _binarised_once(test, _TEST)
    if input == "static":
        train = _binarised_once(train, _STATIC)
        return train, (train[chosen], tested)
    return train, (_binarised_once(train[chosen], _MEASURED), tested)


def _binarised_once(probabilities: NDArray[np.float32], part: int) -> NDArray[np.float32]:
    drawn = generator(EVALUATION_SEED, Stream.EVALUATION_BINARISATION, part).random(probabilities.shape, dtype=np.float32)
    return (drawn < probabilities).astype(np.float32)
