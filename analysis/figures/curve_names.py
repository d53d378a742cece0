"""Names the curves of a figure, at their ends or in a key above, and draws what goes with them: seeds, levels to compare."""

from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation, Transform

from analysis.averages.seed_curves import seed_columns
from analysis.figures.style import GREY, typeset, width_of

Names = Literal["ends", "key", "none"]

SIZE = 8.5

_SAMPLE = (3.0, 11.0, 29.0, 33.0)
"""Points right of the axes at which the connector begins, the piece of line begins and ends, and the name begins."""

_KEY: dict[str, Any] = {
    "loc": "lower left",
    "borderaxespad": 0.15,
    "handlelength": 2.1,
    "columnspacing": 1.1,
    "handletextpad": 0.5,
    "fontsize": 8,
}


Curve = tuple[Line2D, Any]
"""A line and the style that it was given."""


DASHED, DOTTED = (0, (4, 3)), (0, (1, 1.5))
"""The lines of what a curve is compared with: a baseline, a threshold."""


def reference(axes: Axes, across: tuple[float, float], height: float, label: str, style: Any, gid: str) -> Curve:
    """Draw a level to compare with; it is named like a curve, outside the data, so that its name hides nothing."""
    look: dict[str, Any] = {"color": GREY, "linewidth": 0.9, "linestyle": style, "zorder": 1, "gid": gid}
    (line,) = axes.plot(across, (height, height), label=label, **look)
    return line, style


def thin_lines(rows: pd.DataFrame, along: str, axes: Axes, colour: str) -> None:
    """Draw the seeds of one curve; a single seed is its own mean."""
    seeds = [name for name in seed_columns(rows) if rows[name].notna().any()]
    for name in seeds if len(seeds) > 1 else ():
        axes.plot(rows[along], rows[name], color=colour, linewidth=0.6, alpha=0.55, label="_seed", gid="seed")


def room_for(labels: list[str]) -> float:
    """Return the points to the right of the axes that names at the ends of curves take."""
    return _SAMPLE[3] + max([width_of(_name(label), SIZE) for label in labels], default=0.0) + 5


def name_curves(curves: list[Curve], axes: Axes, names: Names) -> None:
    """Name the curves in the requested way."""
    if names == "ends":
        _at_ends(curves, axes)
    elif names == "key" and curves:
        labels = [str(line.get_label()) for line, _ in curves]
        columns = key_columns(labels, _points(axes)[0])
        look = {**_KEY, "ncols": columns, "bbox_to_anchor": (-0.02, 1.0)}
        axes.legend([line for line, _ in curves], [_name(label) for label in labels], **look)


def shared_key(figure: Figure, axes: Axes, labels: list[str], place: tuple[float, float], width: float) -> None:
    """Draw one key for all panels, with its upper left corner at `place` in the figure; `axes` has the curves."""
    lines = {str(line.get_label()): line for line in axes.get_lines()}
    found = [label for label in labels if label in lines]
    look = {**_KEY, "loc": "upper left", "ncols": key_columns(labels, width), "bbox_to_anchor": place}
    figure.legend([lines[label] for label in found], [_name(label) for label in found], **look)


def key_columns(labels: list[str], width: float) -> int:
    """Return how many names of a key fit side by side into a width in points."""
    return max(1, min(len(labels), int(width // width_of_key(labels))))


def width_of_key(labels: list[str]) -> float:
    """Return the width in points of a key with one name per row."""
    return max([width_of(_name(label), 8) for label in labels], default=1.0) + 30


def _name(label: str) -> str:
    return typeset(label).removesuffix(" epochs")


def _right_of(axes: Axes, points: float) -> Transform:
    return axes.transAxes + ScaledTranslation(points / 72, 0, axes.figure.dpi_scale_trans)


def _points(axes: Axes) -> tuple[float, float]:
    """Return the width and height of the axes in points."""
    box = axes.get_window_extent()
    return box.width * 72 / axes.figure.dpi, box.height * 72 / axes.figure.dpi


def _at_ends(curves: list[Curve], axes: Axes) -> None:
    low = axes.get_ylim()[0]
    to_axes = axes.transData + axes.transAxes.inverted()
    points = [np.asarray(line.get_xydata(), float)[-1] for line, _ in curves]
    ends = [float(np.clip(to_axes.transform(point)[1], 0.02, 0.98)) for point in points]
    height = _points(axes)[1]
    for (line, style), point, end, place in zip(curves, points, ends, spread(ends, 11.5 / max(height, 1)), strict=True):
        colour = line.get_color()
        reached = float(to_axes.transform((point[0], low))[0])
        if reached < 0.999:
            # A dotted line connects the end of a curve that stops early with its name.
            dots = Line2D([reached, 1.0], [end, end], color=colour, linewidth=0.6, linestyle=":", clip_on=False)
            dots.set_transform(axes.transAxes)
            axes.add_artist(dots)
        begin, sample, stop, name = _SAMPLE
        _stroke(axes, begin, sample, (end, place), color=colour, linewidth=0.7)
        _stroke(axes, sample, stop, (place, place), color=colour, linewidth=1.5, linestyle=style)
        words = _name(str(line.get_label()))
        axes.text(1.0, place, words, color=colour, va="center", fontsize=SIZE, transform=_right_of(axes, name))


def _stroke(axes: Axes, left: float, right: float, heights: tuple[float, float], **look: Any) -> None:
    """Draw a straight piece between two places to the right of the axes, given in points."""
    width = _points(axes)[0]
    places = [1 + left / width, 1 + right / width]
    axes.add_artist(Line2D(places, heights, transform=axes.transAxes, clip_on=False, **look))


def spread(places: list[float], gap: float = 0.075) -> list[float]:
    """Move places as little as possible, in the same order, until they are a gap apart; within [0, 1] if there is room."""
    order = np.argsort(places, kind="stable")
    moved = np.array(places, float)[order]
    for _ in range(200):
        close = np.diff(moved) < gap - 1e-9
        if not close.any():
            break
        for index in np.flatnonzero(close):
            middle = (moved[index] + moved[index + 1]) / 2
            moved[index : index + 2] = middle - gap / 2, middle + gap / 2
        moved = np.clip(moved, 0.0, 1.0) if (len(moved) - 1) * gap < 1 else moved
    result = np.empty(len(places))
    result[order] = moved
    return result.tolist()
