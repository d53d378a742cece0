"""Draws curves over epochs from computed tables: one function per figure, `(table, axes) -> axes`.

Maps, ranked units and effects are drawn in their own files and re-exported here.
"""

from collections.abc import Iterator
from itertools import cycle, pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.averages.seed_curves import seed_columns
from analysis.figures.curve_names import DASHED, DOTTED, Curve, Names, name_curves, reference, thin_lines
from analysis.figures.effects import interaction as interaction
from analysis.figures.effects import main_effects as main_effects
from analysis.figures.looks import Looks, chosen_looks
from analysis.figures.maps import KL_TOP as KL_TOP
from analysis.figures.maps import LOG_RANGE as LOG_RANGE
from analysis.figures.maps import activity_map as activity_map
from analysis.figures.maps import colour_bar as colour_bar
from analysis.figures.maps import kl_map as kl_map
from analysis.figures.style import GREY as GREY
from analysis.figures.style import LINES as LINES
from analysis.figures.style import SMALL, width_of, wrap
from analysis.figures.style import STYLE as STYLE
from analysis.figures.style import typeset as typeset
from analysis.figures.units import activity_spectrum as activity_spectrum
from analysis.figures.units import kl_spectrum as kl_spectrum
from analysis.loading.labels import measure_in_words

LEAST_NATS = 0.1
"""The least height of an axis of nats: constants would otherwise be drawn on an axis of rounding errors."""


def bound_curves(table: pd.DataFrame, axes: Axes, names: Names = "ends", looks: Looks | None = None) -> Axes:
    """Draw the test bound over epochs, one curve per level, beside the independent-pixel baseline.

    Args:
        table: the output of `one_factor.curves`: label, epoch, mean, low, high, n, n_planned, baseline (nats per example);
            columns `seed_0` ... are drawn as thin lines.
        axes: empty; drawn on and returned.
        names: where the curves are named: at their ends, in a key above, or not at all.
        looks: the look of every label; None: one after the other.
    """
    curves = _curves(table, axes, looks)
    low, high, notes = _bound_limits(table)
    if low < high:
        axes.set_ylim(low, high)
    for (place, words), style in zip(baseline_names(table), cycle((DASHED, DOTTED)), strict=False):
        curves.append(reference(axes, axes.get_xlim(), place, words, style, "baseline"))
    if notes:
        _below(axes, "\u2193 below the axis: " + "; ".join(notes))
    axes.set_ylabel(measure_in_words("test_bound"))
    name_curves(curves, axes, names)
    return axes


def baseline_names(table: pd.DataFrame) -> list[tuple[float, str]]:
    """Return each baseline within the axis and the name that it is drawn under."""
    low, high, _ = _bound_limits(table)
    return [(place, _named(owners)) for place, owners in _baselines(table) if low <= place <= high or low >= high]


def _named(owners: str) -> str:
    return "independent pixels" + (f" ({owners})" if owners else "")


def active_unit_curves(table: pd.DataFrame, axes: Axes, names: Names = "ends", looks: Looks | None = None) -> Axes:
    """Draw active units over epochs, one curve per level; the table of `bound_curves` with threshold, and with units.

    Bands are cut at 0 and at the number of units.
    """
    curves = _curves(table, axes, looks, least=0.0)
    _from_zero(table, axes)
    axes.set_ylabel(f"active units (activity > {table['threshold'].iloc[0]:g})" if len(table) else "active units")
    name_curves(curves, axes, names)
    return axes


def pruned_curves(table: pd.DataFrame, axes: Axes, names: Names = "ends", looks: Looks | None = None) -> Axes:
    """Draw how many units have been switched off so far, over epochs, one curve per cell, from the table of `pruning`."""
    return _count_curves(table, axes, names, looks, "units switched off so far")


def reactivated_curves(table: pd.DataFrame, axes: Axes, names: Names = "ends", looks: Looks | None = None) -> Axes:
    """Draw how many units have come back so far, over epochs, one curve per cell, from the table of `pruning`."""
    return _count_curves(table, axes, names, looks, "units back on so far")


def _count_curves(table: pd.DataFrame, axes: Axes, names: Names, looks: Looks | None, words: str) -> Axes:
    curves = _curves(table, axes, looks, least=0.0)
    _from_zero(table, axes)
    if len(table) and not table["mean"].gt(0).any():
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", color=GREY)
    axes.set_ylabel(words)
    name_curves(curves, axes, names)
    return axes


def _below(axes: Axes, words: str) -> None:
    """Write a note under the axis: beside the word epoch if there is room, else below it."""
    width = axes.get_window_extent().width * 72 / axes.figure.dpi
    fits = width_of(typeset(words), SMALL) < width - 34
    lines = [words] if fits else wrap(words, SMALL, width)
    look: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "top"}
    for number, line in enumerate(lines):
        place = (0, (-18 if fits else -34) - 8 * number)
        axes.annotate(typeset(line), (0, 0), xytext=place, fontsize=SMALL, color=GREY, gid="below", **look)


