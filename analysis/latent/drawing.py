"""Draws numbers of the latent space on Axes, one function per kind of figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.patheffects
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from analysis.figures.style import GREY, LINES, typeset

CLASSES = (*(colour for colour, _ in LINES), "#882255", "#999933", "#332288")
"""One colour per class: Okabe and Ito's, then three of Tol's. Every class is also drawn as its number."""


Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a figure of reconstructions."""

    label: str
    images: Array
    """[image, height, width] in [0, 1], dark for 1."""
    values: Array | None = None
    """The number below every image: its cross-entropy in nats; the smallest of all rows is bold."""
    note: str = ""
    """Text to the right of the row."""


def reconstructions(rows: Sequence[Row], titles: Sequence[str], axes: Axes) -> Axes:
    """Draw images and their reconstructions, one row per model; every image is a separate artist, row by row."""
    height, width = rows[0].images.shape[1:]
    tall = height / width
    # Rounded as printed, so that of two equal numbers both are bold.
    best = np.min([row.values.round(1) for row in rows if row.values is not None], axis=0)
    top = 0.0
    for row in rows:
        for column, image in enumerate(row.images):
            extent = (column + 0.05, column + 0.95, top + 0.9 * tall, top)
            axes.imshow(image, cmap="gray_r", vmin=0, vmax=1, extent=extent, interpolation="nearest")
            _frame(axes, extent)
            if row.values is not None:
                weight = "bold" if row.values[column].round(1) == best[column] else "normal"
                look: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 7, "fontweight": weight}
                axes.text(column + 0.5, top + 0.92 * tall, f"{row.values[column]:.1f}", **look)
        axes.text(-0.12, top + 0.45 * tall, typeset(row.label), ha="right", va="center", fontsize=8.5)
        axes.text(len(row.images) + 0.08, top + 0.45 * tall, typeset(row.note), va="center", fontsize=7, color=GREY)
        top += tall + (0.24 if row.values is not None else 0.04)
    for column, title in enumerate(titles):
        axes.text(column + 0.5, -0.06, title, ha="center", va="bottom", fontsize=8.5, color=GREY)
    axes.set(xlim=(0, len(rows[0].images)), ylim=(top, 0), aspect="equal")
    axes.axis("off")
    return axes


def codes(table: pd.DataFrame, axes: Axes, limit: float) -> Axes:
    """Draw codes of images in a plane of two units, each as the number of its class.

    Args:
        table: across, up, class (null without labels); one row per code.
        axes: empty; drawn on and returned, with one collection per class, in the order of the classes.
        limit: the limit of both axes, the same for all panels of a figure.
    """
    known = table[table["class"].notna()]
    for label, rows in known.groupby("class"):
        # A marker is scaled to the digit itself, not to the font's box: 20 square points give a digit of 5 points.
        look: dict[str, Any] = {"marker": f"${label}$", "s": 20, "linewidths": 0.2, "alpha": 0.9}
        axes.scatter(rows["across"], rows["up"], color=colour_of(label), label=str(label), **look)
    rest = table[table["class"].isna()]
    if len(rest):
        axes.scatter(rest["across"], rest["up"], color=LINES[0][0], s=5, linewidths=0)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    for label, rows in known.groupby("class"):
        place = rows["across"].median(), rows["up"].median()
        text = axes.text(
            *place, str(label), color=colour_of(label), fontsize=13, fontweight="bold", ha="center", va="center"
        )
        text.set_path_effects([matplotlib.patheffects.withStroke(linewidth=2, foreground="white")])
    return axes


def lattice(images: Array, axes: Axes, reach: float) -> Axes:
    """Draw decoded points of the latent plane as one mosaic, each at its place in the plane.

    Args:
        images: [row, column, height, width] in [0, 1]; the first row is at the top.
        axes: empty; drawn on and returned. Its only image is the mosaic.
        reach: how far the outer points lie from 0.
    """
    _show(axes, mosaic(images, gap=1), images.shape[:2], reach)
    return axes


def class_map(classes: Array, is_shown: Array, axes: Axes, reach: float) -> Axes:
    """Draw the class of every lattice point as a number on the colour of the class, or on white.

    Args:
        classes: [row, column]; the first row is at the top.
        is_shown: [row, column]; whether a point is coloured.
        axes: empty; drawn on and returned. Its texts are the points in reading order.
        reach: how far the outer points lie from 0.
    """
    # Light backgrounds keep the numbers legible, and those of one class still look like a region.
    tints = np.array([[0.42 * np.array(to_rgb(colour_of(c))) + 0.58 for c in line] for line in classes])
    tints[~is_shown] = 1.0
    left, right, bottom, top = _show(axes, tints, classes.shape, reach)
    rows, columns = classes.shape
    for row, line in enumerate(classes):
        for column, label in enumerate(line):
            x = left + (right - left) * (column + 0.5) / columns
            y = top - (top - bottom) * (row + 0.5) / rows
            strong = bool(is_shown[row, column])
            look: dict[str, Any] = {"fontsize": 5.2, "color": "black" if strong else GREY}
            axes.text(x, y, str(label), ha="center", va="center_baseline", **look)
    return axes


