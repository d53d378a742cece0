"""Draw training images as they were read and as the model sees them, one row per class."""

import warnings
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from workers.contract.settings import DataSettings
from workers.contract.streams import EVALUATION_SEED, Stream, generator
from workers.data.arrays import Images, name_of
from workers.data.summary import in_unit_floats

_ROWS, _COLUMNS = 12, 8

_SEEN = {
    "dynamic": "as the model sees them: binarised, one draw of many",
    "static": "as the model sees them: binarised, one draw",
    "threshold": "as the model sees them: 1 above 0.5",
    "grey": "as the model sees them: unchanged",
}


def draw_sheet(images: Images, settings: DataSettings, path: Path) -> None:
    """Draw the first training images of every class, at most 12 classes, and write them as PNG.

    Raises:
        OSError: the file cannot be written.
    """
    rows = _rows(images)
    chosen = np.array([index for _, places in rows for index in places], np.int64)
    grey = in_unit_floats(images.train[chosen])
    height, width = grey.shape[1:]
    sides = [("as read", grey), (_SEEN[settings.input], _as_seen(grey, settings))]
    # The user's own file of matplotlib settings must not decide how this looks, or whether TeX is needed.
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        warnings.simplefilter("ignore", UserWarning)  # a name of a class may have letters that the font lacks
        figure = Figure(
            figsize=(12, 1.2 + 0.65 * len(rows) * min(max(height / width, 0.15), 3)), dpi=100, layout="constrained"
        )
        shades = matplotlib.colormaps["gray"].with_extremes(bad="steelblue")
        stretch = "auto" if height == 1 else "equal"
        for axes, (title, pictures) in zip(figure.subplots(1, 2, sharey=True), sides, strict=True):
            sheet = _sheet(pictures, [len(places) for _, places in rows])
            axes.imshow(sheet, cmap=shades, vmin=0, vmax=1, aspect=stretch, interpolation="nearest")
            axes.set_title(title, fontsize=10)
            axes.set(xticks=[], yticks=[(height + 1) * row + (height - 1) / 2 for row in range(len(rows))])
            axes.set_yticklabels([name for name, _ in rows], parse_math=False)
        figure.savefig(path, format="png")


def _rows(images: Images) -> list[tuple[str, list[int]]]:
    """Return the images that are drawn: for every row its name and the places of its images."""
    labels = images.train_labels
    if labels is None:
        n = min(len(images.train), _ROWS // 2 * _COLUMNS)
        return [(str(first), list(range(first, min(first + _COLUMNS, n)))) for first in range(0, n, _COLUMNS)]
    classes = np.unique(labels)[:_ROWS].tolist()
    return [(_short(name_of(images, one)), np.flatnonzero(labels == one)[:_COLUMNS].tolist()) for one in classes]


def _short(name: str) -> str:
    shown = "".join(letter if letter.isprintable() else "?" for letter in name)
    return shown if len(shown) <= 16 else f"{shown[:15]}\u2026"


def _as_seen(grey: NDArray[np.float32], settings: DataSettings) -> NDArray[np.float32]:
    if settings.input == "grey" or ((grey == 0) | (grey == 1)).all():
        return grey
    if settings.input == "threshold":
        return (grey > 0.5).astype(np.float32)
    drawn = generator(EVALUATION_SEED, Stream.EVALUATION_BINARISATION, 0).random(grey.shape, dtype=np.float32)
    return (drawn < grey).astype(np.float32)


def _sheet(pictures: NDArray[np.float32], lengths: list[int]) -> NDArray[np.float32]:
    """Return the pictures side by side, one row per length, with lines between them, which are NaN."""
    height, width = pictures.shape[1:]
    sheet = np.full((len(lengths) * (height + 1) - 1, _COLUMNS * (width + 1) - 1), np.nan, np.float32)
    rest = iter(pictures)
    for row, length in enumerate(lengths):
        for column in range(length):
            top, left = row * (height + 1), column * (width + 1)
            sheet[top : top + height, left : left + width] = next(rest)
    return sheet
