"""Choose the images of some classes, or equally many images of all classes; the choice never depends on a trial's seed."""

from dataclasses import replace

import numpy as np

from workers.contract.settings import DataSettings
from workers.contract.streams import EVALUATION_SEED, Stream, generator
from workers.data.arrays import Images
from workers.data.images import chosen_classes


def subset(images: Images, settings: DataSettings) -> Images:
    """Return the images that `data.classes` and `data.subset` choose, in their original order.

    Raises:
        DataError: the images have no labels, or a named class has no images.
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
