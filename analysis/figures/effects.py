"""Draws main effects and interactions of factors from computed means."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures.curve_names import Curve, Names, name_curves
from analysis.figures.style import GREY, MARKS, looks, typeset


def main_effects(table: pd.DataFrame, axes: Axes, value: str = "mean") -> Axes:
    """Draw the mean of every level with its interval, factor beside factor, around the mean of all cells.

    Args:
        table: the output of `marginal_means.main_effects`: factor, title, level, label, mean, low, high, n.
        axes: empty; drawn on and returned.
        value: the label of the vertical axis.
    """
    place, ticks, words = 0.0, [], []
    for (_, rows), (colour, _) in zip(table.groupby("factor", sort=False), looks(), strict=False):
        places = place + np.arange(len(rows))
        means = rows["mean"].to_numpy(float)
        axes.plot(places, means, "-", color=colour, linewidth=1.2, zorder=2, gid="effect")
        half = np.nan_to_num(np.stack([means - rows["low"], rows["high"] - means]))
        axes.errorbar(
            places, means, half, fmt="o", color=colour, markersize=4.5, linewidth=1.2, capsize=2.5, markeredgecolor="white"
        )
        axes.annotate(
            typeset(str(rows["title"].iloc[0])),
            (float(places.mean()), 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8,
            color=colour,
        )
        ticks += list(places)
        words += [typeset(str(label)) for label in rows["label"]]
        place = float(places[-1]) + 1.6
        axes.axvline(place - 0.8, color="#e3e3e3", linewidth=0.8, zorder=0)
    if len(table):
        # Balanced: every factor has the same mean over its levels.
        middle = float(table[table["factor"] == table["factor"].iloc[0]]["mean"].mean())
        axes.axhline(middle, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1, gid="all")
        axes.set_xlim(-0.8, place - 0.8)
    _limit(table, axes)
    if max(map(len, words), default=0) > 6:
        axes.set_xticks(ticks, words, rotation=30, ha="right", rotation_mode="anchor", fontsize=8)
    else:
        axes.set_xticks(ticks, words, fontsize=8)
    axes.tick_params(axis="x", length=2)
    axes.set_ylabel(value)
    return axes


def interaction(table: pd.DataFrame, axes: Axes, names: Names = "key", value: str = "mean") -> Axes:
    """Draw means over the levels of one factor, one line per level of another; parallel: no interaction.

    Args:
        table: one of those of `marginal_means.interactions`: label (of the line), x_label, mean, low, high, n, x_title.
        axes: empty; drawn on and returned.
        names: where the lines are named: at their ends, in a key above, or not at all.
        value: the label of the vertical axis.
    """
    places = {label: place for place, label in enumerate(dict.fromkeys(table["x_label"]))}
    curves: list[Curve] = []
    groups = table.groupby("label", sort=False)
    for number, ((label, rows), (colour, style)) in enumerate(zip(groups, looks(), strict=False)):
        # Shifted sideways: intervals at one place would hide each other.
        shift = 0.06 * (number - (groups.ngroups - 1) / 2)
        at = rows["x_label"].map(places).to_numpy(float) + shift
        means = rows["mean"].to_numpy(float)
        half = np.nan_to_num(np.stack([means - rows["low"], rows["high"] - means]))
        axes.errorbar(at, means, half, fmt="none", ecolor=colour, elinewidth=1, capsize=2)
        (line,) = axes.plot(
            at, means, color=colour, linestyle=style, marker=MARKS[number % len(MARKS)], markersize=4, label=str(label)
        )
        curves.append((line, style))
    _limit(table, axes)
    axes.set_xlim(-0.4, max(len(places) - 0.6, 0.6))
    axes.set_xticks(list(places.values()), [typeset(label) for label in places], fontsize=8)
    axes.set_ylabel(value)
    name_curves(curves, axes, names)
    return axes


def _limit(table: pd.DataFrame, axes: Axes) -> None:
    """Limit the axis by the means: the t interval of two seeds can be far wider and may run out of the frame."""
    known = table[table["n"] > 0]
    if known.empty:
        return
    low, high = float(known["mean"].min()), float(known["mean"].max())
    span = max(high - low, 1e-3)
    bottom = max(float(known["low"].fillna(low).min()), low - 1.2 * span)
    top = min(float(known["high"].fillna(high).max()), high + 1.2 * span)
    axes.set_ylim(min(bottom, low) - 0.08 * span, max(top, high) + 0.08 * span)