def traversals(images: Array, labels: Sequence[str], axes: Axes, blocks: int, steps: Array) -> Axes:
    """Draw one unit per row, from low to high values with all others at 0; rows fill one block, then the next.

    Args:
        images: [unit, step, height, width] in [0, 1], the most active unit first.
        labels: one per row: the unit's activity.
        axes: empty; drawn on and returned. Its images are the blocks.
        blocks: number of blocks side by side.
        steps: the values of the unit, by column.
    """
    height, width = images.shape[2:]
    rows = -(-len(images) // blocks)
    tall, wide = height + 1, (width + 1) * images.shape[1]
    space = 2.2 * (width + 1)
    for block in range(blocks):
        part = slice(block * rows, (block + 1) * rows)
        left = block * (wide + space)
        shown = images[part]
        extent = (left, left + wide, tall * len(shown), 0)
        axes.imshow(mosaic(shown, gap=1), cmap="gray_r", vmin=0, vmax=1, extent=extent, interpolation="nearest")
        for row, label in enumerate(labels[part]):
            axes.text(left - 0.25 * width, (row + 0.5) * tall, label, ha="right", va="center", fontsize=6.5)
        axes.text(left - 0.25 * width, -0.15 * tall, "activity", ha="right", va="bottom", fontsize=6.5, color=GREY)
        for column in (0, len(steps) // 2, len(steps) - 1):
            x = left + (column + 0.5) * (width + 1)
            axes.text(
                x,
                -0.15 * tall,
                f"{steps[column]:g}".replace("-", "\u2212"),
                ha="center",
                va="bottom",
                fontsize=6.5,
                color=GREY,
            )
    axes.set(xlim=(-space, blocks * (wide + space) - space), ylim=(tall * rows, -0.9 * tall), aspect="equal")
    axes.axis("off")
    return axes


def class_points(table: pd.DataFrame, value: str, axes: Axes) -> Axes:
    """Draw the excess cross-entropy of every class against how well its codes lie together.

    Small points are seeds, large numbers their mean.

    Args:
        table: class, seed, excess_cross_entropy (nats) and the column `value`.
        value: knn_purity or silhouette.
        axes: empty; drawn on and returned. Its collections are the classes' seeds, its texts their means.
    """
    axes.margins(0.08)
    taken: list[Array] = []
    groups = table.groupby("class")
    # Fixes the limits first, as they decide which numbers would cover one another.
    axes.scatter(table[value], table["excess_cross_entropy"], s=0)
    axes.axhline(0, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    for label, rows in groups:
        colour = colour_of(label)
        place = rows[value].mean(), rows["excess_cross_entropy"].mean()
        if len(rows) > 1:
            for x, y in zip(rows[value], rows["excess_cross_entropy"], strict=True):
                axes.plot([place[0], x], [place[1], y], color=colour, alpha=0.35, linewidth=0.6, zorder=1)
        axes.scatter(rows[value], rows["excess_cross_entropy"], s=9, color=colour, alpha=0.5, linewidths=0)
        at = axes.transData.transform(place) * 72 / axes.figure.dpi
        covered = [other for other in taken if np.abs(at - other).max() < 11]
        # Moved sideways, away from the number that is there.
        moved = at if not covered else np.array([covered[-1][0] + (12 if at[0] >= covered[-1][0] else -12), at[1]])
        taken.append(moved)
        look: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "center", "fontweight": "bold"}
        text = axes.annotate(str(label), place, xytext=tuple(moved - at), color=colour, fontsize=13, **look)
        text.set_path_effects([matplotlib.patheffects.withStroke(linewidth=2.5, foreground="white")])
    return axes


def colour_of(label: Any) -> str:
    """Return the colour of a class; colours repeat after ten classes."""
    return CLASSES[int(label) % len(CLASSES)]


def mosaic(images: Array, gap: int) -> Array:
    """Join images [row, column, height, width] into one, with white lines of `gap` pixels below and to the right of each."""
    rows, columns, height, width = images.shape
    wide = np.zeros((rows, columns, height + gap, width + gap))
    wide[:, :, :height, :width] = images
    return wide.transpose(0, 2, 1, 3).reshape(rows * (height + gap), columns * (width + gap))


def _show(axes: Axes, picture: Array, points: tuple[int, ...], reach: float) -> tuple[float, float, float, float]:
    """Show a picture of the lattice with every point in the middle of its cell, and return its extent."""
    rows, columns = points
    half = reach / (columns - 1)
    edge = reach + half
    upper = edge if rows > 1 else half
    extent = (-edge, edge, -upper, upper)
    axes.imshow(picture, cmap="gray_r", vmin=0, vmax=1, extent=extent, interpolation="nearest", aspect="auto")
    axes.set(aspect="equal", xticks=np.linspace(-reach, reach, 3), yticks=np.linspace(-reach, reach, 3) if rows > 1 else [0])
    axes.tick_params(length=2)
    return extent


def _frame(axes: Axes, extent: tuple[float, float, float, float]) -> None:
    left, right, bottom, top = extent
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor="#cccccc", linewidth=0.5))
