"""Draws maps, epoch by unit; computes nothing."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.style import SMALL

LOG_RANGE = (-4.0, 0.5)
"""Of log10 activity in every map, so that maps can be compared: from the floor to above any normal unit."""

KL_TOP = 2.0
"""Nats, the upper end of the scale of Sonderby et al. 2016."""


def activity_map(table: pd.DataFrame, axes: Axes) -> Axes:
    """Log-activity, epoch by unit, bright for active; row 1 is the unit that was most active at epoch 1.

    Args:
        table: what `activity.activity_map` gives: epoch, unit, log10_activity.
        axes: empty; drawn on and returned. Its one collection is the mesh that a colour bar needs.
    """
    return _map(table, axes, "log10_activity", LOG_RANGE)


def kl_map(table: pd.DataFrame, axes: Axes, top: float = KL_TOP) -> Axes:
    """KL of each unit in nats up to `top`, epoch by unit, bright for much; rows are those of `activity_map`."""
    return _map(table, axes, "kl", (0.0, top))


def _map(table: pd.DataFrame, axes: Axes, value: str, between: tuple[float, float]) -> Axes:
    wide = table.pivot(index="unit", columns="epoch", values=value).sort_index()
    edges = np.append(wide.columns.to_numpy(float) - 0.5, float(wide.columns.max()) + 0.5)
    rows = np.append(wide.index.to_numpy(float) - 0.5, float(wide.index.max()) + 0.5)
    low, high = between
    axes.pcolormesh(edges, rows, wide.to_numpy(float), cmap="viridis", vmin=low, vmax=high, rasterized=True)
    # Not invert_yaxis: panels that share an axis would turn it back.
    axes.set_ylim(rows[-1], rows[0])
    axes.set_xlabel("epoch")
    axes.set_ylabel("unit (sorted at epoch 1)")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    return axes


def colour_bar(figure: Figure, panel: Axes, room: Axes, threshold: float | None, words: str) -> Axes:
    """One scale for all maps in an axes of its own; with a threshold, that of an active unit is marked on it."""
    mesh = next(item for item in panel.collections if isinstance(item, QuadMesh))
    bar = figure.colorbar(mesh, cax=room, extend="both" if threshold is not None else "max")
    bar.set_label(words)
    if threshold is None:
        return bar.ax
    level = float(np.log10(threshold))
    bar.ax.axhline(level, color="white", linewidth=1.4)
    bar.ax.annotate(
        f"active: > {threshold:g}",
        (0.5, level),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        fontsize=SMALL,
        rotation=90,
    )
    return bar.ax
