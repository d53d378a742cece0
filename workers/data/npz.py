"""Read images of one's own from an .npz file: only the members that are needed, in every layout that has one meaning."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workers.contract.errors import DamagedDataError, DataError
from workers.contract.settings import DataSettings
from workers.data.arrays import Images
from workers.data.labels import classes_from
from workers.data.pixels import in_pictures, in_unit_range, with_height
from workers.data.places import place_named

_SPLITS = (("train_images", "test_images", "train_labels", "test_labels"), ("x_train", "x_test", "y_train", "y_test"))
"""Names of a data set with its own test set: those of this project and of MedMNIST, and those of Keras."""


def read_own(settings: DataSettings) -> Images:
    """Return the data set in the file that `data.path` names.

    Raises:
        DataError: there is no such file, or what it holds has no form that is allowed.
        DamagedDataError: the file is no .npz file of plain arrays.
    """
    if settings.path is None:
        raise DataError("data.path: no file is named; write for example `data: {name: npz, path: mine.npz}`")
    path = place_named("data.path", settings.path)
    if not path.is_file():
        raise DataError(f"data.path: {path} is not a file (relative to {Path.cwd()}); name an .npz file")
    where = f"data.path: {path}"
    held = names_in(path, "data.path", "write it with np.savez")
    images, beside = _chosen(where, held)
    arrays = read_members(path, [*images, *(name for name in beside if name in held)], "data.path", "write it with np.savez")
    pictures = {name: in_pictures(where, name, arrays[name]) for name in images}
    if len({array.shape[1:] for array in pictures.values()}) > 1:
        raise DataError(
            f"{where}: {' and '.join(f'{name} {array.shape}' for name, array in pictures.items())} differ in image size; "
            "give both the same height and width"
        )
    pictures, is_flat = with_height(where, pictures, settings.image_size)
    pixels, reading = in_unit_range(where, pictures, settings.scale)
    parts = [(label, arrays.get(label), len(pixels[name])) for name, label in zip(images, beside, strict=True)]
    classes, names = classes_from(where, parts)
    if len(images) == 2:
        (train, test), (train_labels, test_labels) = pixels.values(), classes
        return Images(train, test, train_labels, test_labels, names, reading, is_flat)
    (own,), (every,) = pixels.values(), classes
    kept, tested = _fifth(len(own))
    train_labels, test_labels = (None, None) if every is None else (every[kept], every[tested])
    return Images(own[kept], own[tested], train_labels, test_labels, names, reading, is_flat)


def _chosen(where: str, held: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the arrays of images that are read, and of the labels that may lie beside them."""
    held = set(held)
    for names in _SPLITS:
        if set(names[:2]) <= held:
            return names[:2], names[2:]
    if "images" in held:
        return ("images",), ("labels",)
    raise DataError(
        f"{where} contains {', '.join(sorted(held)) or 'no arrays'}; it must contain images (optionally with "
        "labels), or train_images and test_images (optionally with train_labels and test_labels); "
        "np.savez(path, images=images, labels=labels) writes them"
    )


def _fifth(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    # A fifth of the images, but at least one, is the test set; the choice is the same in every run.
    order = np.random.RandomState(0).permutation(n)  # numpy guarantees its numbers, but not Generator's
    n_test = max(1, n // 5)
    return np.sort(order[n_test:]), np.sort(order[:n_test])


def names_in(path: Path, setting: str, remedy: str) -> list[str]:
    """Return the names of the members of an .npz file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except Exception as error:  # any byte may be wrong
        raise DamagedDataError(f"{setting}: {path} is not an .npz file of plain arrays ({error}); {remedy}") from error


def read_members(path: Path, names: Iterable[str], setting: str, remedy: str) -> dict[str, NDArray[np.generic]]:
    """Return some members of an .npz file; no other byte of it is read.

    Raises:
        DataError: a member of the file of `data.path` is an array of Python objects.
        DamagedDataError: a member is missing or cannot be read.
    """
    found = {}
    for name in names:
        try:
            # Not np.load, which also accepts files that are no archives, keeps members that are no arrays, and can unpickle.
            with zipfile.ZipFile(path) as archive:
                there = set(archive.namelist())
                with archive.open(f"{name}.npy" if f"{name}.npy" in there else name) as member:
                    found[name] = np.lib.format.read_array(member, allow_pickle=False)
        except Exception as error:  # any byte may be wrong, and each of the three formats raises errors of other types
            if setting == "data.path" and "Object arrays" in str(error):
                raise DataError(
                    f"{setting}: {path} is not an .npz file of plain arrays: {name} holds Python objects, which are never "
                    f"read; write numbers or text, for example with `{name} = {name}.astype(str)` or `np.stack({name})`"
                ) from error
            raise DamagedDataError(f"{setting}: {path} is not an .npz file of plain arrays ({error}); {remedy}") from error
    return found
