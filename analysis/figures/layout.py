"""Lays out a figure at a given width: panels, room for names, small print below; type has the same size at any width."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.figures import maps, style
from analysis.figures.curve_names import Names, key_columns, room_for, shared_key, width_of_key
from analysis.figures.style import GREY, SMALL, typeset, width_of, wrap

POINTS_A_MM = 72 / 25.4

LEFT, BOTTOM, GAP, TITLE = 52.0, 38.0, 10.0, 12.5
"""Points left of axes, points below them, points between things, and the height of one line of the title."""

LOWEST = 138.0
"""Least height of axes in points: the label beside them needs it."""

LEAST_COLUMN = 130.0
"""Least width in points of a panel with its labels."""

NARROW = 0.5
"""If names at the ends of curves would leave the axes less than this share of the width, a key is drawn instead."""


@dataclass(frozen=True)
class Panel:
    """One pair of axes: a table and the function that draws it."""

    table: pd.DataFrame
    draw: Callable[..., Axes]
    """`(table, axes, **options) -> axes`, such as `curves.bound_curves`."""
    title: str = ""
    names: Sequence[str] = ()
    """The names of the curves; empty if there is nothing to name."""
    options: Mapping[str, object] = field(default_factory=dict)
    x_label: str = ""
    """Replaces the label that the function writes."""
    above: Callable[[pd.DataFrame, float], float] | None = None
    """Returns the points above axes of a width in points that the function needs for its own text."""


@dataclass(frozen=True)
class Bar:
    """A colour bar for all panels."""

    words: str
    threshold: float | None


@dataclass(frozen=True)
class Sheet:
    """A figure: its title, its panels and its small print."""

    title: str
    panels: Sequence[Panel]
    foot: str
    """The small print below: base cell, n, missing seeds."""
    bar: Bar | None = None
    columns: int = 2
    """The most panels side by side; fewer where there is no room."""
    bottom: float = BOTTOM
    ratio: float = 0.66
    """Height of axes divided by their width, within bounds."""
    default_mm: float = 142.0
    shares_y: bool = False
    """Whether all panels share one vertical scale, so that they can be compared."""


def draw(sheet: Sheet, width_mm: float | None = None) -> Figure:
    """Draw the figure at a width in mm; None takes its default width."""
    with style.our_style():
        return _drawn(sheet, width_mm)


def _drawn(sheet: Sheet, width_mm: float | None) -> Figure:
    width = (width_mm or sheet.default_mm) * POINTS_A_MM
    bar = 62.0 if sheet.bar else 0.0
    columns = max(1, min(sheet.columns, len(sheet.panels), int((width - bar) // _least_column(sheet))))
    rows = -(-len(sheet.panels) // columns)
    names = [label for panel in sheet.panels for label in panel.names]
    right = room_for(list(dict.fromkeys(names))) if names else GAP
    at_ends = len(sheet.panels) == 1 and width - LEFT - right > NARROW * width
    right = right if at_ends else GAP
    # Panels with the same curves share one key.
    shared = names[: len(sheet.panels[0].names)] if _has_one_key(sheet) else []
    wide = (width - bar) / columns - LEFT - right
    high = min(max(sheet.ratio * wide, LOWEST), 205.0)
    # Letters drawn on pixels are up to a few percent wider than their outlines.
    title = wrap(sheet.title, 10.5, 0.97 * (width - 12), "bold")
    foot = wrap(sheet.foot, SMALL, 0.97 * (width - 12))
    above = _above(sheet, at_ends, wide, bool(shared))
    shared_rows = -(-len(shared) // key_columns(shared, width - 12)) if shared else 0
    # Where the axes are narrow, the note on what lies below the axis takes two lines.
    bottom = sheet.bottom + (18 if wide < 200 else 10 if wide < 285 else 0)
    tops, place = [], 6 + TITLE * len(title) + 12.0 * shared_rows
    for row in range(rows):
        place += max(above[row * columns : (row + 1) * columns])
        tops.append(place)
        place += high + bottom
    height = place + 4 + 8.8 * len(foot) + 4
    figure = Figure(figsize=(width / 72, height / 72))
    axes = []
    for number, panel in enumerate(sheet.panels):
        row, column = divmod(number, columns)
        left = column * (LEFT + wide + right) + LEFT
        box = (left / width, 1 - (tops[row] + high) / height, wide / width, high / height)
        how: Names = "ends" if at_ends else "none" if shared else "key"
        axes.append(_panel(figure, panel, box, how, max(above[row * columns : (row + 1) * columns]) - 4))
    if sheet.shares_y:
        limits = [one.get_ylim() for one in axes]
        for one in axes:
            one.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    _make_room(figure, axes)
    if shared:
        shared_key(figure, axes[0], shared, (6 / width, 1 - (5 + TITLE * len(title)) / height), width - 12)
    for number, line in enumerate(title):
        place = 1 - (5 + TITLE * number) / height
        figure.text(6 / width, place, typeset(line), fontsize=10.5, fontweight="bold", va="top")
    for number, line in enumerate(reversed(foot)):
        figure.text(6 / width, (4 + 8.8 * number) / height, typeset(line), fontsize=SMALL, color=GREY, va="bottom")
    if sheet.bar:
        low, top = 1 - (tops[-1] + high) / height, 1 - tops[0] / height
        room = figure.add_axes(((width - bar + 6) / width, low, 9 / width, top - low))
        maps.colour_bar(figure, axes[0], room, sheet.bar.threshold, sheet.bar.words)

    return figure


def _panel(figure: Figure, panel: Panel, box: tuple[float, float, float, float], names: Names, above: float) -> Axes:
    axes = figure.add_axes(box)
    options = dict(panel.options)
    if panel.names:
        options["names"] = names
    panel.draw(panel.table, axes, **options)
    if panel.title:
        room = box[2] * figure.get_figwidth() * 72 + LEFT - 10
        words = typeset(panel.title)
        axes.annotate(
            words,
            (0, 1),
            xycoords="axes fraction",
            xytext=(10 - LEFT, above - 9),
            textcoords="offset points",
            fontsize=8.5 if width_of(words, 8.5, "bold") < room else SMALL,
            fontweight="bold",
            va="bottom",
        )
    if panel.x_label:
        axes.set_xlabel(typeset(panel.x_label))
    return axes


def _make_room(figure: Figure, axes: Sequence[Axes]) -> None:
    """Narrow all axes alike, from the left, until the widest tick labels reach into no neighbour."""
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    width = figure.bbox.width
    room = LEFT / 72 * figure.dpi
    over = 0.0
    for one in axes:
        extent = one.yaxis.get_tightbbox(renderer)
        if extent is not None:
            over = max(over, (one.get_position().x0 * width - room + 2 - extent.x0) / width)
    for one in axes if over > 0 else ():
        box = one.get_position()
        one.set_position((box.x0 + over, box.y0, box.width - over, box.height))


def _least_column(sheet: Sheet) -> float:
    """Return the least width of a panel: that of its labels, and of the key above it."""
    names = [] if _has_one_key(sheet) else [label for panel in sheet.panels for label in panel.names]
    return max(LEAST_COLUMN, LEFT + width_of_key(names)) if names else LEAST_COLUMN


def _has_one_key(sheet: Sheet) -> bool:
    return len(sheet.panels) > 1 and len({tuple(panel.names) for panel in sheet.panels}) == 1 and bool(sheet.panels[0].names)


def _above(sheet: Sheet, at_ends: bool, wide: float, is_shared: bool) -> list[float]:
    """Return the points that the title and the key take above each pair of axes."""
    found = []
    for panel in sheet.panels:
        lines = (
            0 if at_ends or is_shared or not panel.names else -(-len(panel.names) // key_columns(list(panel.names), wide))
        )
        found.append(8.0 + 12.0 * lines + (13.0 if panel.title else panel.above(panel.table, wide) if panel.above else 0.0))
    return found
