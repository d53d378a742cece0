"""Labels of one's own as classes from 0 to C - 1: whatever their names are, they are numbered in sorted order."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workers.contract.errors import DataError, printable

MAX_SPARSE = 1000
"""Most classes that may have fewer than two images each: the rows of every epoch hold one number per class."""


def classes_from(
    where: str, parts: Sequence[tuple[str, NDArray[np.generic] | None, int]]
) -> tuple[list[NDArray[np.int64] | None], tuple[str, ...] | None]:
    """Return the classes of the images of every part, and the names of the classes.

    Args:
        where: the setting and the file, for messages.
        parts: for the training and the test images: the name of the labels, the labels or None, the number of images.

    Returns:
        For every part its classes from 0, or None without labels; then the names in the order of the classes, or None if
        the labels are 0 to C - 1 themselves.

    Raises:
        DataError: labels have another shape or type, or they name more classes than the images could support.
    """
    plain = [None if array is None else _plain(where, name, array, n) for name, array, n in parts]
    given = [labels for labels in plain if labels is not None]
    if len({labels.dtype.kind in "iu" for labels in given}) > 1:
        raise DataError(
            f"{where}: {' and '.join(name for name, *_ in parts)} are numbers in one part and text in the other; "
            "give both the same type, for example with `.astype(str)`"
        )
    values = sorted({value for labels in given for value in np.unique(labels).tolist()})
    n_labelled = sum(map(len, given))
    if len(values) > max(MAX_SPARSE, n_labelled / 2):
        raise DataError(
            f"{where}: the labels have {len(values):,} different values for {n_labelled:,} images, so most classes would "
            "have a single image; labels are names of classes: group them, or leave them out of the file"
        )
    number = {value: index for index, value in enumerate(values)}
    numbered = [None if labels is None else _numbered(labels, number) for labels in plain]
    return numbered, None if values == list(range(len(values))) else tuple(map(str, values))


def _numbered(labels: NDArray[np.generic], number: dict[object, int]) -> NDArray[np.int64]:
    values, place = np.unique(labels, return_inverse=True)
    return np.array([number[value] for value in values.tolist()], np.int64)[place]


def _plain(where: str, name: str, array: NDArray[np.generic], n: int) -> NDArray[np.generic]:
    """Return labels as a list of integers or of texts."""
    found = f"{where}: {name} is {array.dtype} of shape {array.shape}"
    if array.shape == (n, 1):
        array = array[:, 0]
    if array.shape != (n,):
        one_hot = f"`{name} = {name}.argmax(axis=1)`"
        remedy = f"turn one-hot labels into numbers with {one_hot}" if array.ndim == 2 else "give one label per image"
        raise DataError(f"{found}; the shapes ({n},) and ({n}, 1) are allowed, one label per image; {remedy}")
    kind = array.dtype.kind
    if kind in "iu":
        return array
    if kind == "b":
        return array.astype(np.int64)
    if kind == "f":
        floats = array.astype(np.float64)
        if not np.isfinite(floats).all() or (floats != np.round(floats)).any() or np.abs(floats).max() > 2**53:
            raise DataError(
                f"{found} with values that are no whole numbers, like {_strange(floats)}; a label is the name of a class: "
                f"whole numbers or text are allowed; group them, for example with `{name} = np.digitize({name}, edges)`"
            )
        return floats.astype(np.int64)
    if kind == "S":
        return np.char.decode(array.astype(np.bytes_), "utf-8", "backslashreplace")
    if kind in "UMT":
        return array.astype(np.str_)
    raise DataError(
        f"{found}; whole numbers and text are allowed; convert them with `{name} = {name}.astype(str)` before np.savez"
    )


def _strange(floats: NDArray[np.float64]) -> str:
    strange = floats[~np.isfinite(floats) | (floats != np.round(floats)) | (np.abs(floats) > 2**53)]
    return printable(f"{strange[0]:g}")
