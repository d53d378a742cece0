"""Draws main effects and interactions of factors from computed means."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from analysis.averages.seed_curves import seed_columns
from analysis.figures.curve_names import Curve, Names, name_curves
from analysis.figures.looks import BASE, Looks, chosen_looks
from analysis.figures.style import GREY, typeset, width_of, wrap

_GAP = 1.6
"""The distance between the last level of a factor and the first of the next, in distances of levels."""

_BESIDE = 4.2
"""Points from a mean to its seeds, to the right."""

TITLE, LINE = 8.0, 9.6
"""Size of the factors' names above the axes, and the height of one line of them, in points."""

Range = tuple[float, float]


def main_effects(
    table: pd.DataFrame,
    axes: Axes,
    value: str = "mean",
    looks: Mapping[str, Looks] | None = None,
    between: Range = (-np.inf, np.inf),
    least: float = 0.1,
) -> Axes:
    """Draw the mean of every level with its interval or its seeds, factor beside factor, around the mean of all cells.

    Args:
        table: the output of `marginal_means.main_effects`: factor, title, level, label, mean, low, high, n; columns
            `seed_0` ... are drawn as small points beside the mean.
        axes: empty; drawn on and returned.
        value: the label of the vertical axis.
        looks: the look of every level by the title of its factor and its label; None: all alike.
        between: where values can lie: intervals are cut there.
        least: the least difference that fills the axis, so that constants are not drawn on one of rounding errors.
    """
    place, ticks, words = 0.0, [], []
    titles = _titles(table, axes.get_window_extent().width * 72 / axes.figure.dpi)
    for title, rows in table.groupby("title", sort=False):
        places = place + np.arange(len(rows))
        means = rows["mean"].to_numpy(float)
        axes.plot(places, means, "-", color=GREY, linewidth=1.0, zorder=2, gid="effect")
        for number, (at, label) in enumerate(zip(places, rows["label"], strict=True)):
            look = (looks or {}).get(str(title), {}).get(str(label), BASE)
            row = rows.iloc[number : number + 1]
            _spread(row, np.array([at]), axes, look.colour, between)
            axes.plot([at], row["mean"], look.mark, color=look.colour, markersize=5, zorder=3)
        axes.annotate(
            "\n".join(map(typeset, titles[str(title)].lines)),
            (float(places.mean()), 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 4 + titles[str(title)].above),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=TITLE,
        )
        ticks += list(places)
        words += [typeset(str(label)) for label in rows["label"]]
        place = float(places[-1]) + _GAP
        axes.axvline(place - _GAP / 2, color="#e3e3e3", linewidth=0.8, zorder=0)
    if len(table):
        # Balanced: every factor has the same mean over its levels.
        middle = float(table[table["factor"] == table["factor"].iloc[0]]["mean"].mean())
        axes.axhline(middle, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1, gid="all")
        axes.set_xlim(-_GAP / 2, place - _GAP / 2)
    _limit(table, axes, between, least)
    if max(map(len, words), default=0) > 6:
        axes.set_xticks(ticks, words, rotation=30, ha="right", rotation_mode="anchor", fontsize=8)
    else:
        axes.set_xticks(ticks, words, fontsize=8)
    axes.tick_params(axis="x", length=2)
    axes.set_ylabel(value)
    return axes


def height_of_titles(table: pd.DataFrame, wide: float) -> float:
    """Return the points that the names of the factors take above axes of a width in points."""
    return max((title.above + LINE * len(title.lines) for title in _titles(table, wide).values()), default=LINE)


@dataclass(frozen=True)
class _Title:
    """The name of a factor above its levels."""

    lines: list[str]
    above: float
    """Points between the axes and its lowest line."""


def _titles(table: pd.DataFrame, wide: float) -> dict[str, _Title]:
    """Break the names of factors into the room above their levels; where words are wider, names alternate in height."""
    span = sum(len(rows) - 1 + _GAP for _, rows in table.groupby("title", sort=False))
    rooms = {str(title): (len(rows) - 0.2 + _GAP - 1) / span * wide for title, rows in table.groupby("title", sort=False)}
    lines = {title: _broken(title, room) for title, room in rooms.items()}
    if all(width_of(typeset(line), TITLE) <= rooms[title] for title, found in lines.items() for line in found):
        return {title: _Title(found, 0.0) for title, found in lines.items()}
    lines = {title: _broken(title, 1.6 * room) for title, room in rooms.items()}
    low = LINE * max(len(found) for place, found in enumerate(lines.values()) if place % 2 == 0)
    return {title: _Title(found, low if place % 2 else 0.0) for place, (title, found) in enumerate(lines.items())}


