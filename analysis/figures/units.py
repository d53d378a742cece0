"""Draws the units of trained models, largest first: activities with thresholds, or KL in nats."""

from collections.abc import Sequence
from itertools import cycle

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.averages.seed_curves import seed_columns
from analysis.figures.curve_names import DASHED, DOTTED, Curve, Names, name_curves, reference, thin_lines
from analysis.figures.looks import Looks, chosen_looks
from analysis.figures.style import GREY
from workers.contract.column import NATS


def activity_spectrum(
    table: pd.DataFrame,
    axes: Axes,
    names: Names = "ends",
    thresholds: Sequence[float] = (0.01, 0.1),
    looks: Looks | None = None,
) -> Axes:
    """Draw sorted activities on a logarithmic scale with the usual thresholds, one curve per cell.

    A cliff between the thresholds means that they count the same units.

    Args:
        table: the output of `ranked_units.ranked`: label, rank, mean, low, high, n.
        axes: empty; drawn on and returned.
        names: where the curves are named: at their ends, in a key above, or not at all.
        thresholds: activities at which a line is drawn.
        looks: the look of every label; None: one after the other.
    """
    curves = _ranked(table, axes, looks)
    axes.set_yscale("log")
    known = table[table["n"] > 0]
    if len(known):
        seeds = known[["mean", *seed_columns(known)]]
        axes.set_ylim(min(float(seeds.min().min()) / 2, min(thresholds) / 3), max(float(seeds.max().max()) * 2, 1))
    for threshold, style in zip(thresholds, cycle((DOTTED, DASHED)), strict=False):
        curves.append(reference(axes, axes.get_xlim(), threshold, threshold_name(threshold), style, "threshold"))
    axes.set_ylabel("activity $A_u$")
    name_curves(curves, axes, names)
    return axes


def threshold_name(threshold: float) -> str:
    """Return the name under which a threshold is drawn."""
    return f"threshold {threshold:g}"


def kl_spectrum(table: pd.DataFrame, axes: Axes, names: Names = "ends", looks: Looks | None = None) -> Axes:
    """Draw the sorted KL of the units in nats per example, one curve per cell; the table is that of `activity_spectrum`."""
    curves = _ranked(table, axes, looks)
    known = table[table["n"] > 0]
    seeds = known[["mean", *seed_columns(known)]]
    top = max(float(seeds.max().max()) if len(known) else 0.0, 0.1)
    axes.set_ylim(-0.03 * top, 1.08 * top)
    axes.set_ylabel(f"KL ({NATS})")
    name_curves(curves, axes, names)
    return axes


def _ranked(table: pd.DataFrame, axes: Axes, looks: Looks | None) -> list[Curve]:
    drawn: list[Curve] = []
    chosen = chosen_looks(table["label"], looks)
    for label, rows in table.groupby("label", sort=False):
        known = rows[rows["n"] > 0]
        if known.empty:
            continue
        look = chosen[str(label)]
        if known["low"].notna().any():
            low = known["low"].clip(lower=0.0)
            axes.fill_between(known["rank"], low, known["high"], color=look.colour, alpha=0.14, linewidth=0)
        thin_lines(known, "rank", axes, look.colour)
        (line,) = axes.plot(
            known["rank"],
            known["mean"],
            color=look.colour,
            linestyle=look.line,
            linewidth=1.2,
            marker=look.mark,
            markersize=2.6,
            label=str(label),
        )
        drawn.append((line, look.line))
    if not drawn:
        axes.text(0.5, 0.5, "no epoch is stored yet", transform=axes.transAxes, ha="center", color=GREY)
    last = int(table["rank"].max()) if len(table) else 2
    axes.set_xlim(0.5, last + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("latent unit, largest first")
    return drawn
