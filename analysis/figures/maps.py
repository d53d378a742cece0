"""Draws maps of activity and KL, epoch by unit."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.style import SMALL

LOG_RANGE = (-4.0, 0.5)
"""Range of log10 activity in every map, so that maps can be compared: from the floor to above any normal unit."""

KL_TOP = 2.0
"""Nats per example, the upper end of the scale in Sonderby et al. 2016."""


def activity_map(table: pd.DataFrame, axes: Axes) -> Axes:
    """Draw log-activity, epoch by unit, with active units bright; row 1 is the unit that was most active at epoch 1.

    Args:
        table: the output of `averages.activity_map.activity_map`: epoch, unit, log10_activity.
        axes: empty; drawn on and returned. Their one collection is the mesh that a colour bar needs.
    """
    return _map(table, axes, "log10_activity", LOG_RANGE)


def kl_map(table: pd.DataFrame, axes: Axes, top: float = KL_TOP) -> Axes:
    """Draw the KL of each unit, up to `top` nats, epoch by unit, large values bright; rows as in `activity_map`."""
    return _map(table, axes, "kl", (0.0, top))


def _map(table: pd.DataFrame, axes: Axes, value: str, between: tuple[float, float]) -> Axes:
    wide = table.pivot(index="unit", columns="epoch", values=value).sort_index()
    edges = np.append(wide.columns.to_numpy(float) - 0.5, float(wide.columns.max()) + 0.5)
    rows = np.append(wide.index.to_numpy(float) - 0.5, float(wide.index.max()) + 0.5)
    low, high = between
    axes.pcolormesh(edges, rows, wide.to_numpy(float), cmap="viridis", vmin=low, vmax=high, rasterized=True)
    # Not invert_yaxis: panels that share an axis would invert it twice.
    axes.set_ylim(rows[-1], rows[0])
    axes.set_xlabel("epoch")
    axes.set_ylabel("unit (sorted at epoch 1)")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    return axes


def colour_bar(figure: Figure, panel: Axes, room: Axes, threshold: float | None, words: str) -> Axes:
    """Draw one colour scale for all maps into `room`; with a threshold, mark where a unit counts as active."""
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
