"""Look at the shape, the type and the range of pixels in a file of one's own, and bring them to 0 to 1 or refuse them."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from workers.contract.errors import DataError
from workers.data.arrays import Pixels

Array = NDArray[np.generic]

ALLOWED_RANGES = "0 and 1, integers from 0 to 255, and floats from 0 to 1"

_SHAPES = "(n, height, width), (n, height, width, 1), (n, 1, height, width) and (n, pixels), with n > 1"


def in_pictures(where: str, name: str, array: Array) -> Array:
    """Return an array of images as [n, height, width]; rows of pixels get the height 1.

    Raises:
        DataError: the array has another shape or no numbers; the message says how to convert it.
    """
    found = f"{where}: {name} is {array.dtype} of shape {array.shape}"
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{found}; allowed are {ALLOWED_RANGES}; convert it with `{name} = {name}.astype(np.float32)` before np.savez"
        )
    pictures = array
    if array.ndim == 2:
        pictures = array[:, None, :]
    elif array.ndim == 4 and array.shape[3] == 1:
        pictures = array[..., 0]
    elif array.ndim == 4 and array.shape[1] == 1:
        pictures = array[:, 0]
    elif array.ndim == 4 and (axis := _colour_axis(array)):
        whole = ".round().astype(np.uint8)" if array.dtype == np.uint8 else ""
        raise DataError(
            f"{found}{_range_in_words(array)}, which is colour; the shapes {_SHAPES} are allowed; "
            f"make it grey with `{name} = {name}.mean(axis={axis}){whole}`"
        )
    if pictures.ndim != 3 or 0 in array.shape or len(array) < 2:
        raise DataError(
            f"{found}{_range_in_words(array)}; the shapes {_SHAPES} are allowed; "
            f"one row of pixels per image is made by `{name} = {name}.reshape(len({name}), -1)`"
        )
    return pictures


def _colour_axis(array: Array) -> int | None:
    return next((axis for axis in (3, 1) if array.shape[axis] in (3, 4)), None)


def _range_in_words(array: Array) -> str:
    return f" from {array.min()} to {array.max()}" if array.size else ""


def with_height(where: str, pictures: Mapping[str, Array], size: tuple[int, ...]) -> tuple[dict[str, Array], bool]:
    """Return the images with a height and a width, and whether they were rows of pixels.

    Args:
        where: the setting and the file, for messages.
        pictures: [n, height, width] by name; the height of rows of pixels is 1.
        size: `data.image_size`; if it is empty, rows become squares if their length is a square number.

    Raises:
        DataError: the size does not fit the images.
    """
    shape = next(iter(pictures.values())).shape[1:]
    is_flat = shape[0] == 1
    side = math.isqrt(shape[1])
    if not size:
        height, width = (side, side) if is_flat and side * side == shape[1] else shape
    elif len(size) == 2 and (tuple(size) == shape or (is_flat and size[0] * size[1] == shape[1])):
        height, width = size
    else:
        what = f"rows of {shape[1]} pixels" if is_flat else f"{shape[0]} x {shape[1]} pixels already"
        need = f"two numbers, height and width, whose product is {shape[1]}" if is_flat else "no data.image_size"
        raise DataError(f"data.image_size: got {list(size)}, but the images of {where} are {what}; give {need}")
    return {name: array.reshape(len(array), height, width) for name, array in pictures.items()}, is_flat


def in_unit_range(where: str, pictures: Mapping[str, Array], scale: str) -> tuple[dict[str, Pixels], str]:
    """Return pixels as uint8 from 0 to 255 or as float32 from 0 to 1, and how they were read, in words.

    Args:
        where: the setting and the file, for messages.
        pictures: the arrays by name; they have one range together, whatever their split.
        scale: `data.scale`: `auto`, or the number by which pixels are divided.

    Raises:
        DataError: the range is not allowed, or it is not clear what it means; the message says what to set or to convert.
    """
    floats = [array for array in pictures.values() if array.dtype.kind == "f"]
    strange = sum(array.size - int(np.isfinite(array).sum()) for array in floats)
    name = " and ".join(pictures)
    types = " and ".join(dict.fromkeys(str(array.dtype) for array in pictures.values()))
    shapes = " and ".join(str(array.shape) for array in pictures.values())
    head = f"{where}: {name} is {types} of shape {shapes}"
    one = "images" if len(pictures) > 1 else name
    if strange:
        raise DataError(
            f"{head} with {strange:,} pixels that are NaN or infinite; allowed are {ALLOWED_RANGES}; replace them, for "
            f"example with `{one} = np.nan_to_num({one}, nan=0.0, posinf=1.0, neginf=0.0)`"
        )
    low = min(float(array.min()) for array in pictures.values())
    high = max(float(array.max()) for array in pictures.values())
    read = f"{types} from {low:.6g} to {high:.6g}"
    if scale != "auto":
        divisor = float(scale)
        if low < 0 or high > divisor:
            raise DataError(
                f"data.scale: got {scale}, but {head.removeprefix('data.path: ')} from {low:.6g} to {high:.6g}; "
                f"divided by data.scale, pixels must lie from 0 to 1; {_remedy(one, low, high, bool(floats))}"
            )
        return {n: _divided(a, divisor) for n, a in pictures.items()}, f"{read}, divided by {scale}"
    is_bool = all(array.dtype == np.bool_ for array in pictures.values())
    if is_bool or (floats and low >= 0 and high <= 1):
        return {n: array.astype(np.float32) for n, array in pictures.items()}, f"{read}, taken as they are"
    if not floats and low >= 0 and high <= 1:
        return {n: array.astype(np.uint8) * np.uint8(255) for n, array in pictures.items()}, f"{read}, taken as they are"
    if not floats and low >= 0 and _is_of_255(pictures, high):
        return {n: array.astype(np.uint8) for n, array in pictures.items()}, f"{read}, divided by 255"
    raise DataError(
        f"{head} from {low:.6g} to {high:.6g}; allowed are {ALLOWED_RANGES} (integers count as 0 to 255 if one is 255, or "
        f"if one is above 127 and there are more than two levels); {_remedy(one, low, high, bool(floats))}"
    )


def _is_of_255(pictures: Mapping[str, Array], high: float) -> bool:
    """Return whether integers from 0 are plausibly grey levels of eight bits: reach 255, or above 127 in many levels."""
    if high >= 255 or high <= 127:
        return high == 255
    counts = sum(np.bincount(array.astype(np.uint8).ravel(), minlength=256) for array in pictures.values())
    return int((np.asarray(counts) > 0).sum()) > 2


def _divided(array: Array, divisor: float) -> Pixels:
    # Dividing 0 and 255 by 255 gives exactly 0 and 1; until then bytes take a quarter of the memory of floats.
    if array.dtype.kind in "iu" and divisor == 255:
        return array.astype(np.uint8)
    if array.dtype.kind in "iu" and divisor == 1:
        return array.astype(np.uint8) * np.uint8(255)
    return (array.astype(np.float64) / divisor).astype(np.float32)


def _remedy(name: str, low: float, high: float, is_float: bool) -> str:
    if low < 0:
        line = (
            f"{name} = ({name} + 1) / 2" if low >= -1 and high <= 1 else f"{name} = ({name} - lowest) / (highest - lowest)"
        )
        return f"convert them with `{line}`"
    if high <= 255 and is_float:
        return f"set data.scale: 255 to divide them by 255, or convert them with `{name} = {name} / 255`"
    whole = (
        "255" if high <= 255 else next((f"{most} ({most.bit_length()} bits)" for most in (4095, 65535) if high <= most), "")
    )
    numbers = " or ".join(filter(None, [f"{high:.6g}", whole]))
    return (
        f"set data.scale to the number that means 1, such as {numbers}, or convert them with `{name} = {name} / {high:.6g}`"
    )
