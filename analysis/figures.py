"""Draws tables that are computed already, one function a figure, `(table, axes) -> axes`; computes and writes nothing."""

from collections.abc import Iterator
from itertools import cycle, pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# Okabe and Ito's palette without its yellow; dark and light in turn, and a line style each, so that grey paper will do.
LINES: tuple[tuple[str, Any], ...] = (
    ("#0072B2", "-"),
    ("#D55E00", (0, (5, 1.5))),
    ("#009E73", (0, (7, 1.5, 1.5, 1.5))),
    ("#CC79A7", (0, (1.2, 1.2))),
    ("#000000", (0, (3, 1, 1, 1, 1, 1))),
    ("#E69F00", "-"),
    ("#56B4E9", (0, (9, 2))),
)
GREY = "#6b6b6b"
LOG_RANGE = (-4.0, 0.5)
"""Of log10 activity in every map, so that maps can be compared: from the floor to above any normal unit."""

STYLE: Any = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "none",
}


def bound_curves(table: pd.DataFrame, axes: Axes) -> Axes:
    """The test bound over epochs, a curve a level with its band, beside the independent-pixel baseline.

    Args:
        table: what `contrast.curves` gives: label, epoch, mean, low, high, n, n_planned, baseline (nats per example).
        axes: empty; drawn on and returned.
    """
    ends = _curves(table, axes)
    notes = _limit_bound(table, axes)
    for place, owners in _baselines(table):
        named = f" ({owners})" if owners else ""
        if not axes.get_ylim()[0] <= place <= axes.get_ylim()[1]:
            notes.append(f"independent pixels{named} at {place:.4g}")
            continue
        axes.axhline(place, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1, gid="baseline")
        look: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        words = f"independent pixels{named}"
        axes.annotate(words, (1, place), xytext=(-3, 2.5), ha="right", color=GREY, fontsize=7.5, **look)
    if notes:
        words = "\u2193 below the axis: " + "; ".join(notes)
        look = {"xycoords": "axes fraction", "textcoords": "offset points"}
        axes.annotate(typeset(words), (0, 0), xytext=(0, -24), fontsize=7, color=GREY, gid="below", **look)
    axes.set_ylabel("test bound (nats per example)")
    _label_ends(ends, axes)
    return axes


def active_unit_curves(table: pd.DataFrame, axes: Axes) -> Axes:
    """Active units over epochs, a curve a level with its band; the table is that of `bound_curves`, with threshold."""
    ends = _curves(table, axes)
    top = float(np.nanmax([1.0, table["mean"].max(), _soft_top(table)]))
    axes.set_ylim(0, 1.06 * top)
    axes.set_ylabel(f"active units (activity > {table['threshold'].iloc[0]:g})" if len(table) else "active units")
    _label_ends(ends, axes)
    return axes


def activity_map(table: pd.DataFrame, axes: Axes) -> Axes:
    """Log-activity, epoch by unit, bright for active; row 1 is the unit that was most active at epoch 1.

    Args:
        table: what `activity.activity_map` gives: epoch, unit, log10_activity.
        axes: empty; drawn on and returned. Its one collection is the mesh that a colour bar needs.
    """
    wide = table.pivot(index="unit", columns="epoch", values="log10_activity").sort_index()
    edges = np.append(wide.columns.to_numpy(float) - 0.5, float(wide.columns.max()) + 0.5)
    rows = np.append(wide.index.to_numpy(float) - 0.5, float(wide.index.max()) + 0.5)
    low, high = LOG_RANGE
    axes.pcolormesh(edges, rows, wide.to_numpy(float), cmap="viridis", vmin=low, vmax=high, rasterized=True)
    # Not invert_yaxis: panels that share an axis would turn it back.
    axes.set_ylim(rows[-1], rows[0])
    axes.set_xlabel("epoch")
    axes.set_ylabel("unit, by activity at epoch 1")
    return axes


def colour_bar(figure: Figure, panels: list[Axes], threshold: float) -> Axes:
    """One scale for all maps, with the threshold of an active unit marked on it."""
    mesh = next(item for item in panels[0].collections if isinstance(item, QuadMesh))
    bar = figure.colorbar(mesh, ax=panels, extend="both", shrink=0.9, aspect=28, pad=0.02)
    bar.set_label("log10 activity, mean over seeds")
    level = float(np.log10(threshold))
    bar.ax.axhline(level, color="white", linewidth=1.4)
    bar.ax.annotate(
        f"active: > {threshold:g}",
        (0.5, level),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        fontsize=7,
        rotation=90,
    )
    return bar.ax


