"""The images of some classes, or as many of all classes: a choice by the data alone, never by a trial's seed."""

from dataclasses import replace

import numpy as np

from workers.contract.settings import DataSettings
from workers.contract.streams import EVALUATION_SEED, Stream, generator
from workers.data.files import Images
from workers.data.images import chosen_classes


def subset(images: Images, settings: DataSettings) -> Images:
    """The images that `data.classes` and `data.subset` choose, in the order in which they stand.

    Raises:
        DataError: the images have no labels, or none of a class that is named.
    """
    classes = chosen_classes(images, settings)
    if classes is None or images.train_labels is None:
        return images
    kept = np.flatnonzero(np.isin(images.train_labels, classes))
    if settings.subset == "random":
        order = generator(EVALUATION_SEED, Stream.SUBSET, 0).permutation(len(images.train))
        kept = np.sort(order[: len(kept)])
    chosen = replace(images, train=images.train[kept], train_labels=images.train_labels[kept])
    if settings.subset == "random" or images.test_labels is None:
        return chosen
    tested = np.isin(images.test_labels, classes)
    return replace(chosen, test=images.test[tested], test_labels=images.test_labels[tested])
