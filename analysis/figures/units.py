"""Draws the units of trained models, largest first: activities with thresholds, or KL in nats."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.figures.curve_names import Curve, Names, name_curves
from analysis.figures.style import GREY, MARKS, SMALL, VEIL, looks
from workers.contract.column import NATS


def activity_spectrum(
    table: pd.DataFrame, axes: Axes, names: Names = "ends", thresholds: Sequence[float] = (0.01, 0.1)
) -> Axes:
    """Draw sorted activities on a logarithmic scale with the usual thresholds, one curve per cell.

    A cliff between the thresholds means that they count the same units.

    Args:
        table: the output of `ranked_units.ranked`: label, rank, mean, low, high, n.
        axes: empty; drawn on and returned.
        names: where the curves are named: at their ends, in a key above, or not at all.
        thresholds: activities at which a line is drawn.
    """
    curves = _ranked(table, axes)
    axes.set_yscale("log")
    known = table[table["n"] > 0]
    if len(known):
        axes.set_ylim(min(float(known["mean"].min()) / 2, min(thresholds) / 3), max(float(known["mean"].max()) * 2, 1))
    for threshold in thresholds:
        axes.axhline(threshold, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1, gid="threshold")
        axes.annotate(
            f"threshold {threshold:g}",
            (0, threshold),
            xycoords=("axes fraction", "data"),
            xytext=(3, -2),
            textcoords="offset points",
            va="top",
            color=GREY,
            fontsize=SMALL,
            bbox=VEIL,
        )
    axes.set_ylabel("activity $A_u$")
    name_curves(curves, axes, names)
    return axes


def kl_spectrum(table: pd.DataFrame, axes: Axes, names: Names = "ends") -> Axes:
    """Draw the sorted KL of the units in nats per example, one curve per cell; the table is that of `activity_spectrum`."""
    curves = _ranked(table, axes)
    known = table[table["n"] > 0]
    axes.set_ylim(0, 1.08 * max(float(known["mean"].max()) if len(known) else 0.0, 0.1))
    axes.set_ylabel(f"KL ({NATS})")
    name_curves(curves, axes, names)
    return axes


def _ranked(table: pd.DataFrame, axes: Axes) -> list[Curve]:
    drawn: list[Curve] = []
    for place, ((label, rows), (colour, style)) in enumerate(zip(table.groupby("label", sort=False), looks(), strict=False)):
        known = rows[rows["n"] > 0]
        if known.empty:
            continue
        axes.fill_between(known["rank"], known["low"], known["high"], color=colour, alpha=0.14, linewidth=0)
        (line,) = axes.plot(
            known["rank"],
            known["mean"],
            color=colour,
            linestyle=style,
            linewidth=1.2,
            marker=MARKS[place % len(MARKS)],
            markersize=2.6,
            label=str(label),
        )
        drawn.append((line, style))
    if not drawn:
        axes.text(0.5, 0.5, "no epoch is stored yet", transform=axes.transAxes, ha="center", color=GREY)
    last = int(table["rank"].max()) if len(table) else 2
    axes.set_xlim(0.5, last + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("latent unit, largest first")
    return drawn