def typeset(words: str) -> str:
    """Words with the field's symbols as they are printed."""
    return words.replace("n_z", "$n_z$").replace(" -", " \u2212")


def _curves(table: pd.DataFrame, axes: Axes) -> list[tuple[Line2D, Any]]:
    """Draw a line and a band a label, mark where n changes on the way, and give each line with its style."""
    drawn: list[tuple[Line2D, Any]] = []
    for (label, rows), (colour, style) in zip(table.groupby("label", sort=False), cycle(LINES), strict=False):
        known = rows[rows["n"] > 0]
        if known.empty:
            continue
        axes.fill_between(known["epoch"], known["low"], known["high"], color=colour, alpha=0.16, linewidth=0)
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
                fontsize=7,
            )
    if not drawn:
        axes.text(0.5, 0.5, "no epoch is stored yet", transform=axes.transAxes, ha="center", color=GREY)
    last = int(table["epoch"].max()) if len(table) else 1
    axes.set_xlim(0, max(1, last))
    # On the right: what lies below the axis is said on the left.
    axes.set_xlabel("epoch", loc="right")
    return drawn


def _changes(rows: pd.DataFrame) -> Iterator[tuple[dict[Any, Any], dict[Any, Any]]]:
    records = rows[["epoch", "mean", "n"]].to_dict("records")
    return ((before, after) for before, after in pairwise(records) if before["n"] != after["n"])


def _baselines(table: pd.DataFrame) -> list[tuple[float, str]]:
    """Each baseline with the curves it belongs to; no names where there is one for all."""
    places = table["baseline"].dropna().unique().tolist()
    owners = [", ".join(table["label"][table["baseline"] == place].unique()) for place in places]
    return [(place, names if len(places) > 1 else "") for place, names in zip(places, owners, strict=True)]


def _limit_bound(table: pd.DataFrame, axes: Axes) -> list[str]:
    """Show where curves differ: the first epochs lie far below and would flatten the rest. What is cut is said."""
    known = table[table["n"] > 0]
    if known.empty:
        return []
    settled = known[known["epoch"] >= round(0.1 * known["epoch"].max())]
    low, high = settled["mean"].min(), settled["mean"].max()
    span = max(high - low, 1e-3)
    # The t interval of two seeds can be wider than everything else: it does not set the scale alone.
    band_low, band_high = settled["low"].fillna(low).min(), settled["high"].fillna(high).max()
    low, high = max(min(low, band_low), low - 0.4 * span), min(max(high, band_high), high + 0.4 * span)
    # A baseline above the curves is always worth its room.
    near = [place for place, _ in _baselines(table) if place >= low - span]
    low, high = min([low, *near]) - 0.05 * span, max([high, *near]) + 0.07 * span
    axes.set_ylim(low, high)
    below = known[known["mean"] < low]
    if below.empty:
        return []
    last = below["epoch"].max()
    return [f"{f'epochs 0 to {last}' if last else 'epoch 0'}, from {below['mean'].min():.4g}"]


def _soft_top(table: pd.DataFrame) -> float:
    mean = float(table["mean"].max())
    return min(float(table["high"].max()), 1.3 * mean) if table["high"].notna().any() else mean


def _label_ends(lines: list[tuple[Line2D, Any]], axes: Axes) -> None:
    """Name every curve at its end, in its colour and behind a piece of its line, without overlap."""
    low, high = axes.get_ylim()
    last = axes.get_xlim()[1]
    points = [np.asarray(line.get_xydata(), float)[-1] for line, _ in lines]
    ends = [float(np.clip((y - low) / (high - low), 0.02, 0.98)) for _, y in points]
    for (line, style), (x, _), end, place in zip(lines, points, ends, _spread(ends), strict=True):
        look: dict[str, Any] = {"color": line.get_color(), "transform": axes.transAxes, "clip_on": False}
        if x < last:
            # A curve that stops early keeps its name.
            axes.add_artist(Line2D([x / last, 1.01], [end, end], linewidth=0.6, linestyle=":", **look))
        axes.add_artist(Line2D([1.01, 1.035], [end, place], linewidth=0.7, **look))
        axes.add_artist(Line2D([1.035, 1.12], [place, place], linewidth=1.5, linestyle=style, **look))
        name = typeset(str(line.get_label())).removesuffix(" epochs")
        axes.text(1.135, place, name, color=line.get_color(), va="center", fontsize=8.5, transform=axes.transAxes)


def _spread(places: list[float], gap: float = 0.075) -> list[float]:
    """The nearest places in the same order that are a gap apart, within [0, 1] if there is room."""
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