def _broken(title: str, room: float) -> list[str]:
    """Break a name into lines, after the dot of a setting too."""
    return [line.replace(". ", ".") for line in wrap(title.replace(".", ". "), TITLE, room)]


def interaction(
    table: pd.DataFrame,
    axes: Axes,
    names: Names = "key",
    value: str = "mean",
    looks: Looks | None = None,
    between: Range = (-np.inf, np.inf),
    least: float = 0.1,
) -> Axes:
    """Draw means over the levels of one factor, one line per level of another; parallel: no interaction.

    Args:
        table: one of those of `marginal_means.interactions`: label (of the line), x_label, mean, low, high, n, x_title;
            seeds as in main_effects.
        axes: empty; drawn on and returned.
        names: where the lines are named: at their ends, in a key above, or not at all.
        value: the label of the vertical axis.
        looks: the look of every label; None: one after the other.
        between: see main_effects.
        least: see main_effects.
    """
    places = {label: place for place, label in enumerate(dict.fromkeys(table["x_label"]))}
    curves: list[Curve] = []
    groups = table.groupby("label", sort=False)
    chosen = chosen_looks(table["label"], looks)
    for number, (label, rows) in enumerate(groups):
        look = chosen[str(label)]
        # Shifted sideways: intervals at one place would hide each other.
        shift = 0.06 * (number - (groups.ngroups - 1) / 2)
        at = rows["x_label"].map(places).to_numpy(float) + shift
        means = rows["mean"].to_numpy(float)
        _spread(rows, at, axes, look.colour, between)
        (line,) = axes.plot(
            at, means, color=look.colour, linestyle=look.line, marker=look.mark, markersize=4, label=str(label)
        )
        curves.append((line, look.line))
    _limit(table, axes, between, least)
    axes.set_xlim(-0.4, max(len(places) - 0.6, 0.6))
    axes.set_xticks(list(places.values()), [typeset(label) for label in places], fontsize=8)
    axes.set_ylabel(value)
    name_curves(curves, axes, names)
    return axes


def _spread(rows: pd.DataFrame, at: NDArray[np.float64], axes: Axes, colour: str, between: Range) -> None:
    """Draw the intervals of some means, never beyond `between`, or their seeds; a single seed is its own mean."""
    has_bar = rows["low"].notna().to_numpy()
    if has_bar.any():
        means = rows["mean"].to_numpy(float)
        low, high = (np.clip(rows[name].to_numpy(float), *between) for name in ("low", "high"))
        halves = np.stack([means - low, high - means]).clip(min=0)[:, has_bar]
        axes.errorbar(at[has_bar], means[has_bar], halves, fmt="none", ecolor=colour, elinewidth=1.2, capsize=2.5)
    # Beside the mean, whose mark would hide them.
    beside = axes.transData + ScaledTranslation(_BESIDE / 72, 0, axes.figure.dpi_scale_trans)
    look: dict[str, Any] = {"color": colour, "markersize": 2.2, "markeredgewidth": 0, "alpha": 0.8, "zorder": 2}
    for name in seed_columns(rows):
        heights = rows[name].where(rows["n"] > 1).to_numpy(float)
        if np.isfinite(heights).any():
            axes.plot(at, heights, "o", transform=beside, label="_seed", gid="seed", **look)


def _limit(table: pd.DataFrame, axes: Axes, between: Range, least: float) -> None:
    """Limit the axis by the means: the t interval of two seeds can be far wider and may run out of the frame."""
    known = table[table["n"] > 0]
    if known.empty:
        return
    drawn = known[["mean", *seed_columns(known)]]
    low, high = float(drawn.min().min()), float(drawn.max().max())
    span = max(high - low, least)
    bottom = max(float(known["low"].fillna(low).min()), low - 1.2 * span, between[0])
    top = min(float(known["high"].fillna(high).max()), high + 1.2 * span, between[1])
    bottom, top = min(bottom, low), max(top, high)
    if top - bottom < least:
        bottom, top = (bottom + top - least) / 2, (bottom + top + least) / 2
    axes.set_ylim(bottom - 0.08 * span, top + 0.08 * span)
