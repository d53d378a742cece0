"""Makes the figures that the paper does not have: spectra, thresholds, pruning, layers and effects."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd

from analysis.averages import marginal_means as marginal
from analysis.averages.active_units import THRESHOLDS
from analysis.averages.activity_map import FLOOR
from analysis.averages.one_factor import Cells, cell_curves, usual_base
from analysis.averages.pruning import OFF, ON, pruning
from analysis.averages.ranked_units import ranked
from analysis.figures import curves as figures
from analysis.figures import effects, units
from analysis.figures.captions import drawn_labels, evidence, foot, methods_base
from analysis.figures.layout import Panel, Sheet
from analysis.figures.picture import WIDE_MM, Picture, picture
from analysis.loading.labels import INTERVAL, measure_in_words
from analysis.loading.study import Study

LINES = f"Lines: mean over seeds; bands: {INTERVAL}."


def thresholds_picture(study: Study, cells: Cells, decoder: str, name: str) -> Picture | None:
    """Make the figure of active units over epochs at several thresholds, one panel per cell."""
    if study.epochs.empty:
        return None
    panels, tables = [], []
    for title, cell in cells:
        parts = [cell_curves(study, [(f"> {one:g}", cell)], "active_units", threshold=one) for one in THRESHOLDS]
        table = pd.concat(parts, ignore_index=True)
        panels.append(Panel(table, _units_at_any, title, drawn_labels(table)))
        tables.append(table.assign(panel=title))
    whole = pd.concat(tables, ignore_index=True)
    base = methods_base(study, usual_base(study, "k", decoder))
    caption = (
        f"Active units over epochs at the activity thresholds {', '.join(map(str, THRESHOLDS))}, counted from the stored "
        f"vectors. Where the curves coincide, the choice of threshold does not matter. Base cell: {base}. {LINES} "
        + evidence(whole)
    )
    title = "Active units at several thresholds"
    return picture(name, caption, whole, Sheet(title, panels, foot(base, whole), default_mm=WIDE_MM, shares_y=True))


def _units_at_any(table: pd.DataFrame, axes: Any, names: Any = "ends") -> Any:
    figures.active_unit_curves(table, axes, names)
    axes.set_ylabel("units with activity above")
    return axes


def spectrum_picture(study: Study, cells: Cells, decoder: str, name: str, column: str) -> Picture | None:
    """Make the figure of the sorted units of trained models, one curve per cell: activity, or KL in nats."""
    table = ranked(study, cells, column)
    if not (table["n"] > 0).any():
        return None
    base = methods_base(study, usual_base(study, "k", decoder))
    is_activity = column == "activity"
    thresholds = tuple(dict.fromkeys(sorted((0.01, 0.1, study.threshold))))
    draw = partial(units.activity_spectrum, thresholds=thresholds) if is_activity else units.kl_spectrum
    title = "Activity spectrum of trained models" if is_activity else "KL per latent unit of trained models"
    what = (
        "Activities of the latent units of trained models, sorted within each seed; mean over seeds of the logarithm "
        f"(floor {FLOOR:g}). A cliff between the thresholds means that they count the same units; a slope means that they "
        "do not."
        if is_activity
        else "KL from q(z|x) to the prior for each latent unit of trained models, sorted within each seed; mean over the "
        "fixed training images and over seeds."
    )
    caption = f"{what} At epoch {int(table['epoch'].max())}. Base cell: {base}. {LINES} {evidence(table)}"
    sheet = Sheet(title, [Panel(table, draw, names=drawn_labels(table))], foot(base, table))
    return picture(name, caption, table, sheet)


def pruning_picture(study: Study, cells: Cells, decoder: str, name: str) -> Picture | None:
    """Make the figure of units switched off so far and of units that came back, one curve per cell."""
    if study.epochs.empty:
        return None
    panels, tables = [], []
    for title, event, draw in (
        ("a  switched off", "switched_off", figures.pruned_curves),
        ("b  came back", "came_back", figures.reactivated_curves),
    ):
        table = pruning(study, cells, event)
        panels.append(Panel(table, draw, title, drawn_labels(table)))
        tables.append(table.assign(panel=title, event=event))
    whole = pd.concat(tables, ignore_index=True)
    base = methods_base(study, usual_base(study, "k", decoder))
    caption = (
        f"Pruning with hysteresis: a unit is on once its activity passes {ON:g} and off once it falls below {OFF:g}; in "
        "between it keeps its state. Events are counted over all units up to each epoch; only a unit that was switched off "
        "can come back. "
        f"Base cell: {base}. {LINES} {evidence(whole)}"
    )
    title = "Pruning and reactivation of latent units"
    return picture(name, caption, whole, Sheet(title, panels, foot(base, whole), default_mm=WIDE_MM))


def layers_picture(study: Study, cells: Cells, decoder: str, name: str) -> Picture | None:
    """Make the figure of active units over epochs in every stochastic layer; None if all models have one layer."""
    depth = {title: len(_sizes(study, cell)) for title, cell in cells}
    if study.epochs.empty or max(depth.values()) < 2:
        return None
    panels, tables = [], []
    for title, cell in cells:
        sizes = _sizes(study, cell)
        parts = [
            cell_curves(study, [(f"layer {layer} of {size}", cell)], "active_units", layer=layer)
            for layer, size in enumerate(sizes, 1)
        ]
        table = pd.concat(parts, ignore_index=True)
        panels.append(Panel(table, figures.active_unit_curves, title, drawn_labels(table)))
        tables.append(table.assign(panel=title))
    whole = pd.concat(tables, ignore_index=True)
    base = methods_base(study, usual_base(study, "k", decoder))
    caption = (
        f"Active units of every stochastic layer over epochs; layer 1 is next to the data. Base cell: {base}. {LINES} "
        + evidence(whole)
    )
    title = "Active units by stochastic layer"
    sheet = Sheet(title, panels, foot(base, whole), default_mm=WIDE_MM if len(panels) > 1 else 142.0)
    return picture(name, caption, whole, sheet)


def effects_picture(study: Study, decoder: str, name: str) -> Picture | None:
    """Make the figure of the main effects of all factors on nll and active units."""
    panels, tables = [], []
    for letter, value in (("a", "nll"), ("b", "active_units")):
        table = marginal.main_effects(study, decoder, value)
        if len(table) and table["n"].gt(0).any():
            panels.append(Panel(table, effects.main_effects, "", (), {"value": measure_in_words(value)}, above=10.0))
            tables.append(table.assign(panel=letter, value=value))
    if not panels:
        return None
    whole = pd.concat(tables, ignore_index=True)
    base = f"{study.labels.label_of('decoder', decoder)} decoder, all its cells with equal weight"
    caption = (
        f"Main effects: for every level, the mean over all cells that have it, at the last planned epoch; {base}. A seed "
        f"counts only if it has all of these cells. Dashed: mean of all cells. A lower nll is better. Bars: {INTERVAL}. "
        f"{evidence(whole, 'level')}"
    )
    # The names of factors above and the tilted levels below need more room.
    sheet = Sheet(
        "Main effects of the factors",
        panels,
        foot(base, whole, f"bars: {INTERVAL}"),
        columns=1,
        bottom=44.0,
        ratio=0.42,
        default_mm=WIDE_MM,
    )
    return picture(name, caption, whole, sheet)


def interactions_picture(study: Study, decoder: str, name: str, value: str) -> Picture | None:
    """Make the figure of the mean of every pair of levels, one panel per pair of factors."""
    words = measure_in_words(value)
    pairs = [(title, table) for title, table in marginal.interactions(study, decoder, value) if table["n"].gt(0).any()]
    if not pairs:
        return None
    panels = [
        Panel(table, effects.interaction, "", drawn_labels(table), {"value": words}, str(table["x_title"].iloc[0]))
        for _, table in pairs
    ]
    whole = pd.concat([table.assign(panel=title) for title, table in pairs], ignore_index=True)
    base = f"{study.labels.label_of('decoder', decoder)} decoder, all its cells with equal weight"
    caption = (
        f"Interactions: mean {words} for every pair of levels, over all cells that have both, at the last planned "
        f"epoch; {base}. Parallel lines mean that the effect of one factor does not depend on the other. Bars: {INTERVAL}. "
        f"{evidence(whole, 'point')}"
    )
    title = f"Interactions of the factors: {words.split(' (')[0]}"
    small = foot(base, whole, f"bars: {INTERVAL}")
    sheet = Sheet(title, panels, small, columns=3 if len(panels) > 2 else 2, default_mm=WIDE_MM, shares_y=True)
    return picture(name, caption, whole, sheet)


def _sizes(study: Study, cell: Mapping[str, Any]) -> tuple[int, ...]:
    trials = study.trials
    for factor, level in cell.items():
        trials = trials[[one == level for one in trials[factor]]]
    sizes: tuple[int, ...] = trials["layer_sizes"].iloc[0]
    return sizes
