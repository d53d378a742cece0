"""Find the files of every data set, download them once if needed, and read them as arrays."""

import gzip
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from workers.contract.errors import CommandError, DamagedDataError, DataError
from workers.contract.settings import DataSettings
from workers.contract.user_paths import cache_folder, expanded

_COPY = "copy it again"

_IDX_FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}

_IDX_FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


@dataclass(frozen=True)
class Images:
    """A data set: images [n, height, width], either uint8 from 0 to 255 or float32 in [0, 1]; labels may be absent."""

    train: NDArray[np.uint8] | NDArray[np.float32]
    test: NDArray[np.uint8] | NDArray[np.float32]
    train_labels: NDArray[np.int64] | None
    test_labels: NDArray[np.int64] | None


def read_images(settings: DataSettings) -> Images:
    """Return the whole data set as its files hold it.

    Raises:
        DataError: the data set is missing, cannot be downloaded, or does not have the expected form.
        DamagedDataError: a file exists but cannot be read in its format.
    """
    if settings.name == "digits":
        return _digits()
    if settings.name == "npz":
        return _npz(settings.path)
    if settings.name == "binarized_mnist":
        return _binarized_mnist(root_of(settings))
    if settings.name == "frey_faces":
        return _frey_faces(root_of(settings))
    return _idx(settings)


def root_of(settings: DataSettings) -> Path:
    """Return the folder that holds the files of all data sets."""
    return Path(_expanded("data.root", settings.root)) if settings.root else cache_folder()


def _expanded(setting: str, path: str) -> str:
    try:
        return expanded(path)
    except CommandError as error:
        raise DataError(f"{setting}: {error}") from error


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


def _npz(path: str | None) -> Images:
    if path is None:
        raise DataError("data.path: no file is named; write for example `data: {name: npz, path: mine.npz}`")
    path = _expanded("data.path", path)
    if not Path(path).is_file():
        raise DataError(f"data.path: {path} is not a file (relative to {Path.cwd()}); name an .npz file")
    arrays = _read_npz(Path(path), "data.path", "write it with np.savez")
    if {"train_images", "test_images"} <= arrays.keys():
        train, test = (_pixels(path, name, arrays[name]) for name in ("train_images", "test_images"))
        labels = tuple(
            _labels(path, name, arrays.get(name), len(images))
            for name, images in (("train_labels", train), ("test_labels", test))
        )
        if train.shape[1:] != test.shape[1:]:
            raise DataError(
                f"data.path: {path}: train_images {train.shape} and test_images {test.shape} differ in image size; "
                "give both the same height and width"
            )
        return Images(train, test, *labels)
    if "images" in arrays:
        images = _pixels(path, "images", arrays["images"])
        return _split(images, _labels(path, "labels", arrays.get("labels"), len(images)))
    raise DataError(
        f"data.path: {path} contains {', '.join(sorted(arrays)) or 'no arrays'}; it must contain images (optionally with "
        "labels), or train_images and test_images (optionally with train_labels and test_labels)"
    )


def _read_npz(path: Path, setting: str, remedy: str) -> dict[str, NDArray[np.generic]]:
    try:
        # Not np.load, which also accepts files that are no archives, keeps members that are not arrays, and can unpickle.
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy"): _read_npy(archive, name) for name in archive.namelist()}
    except Exception as error:  # any byte may be wrong, and each of the three formats raises errors of other types
        raise DamagedDataError(f"{setting}: {path} is not an .npz file of plain arrays ({error}); {remedy}") from error


def _read_npy(archive: zipfile.ZipFile, name: str) -> NDArray[np.generic]:
    with archive.open(name) as member:
        array: NDArray[np.generic] = np.lib.format.read_array(member, allow_pickle=False)
    return array


def _pixels(path: str, name: str, array: NDArray[np.generic]) -> NDArray[np.uint8] | NDArray[np.float32]:
    if array.ndim not in (2, 3) or 0 in array.shape or len(array) < 2:
        raise DataError(
            f"data.path: {path}: {name} has shape {array.shape}; it must be [n, height, width] or [n, pixels] with n > 1"
        )
    images = array if array.ndim == 3 else array[:, None, :]
    if images.dtype == np.uint8:
        return images.astype(np.uint8)
    if images.dtype == np.bool_ or images.dtype.kind == "f":
        scaled = images.astype(np.float32)
        if np.isfinite(scaled).all() and scaled.min() >= 0 and scaled.max() <= 1:
            return scaled
    raise DataError(
        f"data.path: {path}: {name} is {array.dtype}, or has values outside the allowed range; "
        "allowed are uint8 from 0 to 255 and floats from 0 to 1"
    )


def _labels(path: str, name: str, array: NDArray[np.generic] | None, n: int) -> NDArray[np.int64] | None:
    if array is None:
        return None
    if array.shape != (n,) or array.dtype.kind not in "iu" or array.min() < 0:
        raise DataError(
            f"data.path: {path}: {name} is {array.dtype} {array.shape}; it must hold {n} integers from 0 up, one per image"
        )
    return array.astype(np.int64)


