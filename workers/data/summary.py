"""Tell in one line what a data set looks like to the model, so that a wrong reading is seen before anything is trained."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workers.contract.settings import DataSettings
from workers.data.arrays import Images, Pixels, name_of
from workers.data.images import listed


def lines_of(images: Images, settings: DataSettings) -> list[str]:
    """Return number, size, range of pixels, share of ones and classes in one line; then a note where one is due."""
    height, width = images.train.shape[1:]
    number = f"{len(images.train):,} training and {len(images.test):,} test images of {height} x {width}"
    pixels = f"pixels {_reading(images)}, {_ones(images.train, settings)}"
    line = f"data: {_name(settings)}, {number}; {pixels}; {_classes(images)}"
    return [line, *_notes(images)]


def counts_of(images: Images) -> dict[str, tuple[int, int]]:
    """Return how many training and how many test images every class has, by its name; empty without labels."""
    parts = (images.train_labels, images.test_labels)
    most = max((int(labels.max()) for labels in parts if labels is not None), default=-1)
    train, test = (np.bincount([] if labels is None else labels, minlength=most + 1).tolist() for labels in parts)
    return {name_of(images, label): (train[label], test[label]) for label in range(most + 1)}


def in_unit_floats(images: Pixels) -> NDArray[np.float32]:
    """Return pixels from 0 to 1."""
    pixels = images.astype(np.float32)
    return pixels / np.float32(255) if images.dtype == np.uint8 else pixels


def _name(settings: DataSettings) -> str:
    return Path(settings.path).name if settings.name == "npz" and settings.path else settings.name


def _reading(images: Images) -> str:
    if images.reading is not None:
        return images.reading
    parts = (images.train, images.test)
    low, high = min(part.min() for part in parts), max(part.max() for part in parts)
    how = "divided by 255" if images.train.dtype == np.uint8 else "taken as they are"
    return f"{images.train.dtype} from {low:.6g} to {high:.6g}, {how}"


def _ones(train: Pixels, settings: DataSettings) -> str:
    highest = 255 if train.dtype == np.uint8 else 1
    if settings.input == "threshold":
        return f"{np.mean(train > highest / 2):.1%} are above the threshold"
    mean = float(train.mean(dtype=np.float64)) / highest
    if not ((train == 0) | (train == highest)).all():
        return f"mean {mean:.3g}" if settings.input == "grey" else f"{mean:.1%} become 1 when binarised"
    return f"{mean:.1%} are 1"


def _classes(images: Images) -> str:
    names = [name for name, counts in counts_of(images).items() if sum(counts)]
    if not names:
        return "no labels"
    return f"{len(names):,} {'class' if len(names) == 1 else 'classes'} ({listed(names, 10)})"


def _notes(images: Images) -> list[str]:
    return [*_many_classes(images), *_strips(images)]


def _strips(images: Images) -> list[str]:
    height, width = images.train.shape[1:]
    if height != 1 or width < 4:
        return []
    return [f"note: rows of {width} pixels are drawn as lines; data.image_size: [height, width] draws them as pictures"]


def _many_classes(images: Images) -> list[str]:
    labelled = [labels for labels in (images.train_labels, images.test_labels) if labels is not None]
    n, n_classes = sum(map(len, labelled)), len(np.unique(np.concatenate(labelled))) if labelled else 0
    if 2 * n_classes <= n:
        return []
    few = f"note: the labels name {n_classes:,} classes for {n:,} images, so numbers per class say little"
    return [f"{few}; if the labels are no classes, leave them out of the file"]
