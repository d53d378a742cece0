"""Find MNIST and Fashion-MNIST under every usual name, download them once if needed, and read their files."""

import gzip
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from workers.contract.errors import DamagedDataError, DataError
from workers.contract.settings import DataSettings
from workers.data.arrays import Images

_DOWNLOADED = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}

_FOLDERS = {
    "mnist": ("MNIST/raw", "MNIST", "mnist", "mnist/raw", "."),
    "fashion_mnist": (
        *("FashionMNIST/raw", "FashionMNIST", "Fashion-MNIST", "fashion_mnist", "fashion-mnist", "fashionmnist"),
        # Its files are named as those of MNIST, so its own folder must say whose they are.
        *(f"{folder}/raw" for folder in ("Fashion-MNIST", "fashion_mnist", "fashion-mnist", "fashionmnist")),
    ),
}
"""Folders below `data.root`, in the order in which they are searched."""

_FILES = ("train-images{}idx3", "train-labels{}idx1", "t10k-images{}idx3", "t10k-labels{}idx1")
"""Names without their end; Kaggle's have a dot where the published ones have a hyphen."""


def read_idx_set(settings: DataSettings, root: Path) -> Images:
    """Return MNIST or Fashion-MNIST, downloaded if its files are nowhere below the root.

    Raises:
        DataError: the files are missing and cannot be downloaded.
        DamagedDataError: a file cannot be read in its format.
    """
    paths = idx_paths(settings, root)
    if not paths:
        _download(settings, root)
        paths = idx_paths(settings, root)
    if not paths:
        raise DataError(
            f"data.root: {root / _DOWNLOADED[settings.name] / 'raw'} still lacks {_FILES[0].format('-')}-ubyte.gz, or "
            "another of the four files, after the download; download them by hand"
        )
    train, train_labels, test, test_labels = (_read_idx(path) for path in paths)
    return Images(train, test, train_labels.astype(np.int64), test_labels.astype(np.int64))


def idx_paths(settings: DataSettings, root: Path) -> list[Path]:
    """Return the paths of the four files, compressed as published or uncompressed; empty if no folder has all four."""
    folders = [root / folder for folder in _FOLDERS[settings.name]]
    if settings.name == "fashion_mnist" and "fashionmnist" in map(_letters, root.absolute().parts[-2:]):
        folders.append(root)
    return next((paths for folder in folders if (paths := _four_in(folder))), [])


def _letters(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "")


def _four_in(folder: Path) -> list[Path]:
    found = [path for name in _FILES for path in _first_of(folder, name)]
    return found if len(found) == len(_FILES) else []


def _first_of(folder: Path, name: str) -> Iterator[Path]:
    paths = (folder / f"{name.format(sign)}-ubyte{ending}" for sign in "-." for ending in (".gz", ""))
    yield from [path for path in paths if path.is_file()][:1]


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file: two zero bytes, type 8 (uint8), the number of axes, each length as big-endian int32, the values."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)
    except (OSError, EOFError, zlib.error, ValueError, IndexError) as error:
        raise DamagedDataError(f"data: {path} is damaged ({error}); remove it and run again, or copy it again") from error


def _download(settings: DataSettings, root: Path) -> None:
    folder = Path(_DOWNLOADED[settings.name], "raw")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(root):
            if not idx_paths(settings, root):
                # Imported only here: torchvision takes seconds to import, and is not needed once the files exist.
                from torchvision.datasets import MNIST, FashionMNIST

                # Download into another folder first, so that nobody reads an incomplete file, even if this process dies.
                aside = root / ".download"
                {"mnist": MNIST, "fashion_mnist": FashionMNIST}[settings.name](str(aside), download=True)
                (root / folder).mkdir(parents=True, exist_ok=True)
                for path in _four_in(aside / folder):
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
