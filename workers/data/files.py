"""Find the files of every data set and read them as arrays."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workers.contract.errors import DamagedDataError, DataError
from workers.contract.settings import DataSettings
from workers.data.arrays import Images
from workers.data.idx import read_idx_set
from workers.data.npz import names_in, read_members, read_own
from workers.data.omniglot import FILE as CHARDATA
from workers.data.omniglot import read_omniglot
from workers.data.places import root_of

_COPY = "copy it again"


def read_images(settings: DataSettings) -> Images:
    """Return the whole data set as its files hold it.

    Raises:
        DataError: the data set is missing, cannot be downloaded, or does not have the expected form.
        DamagedDataError: a file exists but cannot be read in its format.
    """
    if settings.name == "digits":
        return _digits()
    if settings.name == "npz":
        return read_own(settings)
    if settings.name == "binarized_mnist":
        return _binarized_mnist(root_of(settings))
    if settings.name == "frey_faces":
        return _frey_faces(root_of(settings))
    if settings.name == "omniglot":
        return _omniglot(root_of(settings))
    return read_idx_set(settings, root_of(settings))


def _digits() -> Images:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    # Sixteen grey levels. numpy guarantees that RandomState, which random_state uses, never changes, so the split is the
    # same everywhere.
    images = (digits.images / 16).astype(np.float32)
    train, test, train_labels, test_labels = train_test_split(
        images, digits.target.astype(np.int64), test_size=360, stratify=digits.target, random_state=0
    )
    return Images(train, test, train_labels, test_labels)


def _binarized_mnist(root: Path) -> Images:
    packed = root / "binarized_mnist_fixed.npz"
    texts = [root / f"binarized_mnist_{part}.amat" for part in ("train", "test")]
    if packed.is_file():
        arrays = _members(packed, ("train", "test"))
        train, test = (_unpacked(packed, part, arrays.get(part)) for part in ("train", "test"))
    elif all(path.is_file() for path in texts):
        train, test = (_read_amat(path) for path in texts)
    else:
        lacking = " and ".join(path.name for path in texts if not path.is_file())
        raise _by_hand("binarized_mnist", root, f"{packed.name}, or Larochelle's text files (missing: {lacking}),")
    # Dividing 0 and 255 by 255 gives exactly 0 and 1; until then bytes take a quarter of the memory of floats.
    return Images(train.reshape(-1, 28, 28) * np.uint8(255), test.reshape(-1, 28, 28) * np.uint8(255), None, None)


def _members(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[np.generic]]:
    held = names_in(path, "data.root", _COPY)
    return read_members(path, [name for name in names if name in held], "data.root", _COPY)


def _unpacked(path: Path, name: str, array: NDArray[np.generic] | None) -> NDArray[np.uint8]:
    if array is None or array.dtype != np.uint8 or array.ndim != 2 or array.shape[1] != 98:
        found = "missing" if array is None else f"{array.dtype} {array.shape}"
        raise DamagedDataError(f"data.root: {path}: {name} is {found}; it should be uint8 [n, 98], packed bits; {_COPY}")
    return np.unpackbits(array.astype(np.uint8), axis=1)


def _read_amat(path: Path) -> NDArray[np.uint8]:
    """Read a text file with 784 numbers, each 0 or 1, per row; return [n, 784]."""
    # The file has 78 MB of text, for which a general parser of numbers takes a minute.
    bits = np.frombuffer(path.read_bytes().translate(None, b" \t\r\n"), np.uint8) - np.uint8(ord("0"))
    if not bits.size or bits.max() > 1 or bits.size % 784:
        raise DamagedDataError(f"data.root: {path} does not consist of rows of 784 numbers that are 0 or 1; {_COPY}")
    return bits.reshape(-1, 784)


def _frey_faces(root: Path) -> Images:
    path = root / "frey_faces.npz"
    if not path.is_file():
        raise _by_hand("frey_faces", root, path.name)
    frames = _members(path, ("images",)).get("images")
    if frames is None or frames.dtype != np.uint8 or frames.shape != (1965, 28, 20):
        found = "missing" if frames is None else f"{frames.dtype} {frames.shape}"
        raise DamagedDataError(f"data.root: {path}: images is {found}; it should be uint8 (1965, 28, 20); {_COPY}")
    # Neighbouring frames are nearly equal, so a random split would test on training images. The test set is the end of the
    # film instead.
    faces = frames.astype(np.uint8)
    return Images(faces[:-393], faces[-393:], None, None)


def _omniglot(root: Path) -> Images:
    places = [root / folder / CHARDATA for folder in ("", "OMNIGLOT", "omniglot")]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise _by_hand("omniglot", root, f"{CHARDATA} of Burda et al.'s program (from its folder datasets/OMNIGLOT)")
    return read_omniglot(path)


def _by_hand(name: str, root: Path, files: str) -> DataError:
    return DataError(
        f"data.root: {name} is not in {root}, and it cannot be downloaded automatically; put {files} there, "
        "or name the folder that contains it with --set data.root=..."
    )
