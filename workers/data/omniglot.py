"""Read OMNIGLOT as Burda et al. used it: 28 x 28 pixels, from the file `chardata.mat`."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workers.contract.errors import DamagedDataError
from workers.data.arrays import Images

FILE = "chardata.mat"

_COPY = "copy it again from the folder datasets/OMNIGLOT of Burda et al.'s program"


def read_omniglot(path: Path) -> Images:
    """Return the data set; its classes are the 50 alphabets.

    The file is MATLAB's, with one image per column: `data` [784, 24345] and `testdata` [784, 8070], pixels from 0 to 1, and
    `target` and `testtarget` [50, n], which are 1 in the row of the image's alphabet. MATLAB stores columns first, so the
    784 numbers of an image are its columns one after the other.

    Raises:
        DamagedDataError: the file cannot be read, or lacks a member, or has members of another form.
    """
    from scipy.io import loadmat

    names = ("data", "testdata", "target", "testtarget")
    try:
        held = loadmat(path, variable_names=names)
    except Exception as error:  # any byte may be wrong, and the reader raises errors of many types
        raise DamagedDataError(f"data.root: {path} is no MATLAB file of version 5 ({error}); {_COPY}") from error
    train, test = (_images(path, name, held.get(name)) for name in names[:2])
    return Images(
        train,
        test,
        _alphabets(path, "target", held.get("target"), len(train)),
        _alphabets(path, "testtarget", held.get("testtarget"), len(test)),
    )


def _images(path: Path, name: str, array: NDArray[np.generic] | None) -> NDArray[np.float32]:
    if array is None or array.dtype.kind not in "fui" or array.ndim != 2 or array.shape[0] != 784 or not array.size:
        raise _other(path, name, array, "numbers from 0 to 1 of shape (784, n)")
    pixels = array.astype(np.float32)
    if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
        raise _other(path, name, array, "numbers from 0 to 1 of shape (784, n)")
    return np.ascontiguousarray(pixels.T.reshape(-1, 28, 28).transpose(0, 2, 1))


def _alphabets(path: Path, name: str, array: NDArray[np.generic] | None, n: int) -> NDArray[np.int64]:
    what = f"0 and 1 of shape (50, {n}), with a single 1 per column"
    if array is None or array.dtype.kind not in "fuib" or array.shape != (50, n):
        raise _other(path, name, array, what)
    if not (np.isin(array, (0, 1)).all() and (array.sum(axis=0, dtype=np.float64) == 1).all()):
        raise _other(path, name, array, what)
    alphabets: NDArray[np.int64] = array.argmax(axis=0).astype(np.int64)
    return alphabets


def _other(path: Path, name: str, array: NDArray[np.generic] | None, expected: str) -> DamagedDataError:
    found = "missing" if array is None else f"{array.dtype} of shape {array.shape}"
    return DamagedDataError(f"data.root: {path}: {name} is {found}; it should be {expected}; {_COPY}")