def _split(images: NDArray[np.uint8] | NDArray[np.float32], labels: NDArray[np.int64] | None) -> Images:
    # A fifth of the images, but at least one, is the test set; the choice is the same in every run.
    order = np.random.RandomState(0).permutation(len(images))  # numpy guarantees its numbers, but not Generator's
    n_test = max(1, len(images) // 5)
    test, train = np.sort(order[:n_test]), np.sort(order[n_test:])
    if labels is None:
        return Images(images[train], images[test], None, None)
    return Images(images[train], images[test], labels[train], labels[test])


def _binarized_mnist(root: Path) -> Images:
    packed = root / "binarized_mnist_fixed.npz"
    texts = [root / f"binarized_mnist_{part}.amat" for part in ("train", "test")]
    if packed.is_file():
        arrays = _read_npz(packed, "data.root", _COPY)
        train, test = (_unpacked(packed, part, arrays.get(part)) for part in ("train", "test"))
    elif all(path.is_file() for path in texts):
        train, test = (_read_amat(path) for path in texts)
    else:
        lacking = " and ".join(path.name for path in texts if not path.is_file())
        raise _by_hand("binarized_mnist", root, f"{packed.name}, or Larochelle's text files (missing: {lacking}),")
    # Dividing 0 and 255 by 255 gives exactly 0 and 1; until then bytes take a quarter of the memory of floats.
    return Images(train.reshape(-1, 28, 28) * np.uint8(255), test.reshape(-1, 28, 28) * np.uint8(255), None, None)


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
    frames = _read_npz(path, "data.root", _COPY).get("images")
    if frames is None or frames.dtype != np.uint8 or frames.shape != (1965, 28, 20):
        found = "missing" if frames is None else f"{frames.dtype} {frames.shape}"
        raise DamagedDataError(f"data.root: {path}: images is {found}; it should be uint8 (1965, 28, 20); {_COPY}")
    # Neighbouring frames are nearly equal, so a random split would test on training images. The test set is the end of the
    # film instead.
    faces = frames.astype(np.uint8)
    return Images(faces[:-393], faces[-393:], None, None)


def _by_hand(name: str, root: Path, files: str) -> DataError:
    return DataError(
        f"data.root: {name} is not in {root}, and it cannot be downloaded automatically; put {files} there, "
        "or name the folder that contains it with --set data.root=..."
    )


def _idx(settings: DataSettings) -> Images:
    folder = root_of(settings) / _IDX_FOLDERS[settings.name] / "raw"
    if not _idx_paths(folder):
        _download(settings)
    paths = _idx_paths(folder)
    if not paths:
        raise DataError(
            f"data.root: {folder} still lacks {_IDX_FILES[0]}-ubyte.gz, or another of the four files, after the download; "
            "download them by hand"
        )
    train, train_labels, test, test_labels = (_read_idx(path) for path in paths)
    return Images(train, test, train_labels.astype(np.int64), test_labels.astype(np.int64))


def _idx_paths(folder: Path) -> list[Path]:
    """Return the paths of the four files, compressed as published or uncompressed; empty if one is missing."""
    found = [path for name in _IDX_FILES for path in _first_of(folder, name)]
    return found if len(found) == len(_IDX_FILES) else []


def _first_of(folder: Path, name: str) -> Iterator[Path]:
    paths = (folder / f"{name}-ubyte{ending}" for ending in (".gz", ""))
    yield from [path for path in paths if path.is_file()][:1]


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file: two zero bytes, type 8 (uint8), the number of axes, each length as big-endian int32, the values."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)
    except (OSError, EOFError, zlib.error, ValueError, IndexError) as error:
        raise DamagedDataError(f"data: {path} is damaged ({error}); remove it and run again, or copy it again") from error


def _download(settings: DataSettings) -> None:
    root = root_of(settings)
    folder = Path(_IDX_FOLDERS[settings.name], "raw")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(root):
            if not _idx_paths(root / folder):
                # Imported only here: torchvision takes seconds to import, and is not needed once the files exist.
                from torchvision.datasets import MNIST, FashionMNIST

                # Download into another folder first, so that nobody reads an incomplete file, even if this process dies.
                aside = root / ".download"
                {"mnist": MNIST, "fashion_mnist": FashionMNIST}[settings.name](str(aside), download=True)
                (root / folder).mkdir(parents=True, exist_ok=True)
                for path in _idx_paths(aside / folder):
                    path.replace(root / folder / path.name)
                shutil.rmtree(aside, ignore_errors=True)
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"data.root: {settings.name} is not in {root} and cannot be downloaded ({reason}); run once with access to the "
            f"internet, or put its four .gz files into {root / folder}, "
            f"or name the folder that contains {folder} with --set data.root=..."
        ) from error


@contextmanager
def _one_at_a_time(root: Path) -> Iterator[None]:
    with FileLock(root / ".download.lock"):
        yield