def _curves(table: pd.DataFrame, axes: Axes, looks: Looks | None, least: float = -np.inf) -> list[Curve]:
    """Draw one line per label with its band or its seeds, mark where n changes, and return each line with its style."""
    drawn: list[Curve] = []
    chosen = chosen_looks(table["label"], looks)
    for label, rows in table.groupby("label", sort=False):
        known = rows[rows["n"] > 0]
        if known.empty:
            continue
        look = chosen[str(label)]
        colour, style = look.colour, look.line
        most = known.get("units", np.inf)
        low, high = known["low"].clip(lower=least), known["high"].clip(upper=most)
        if low.notna().any():
            axes.fill_between(known["epoch"], low, high, color=colour, alpha=0.14, linewidth=0)
        thin_lines(known, "epoch", axes, colour)
        (line,) = axes.plot(known["epoch"], known["mean"], color=colour, linestyle=style, linewidth=1.5, label=str(label))
        drawn.append((line, style))
        for before, after in _changes(known):
            axes.plot([after["epoch"]], [after["mean"]], "o", color=colour, markerfacecolor="white", markersize=4.5)
            axes.annotate(
                f"n = {after['n']}" if after["n"] < before["n"] else f"n = {before['n']} before",
                (after["epoch"], after["mean"]),
                xytext=(0, 6),
                textcoords="offset points",
                ha="center",
                color=colour,
                fontsize=SMALL,
            )
    if not drawn:
        axes.text(0.5, 0.5, "no epoch is stored yet", transform=axes.transAxes, ha="center", color=GREY)
    last = int(table["epoch"].max()) if len(table) else 1
    axes.set_xlim(0, max(1, last))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    # On the right, as notes about what lies below the axis stand on the left.
    axes.set_xlabel("epoch", loc="right")
    return drawn


def _changes(rows: pd.DataFrame) -> Iterator[tuple[dict[Any, Any], dict[Any, Any]]]:
    records = rows[["epoch", "mean", "n"]].to_dict("records")
    return ((before, after) for before, after in pairwise(records) if before["n"] != after["n"])


def _baselines(table: pd.DataFrame) -> list[tuple[float, str]]:
    """Return each baseline with the curves it belongs to; without names if all curves share one."""
    places = table["baseline"].dropna().unique().tolist()
    owners = [", ".join(table["label"][table["baseline"] == place].unique()) for place in places]
    return [(place, names if len(places) > 1 else "") for place, names in zip(places, owners, strict=True)]


def _drawn(table: pd.DataFrame) -> pd.DataFrame:
    """Return every mean and every seed that is drawn."""
    return table[["mean", *seed_columns(table)]]


def _bound_limits(table: pd.DataFrame) -> tuple[float, float, list[str]]:
    """Return an axis for where curves differ, as the first epochs lie far below, and notes on what is cut off."""
    known = table[table["n"] > 0]
    if known.empty:
        return 0.0, 0.0, []
    # Epoch 0 is before training and far below, however short the study is.
    settled = known[known["epoch"] >= min(max(1, round(0.1 * known["epoch"].max())), known["epoch"].max())]
    low, high = float(_drawn(settled).min().min()), float(_drawn(settled).max().max())
    span = max(high - low, LEAST_NATS)
    # The t interval of a few seeds can be wider than everything else and must not set the scale alone.
    band_low, band_high = settled["low"].fillna(low).min(), settled["high"].fillna(high).max()
    low, high = max(min(low, band_low), low - 0.4 * span), min(max(high, band_high), high + 0.4 * span)
    # A baseline above the curves is always shown.
    near = [place for place, _ in _baselines(table) if place >= low - span]
    low, high = min([low, *near]) - 0.05 * span, max([high, *near]) + 0.07 * span
    if high - low < LEAST_NATS:
        low, high = (low + high - LEAST_NATS) / 2, (low + high + LEAST_NATS) / 2
    notes = [f"{_named(owners)} at {place:.4g}" for place, owners in _baselines(table) if not low <= place <= high]
    below = known[known["mean"] < low]
    if len(below):
        last = below["epoch"].max()
        notes = [f"{f'epochs 0 to {last}' if last else 'epoch 0'}, from {below['mean'].min():.4g}", *notes]
    return low, high, notes


def _from_zero(table: pd.DataFrame, axes: Axes) -> None:
    """Begin the axis just below 0, so that a curve at 0 is visible above the frame."""
    mean = float(np.nanmax([1.0, _drawn(table).max().max()])) if len(table) else 1.0
    # The t interval of a few seeds can be wider than everything else and must not set the scale alone.
    top = min(float(table["high"].max()), 1.3 * mean) if len(table) and table["high"].notna().any() else mean
    most = float(table["units"].max()) if "units" in table else np.inf
    top = max(mean, min(top, most))
    axes.set_ylim(-0.03 * top, 1.06 * top)
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=mean > 3, steps=[1, 2, 5, 10]))
