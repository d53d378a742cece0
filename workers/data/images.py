"""Load a data set as arrays and check it against its fingerprint and against the settings."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from workers.contract.errors import DamagedDataError, DataError
from workers.contract.setting_texts import named_classes
from workers.contract.settings import DataSettings
from workers.contract.user_paths import expanded
from workers.data.arrays import Images, name_of
from workers.data.files import read_images
from workers.data.idx import idx_paths
from workers.data.places import root_of

__all__ = [
    "KNOWN",
    "DamagedDataError",
    "DataError",
    "Images",
    "Known",
    "OtherDataError",
    "chosen_classes",
    "fingerprint",
    "known",
    "listed",
    "load_images",
    "load_with_fingerprint",
    "place_of",
]


class OtherDataError(DamagedDataError):
    """The data are not those that a trial was planned on; the message names the file and both fingerprints."""

    def __init__(self, settings: DataSettings, found: str, expected: str) -> None:
        """Name the place of the data, both fingerprints, and what to do."""
        super().__init__(
            f"{place_of(settings)} has the fingerprint {found}, but this study was planned on data with the fingerprint "
            f"{expected}; put the former data back, or give the study another name to train on the new ones"
        )


@dataclass(frozen=True)
class Known:
    """Facts about a data set that are known without its files, so that a study can be planned without them."""

    fingerprint: str
    """SHA-256 of the decoded arrays; see the function `fingerprint`."""
    n_train: int
    n_test: int
    n_x: int
    """Pixels per image."""


KNOWN = {
    "digits": Known("beb221bc1ffc93be026c16fa78be0a5834070253790d4a44bb65f629be2af323", 1_437, 360, 64),
    "mnist": Known("c6d9aa0a770e46a1a8abdd0c2f51ddc5ec5bcb6856874af2766872c9a5253c40", 60_000, 10_000, 784),
    "fashion_mnist": Known("264e4065286e063221252c4fe0b7b1401b57358e0721986fb92922422438e20d", 60_000, 10_000, 784),
    "binarized_mnist": Known("11e25f074f461b4dd114c6a2bdcae0afdfd18c7b72568abb0fa1684b6612a077", 50_000, 10_000, 784),
    "frey_faces": Known("da1746c14b6fe985ccc7505a6fbf0f0fc22a5bc694ad2d5aaaa680bb7753916d", 1_572, 393, 560),
}


def load_images(settings: DataSettings) -> Images:
    """Return the checked data set without the first `n_valid` training images; see load_with_fingerprint."""
    return load_with_fingerprint(settings)[0]


def load_with_fingerprint(settings: DataSettings, expected: str | None = None) -> tuple[Images, str]:
    """Return the checked data set without the first `n_valid` training images, and the fingerprint of the whole.

    The files are read once, so that what is returned is what the fingerprint was computed from, even if the files are
    replaced at the same time. workers.data.subset chooses among the images.

    Args:
        settings: of the data.
        expected: the fingerprint of the data of a trial; None accepts any.

    Raises:
        DataError: the data set is missing, cannot be downloaded, does not have the expected form, or lacks images or
            classes that the settings ask for.
        DamagedDataError: the data set exists, but its content does not match its fingerprint, or is not the expected one.
    """
    images = read_images(settings)
    found = fingerprint(images)
    if expected is not None and found != expected:
        raise OtherDataError(settings, found, expected)
    if settings.name in KNOWN and found != KNOWN[settings.name].fingerprint:
        raise DamagedDataError(_other_content(settings, found))
    if settings.n_valid >= len(images.train):
        raise DataError(
            f"data.n_valid: {settings.n_valid} leaves none of the {len(images.train)} training images; "
            f"set a number below {len(images.train)}"
        )
    kept = slice(settings.n_valid, None)
    labels = None if images.train_labels is None else images.train_labels[kept]
    rest = replace(images, train=images.train[kept], train_labels=labels)
    chosen_classes(rest, settings)
    return rest, found


def _other_content(settings: DataSettings, found: str) -> str:
    root = root_of(settings)
    is_downloaded = settings.name in ("mnist", "fashion_mnist")
    folder = idx_paths(settings, root)[0].parent if is_downloaded else root
    where = "" if settings.name == "digits" else f" in {folder}"
    if owner := next((name for name, facts in KNOWN.items() if facts.fingerprint == found), None):
        return f"data: the files{where} are those of {owner}; set data.name: {owner}, or name another folder with data.root"
    remedy = "remove its files and run again" if is_downloaded else "copy its files again"
    return f"data: {settings.name}{where} does not have the published content; {remedy}"


def place_of(settings: DataSettings) -> str:
    """Return in words where the files of a data set lie: the setting that names them, and the path."""
    if settings.name == "npz":
        return f"data.path: {Path(expanded(settings.path or '')).absolute()}"
    return f"data: {settings.name}" if settings.name == "digits" else f"data.root: {settings.name} in {root_of(settings)}"


def chosen_classes(images: Images, settings: DataSettings) -> tuple[int, ...] | None:
    """Return the classes that `data.classes` names, sorted; None for all classes.

    Raises:
        DataError: the images have no labels, or a named class has no images. The test images are checked only if
            `data.subset` chooses among them too.
    """
    named = named_classes(settings.classes)
    if named is None:
        return None
    parts = {"training": images.train_labels}
    if settings.subset == "classes":
        parts["test"] = images.test_labels
    found: dict[str, int] = {}
    for part, labels in parts.items():
        if labels is None:
            raise DataError(
                f"data.classes: got {settings.classes}, but the {part} images of {settings.name} have no labels; "
                "set classes: all"
            )
        there = {name_of(images, label): label for label in np.unique(labels).tolist()}
        if lacking := [name for name in named if name not in there]:
            raise DataError(
                f"data.classes: the {part} images of {settings.name} have no class {listed(lacking)}; "
                f"their classes are {listed(list(there))}; choose among these, or set classes: all"
            )
        found |= {name: there[name] for name in named}
    return tuple(sorted(found.values()))


def listed(names: Sequence[str], most: int = 20) -> str:
    """Return names as a text, shortened if there are many."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def known(settings: DataSettings) -> Known:
    """Return the facts of a known data set, or those of the arrays in the file of `name: npz`.

    Raises:
        DataError: the file of `name: npz` is missing or does not have the expected form.
    """
    if settings.name in KNOWN:
        return KNOWN[settings.name]
    images = read_images(settings)
    return Known(fingerprint(images), len(images.train), len(images.test), images.train[0].size)


def fingerprint(images: Images) -> str:
    """Return the SHA-256 of the shapes, types and values of the decoded arrays, before any image is set aside.

    Rows of pixels count as images of height 1, however they are drawn. Names of classes count unless they are 0 to C - 1.
    """
    digest = hashlib.sha256()
    for array in (images.train, images.test, images.train_labels, images.test_labels):
        if array is None:
            digest.update(b"none;")
        else:
            shape = (len(array), 1, array[0].size) if images.is_flat and array.ndim == 3 else array.shape
            digest.update(f"{array.dtype.str}{shape};".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    if images.class_names is not None:
        digest.update(json.dumps(images.class_names).encode())
    return digest.hexdigest()
