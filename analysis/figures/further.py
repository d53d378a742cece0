"""Makes the figures that the paper does not have: spectra, thresholds, pruning, layers and effects."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd

from analysis.averages import marginal_means as marginal
from analysis.averages.active_units import THRESHOLDS
from analysis.averages.activity_map import FLOOR
from analysis.averages.average import select
from analysis.averages.crossed import crossed_in_words, crossed_part
from analysis.averages.one_factor import Cells, cell_curves, usual_base
from analysis.averages.pruning import OFF, ON, event_counts, pruning
from analysis.averages.ranked_units import ranked
from analysis.averages.seed_curves import interval_or_seeds, ranked_with_seeds, with_seeds
from analysis.figures import curves as figures
from analysis.figures import effects, units
from analysis.figures.captions import (
    drawn_labels,
    evidence,
    foot,
    kl_note,
    lines_in_words,
    methods_base,
    points_in_words,
    title_with,
)
from analysis.figures.layout import Panel, Sheet
from analysis.figures.looks import LEVEL_RULE, RULE, Look, cell_looks, level_looks
from analysis.figures.picture import WIDE_MM, Picture, picture
from analysis.loading.labels import measure_in_words
from analysis.loading.study import Study

_ALL = (-math.inf, math.inf)

_AROUND = ("bars", "small points", "Cells")
"""How intervals and seeds are drawn around single means, and what the small print calls the cells pooled in them."""


def thresholds_picture(study: Study, cells: Cells, decoder: str, name: str) -> Picture | None:
    """Make the figure of active units over epochs at several thresholds, one panel per cell."""
    if study.epochs.empty:
        return None
    panels, tables = [], []
    for title, cell in cells:
        parts = []
        for one in THRESHOLDS:
            cells_at = [(f"> {one:g}", cell)]
            part = cell_curves(study, cells_at, "active_units", threshold=one)
            parts.append(with_seeds(study, part, cells_at, "active_units", threshold=one))
        table = pd.concat(parts, ignore_index=True)
        panels.append(Panel(table, _units_at_any, title, drawn_labels(table)))
        tables.append(table.assign(panel=title))
    whole = pd.concat(tables, ignore_index=True)
    base = methods_base(study, usual_base(study, "k", decoder))
    caption = (
        f"Active units over epochs at the activity thresholds {', '.join(map(str, THRESHOLDS))}, counted from the stored "
        f"vectors. Where the curves coincide, the choice of threshold does not matter. Base cell: {base}. "
        f"{lines_in_words(whole)} {evidence(whole)} {kl_note(study, cells)}"
    ).strip()
    title = title_with(study, "Active units at several thresholds", decoder)
    return picture(name, caption, whole, Sheet(title, panels, foot(base, whole), default_mm=WIDE_MM, shares_y=True))


def _units_at_any(table: pd.DataFrame, axes: Any, names: Any = "ends") -> Any:
    figures.active_unit_curves(table, axes, names)
    axes.set_ylabel("units with activity above")
    return axes


def spectrum_picture(study: Study, cells: Cells, decoder: str, name: str, column: str) -> Picture | None:
    """Make the figure of the sorted units of trained models, one curve per cell: activity, or KL in nats."""
    table = ranked_with_seeds(study, ranked(study, cells, column), cells, column)
    if not (table["n"] > 0).any():
        return None
    base = methods_base(study, usual_base(study, "k", decoder))
    is_activity = column == "activity"
    thresholds = tuple(dict.fromkeys(sorted((0.01, 0.1, study.threshold))))
    looks = cell_looks(study, cells)
    draw = partial(units.kl_spectrum, looks=looks)
    names = drawn_labels(table)
    if is_activity:
        draw = partial(units.activity_spectrum, thresholds=thresholds, looks=looks)
        names += [units.threshold_name(one) for one in thresholds]
    title = "Activity spectrum of trained models" if is_activity else "KL per latent unit of trained models"
    title = title_with(study, title, decoder)
    what = (
        "Activities of the latent units of trained models, sorted within each seed; mean over seeds of the logarithm "
        f"(floor {FLOOR:g}). A cliff between the thresholds means that they count the same units; a slope means that they "
        "do not."
        if is_activity
        else "KL from q(z|x) to the prior for each latent unit of trained models, sorted within each seed; mean over the "
        "fixed training images and over seeds."
    )
    caption = (
        f"{what} At epoch {int(table['epoch'].max())}. Base cell: {base}. {lines_in_words(table)} {RULE} {evidence(table)} "
        f"{kl_note(study, cells)}"
    ).strip()
    sheet = Sheet(title, [Panel(table, draw, names=names)], foot(base, table))
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
        counts = {label: event_counts(study, cell, event) for label, cell in cells}
        table = with_seeds(study, pruning(study, cells, event), cells, counts)
        panels.append(Panel(table, partial(draw, looks=cell_looks(study, cells)), title, drawn_labels(table)))
        tables.append(table.assign(panel=title, event=event))
    whole = pd.concat(tables, ignore_index=True)
    base = methods_base(study, usual_base(study, "k", decoder))
    caption = (
        f"Pruning with hysteresis: a unit is on once its activity passes {ON:g} and off once it falls below {OFF:g}; in "
        "between it keeps its state. Events are counted over all units up to each epoch; only a unit that was switched off "
        "can come back. "
        f"Base cell: {base}. {lines_in_words(whole)} {RULE} {evidence(whole)} "
        f"{kl_note(study, cells)}"
    ).strip()
    title = title_with(study, "Pruning and reactivation of latent units", decoder)
    return picture(name, caption, whole, Sheet(title, panels, foot(base, whole), default_mm=WIDE_MM))


def layers_picture(study: Study, cells: Cells, decoder: str, name: str) -> Picture | None:
    """Make the figure of active units over epochs in every stochastic layer; None if all models have one layer."""
    depth = {title: len(_sizes(study, cell)) for title, cell in cells}
    if study.epochs.empty or max(depth.values()) < 2:
        return None
    panels, tables = [], []
    for title, cell in cells:
        sizes = _sizes(study, cell)
        parts = []
        for layer, size in enumerate(sizes, 1):
            cells_at = [(f"layer {layer} of {size}", cell)]
            part = cell_curves(study, cells_at, "active_units", layer=layer)
            parts.append(with_seeds(study, part, cells_at, "active_units", layer=layer))
        table = pd.concat(parts, ignore_index=True)
        panels.append(Panel(table, figures.active_unit_curves, title, drawn_labels(table)))
        tables.append(table.assign(panel=title))
    whole = pd.concat(tables, ignore_index=True)
    base = methods_base(study, usual_base(study, "k", decoder))
    caption = (
        f"Active units of every stochastic layer over epochs; layer 1 is next to the data. Base cell: {base}. "
        f"{lines_in_words(whole)} {evidence(whole)} {kl_note(study, cells)}"
    ).strip()
    title = title_with(study, "Active units by stochastic layer", decoder)
    sheet = Sheet(title, panels, foot(base, whole), default_mm=WIDE_MM if len(panels) > 1 else 142.0, shares_y=True)
    return picture(name, caption, whole, sheet)


def effects_picture(study: Study, decoder: str, name: str) -> Picture | None:
    """Make the figure of the main effects of all factors on nll and active units."""
    panels, tables = [], []
    for letter, value in (("a", "nll"), ("b", "active_units")):
        table = marginal.main_effects(study, decoder, value)
        if len(table) and table["n"].gt(0).any():
            table = interval_or_seeds(table)
            options = {
                "value": measure_in_words(value),
                "looks": _looks_of_short(study, table),
                **_range(study, decoder, value),
            }
            panels.append(Panel(table, effects.main_effects, "", (), options, above=effects.height_of_titles))
            tables.append(table.assign(panel=letter, value=value))
    if not panels:
        return None
    whole = pd.concat(tables, ignore_index=True)
    base = _pooled_base(study, decoder)
    caption = (
        f"Main effects: for every level, the mean over all cells that have it, at the last planned epoch; {base}. A seed "
        f"counts only if it has all of these cells. Dashed: mean of all cells. A lower nll is better. "
        f"{points_in_words(whole)} {LEVEL_RULE} {evidence(whole, 'level')} {_pooled_note(study, decoder)}"
    ).strip()
    # The names of factors above and the tilted levels below need more room.
    sheet = Sheet(
        title_with(study, "Main effects of the factors", decoder),
        panels,
        foot(base, whole, *_AROUND),
        columns=1,
        bottom=44.0,
        ratio=0.42,
        default_mm=WIDE_MM,
    )
    return picture(name, caption, whole, sheet)


def interactions_picture(study: Study, decoder: str, name: str, value: str) -> Picture | None:
    """Make the figure of the mean of every pair of levels, one panel per pair of factors."""
    words = measure_in_words(value)
    found = marginal.interactions(study, decoder, value)
    pairs = [(title, interval_or_seeds(table)) for title, table in found if table["n"].gt(0).any()]
    if not pairs:
        return None
    looks = {label: look for name in study.cell_factors for label, look in level_looks(study, name).items()}
    options = {"value": words, "looks": looks, **_range(study, decoder, value)}
    panels = [
        Panel(table, effects.interaction, "", drawn_labels(table), options, str(table["x_title"].iloc[0]))
        for _, table in pairs
    ]
    whole = pd.concat([table.assign(panel=title) for title, table in pairs], ignore_index=True)
    base = _pooled_base(study, decoder)
    caption = (
        f"Interactions: mean {words} for every pair of levels, over all cells that have both, at the last planned "
        f"epoch; {base}. Parallel lines mean that the effect of one factor does not depend on the other. "
        f"{points_in_words(whole)} {LEVEL_RULE} {evidence(whole, 'point')} {_pooled_note(study, decoder)}"
    ).strip()
    title = title_with(study, f"Interactions of the factors: {words.split(' (')[0]}", decoder)
    small = foot(base, whole, *_AROUND)
    sheet = Sheet(title, panels, small, columns=3 if len(panels) > 2 else 2, default_mm=WIDE_MM, shares_y=True)
    return picture(name, caption, whole, sheet)


def _range(study: Study, decoder: str, value: str) -> dict[str, Any]:
    """Return where a measure can lie, and the least difference that fills its axis."""
    if value != "active_units":
        return {"between": _ALL, "least": figures.LEAST_NATS}
    trials = select(study, crossed_part(study, decoder))
    return {"between": (0.0, float(max(sum(sizes) for sizes in trials["layer_sizes"]))), "least": 1.0}


def _looks_of_short(study: Study, table: pd.DataFrame) -> dict[str, dict[str, Look]]:
    """Return the look of every level of a table of main effects by the title of its factor and its label there."""
    found: dict[str, dict[str, Look]] = {}
    for row in table.to_dict("records"):
        look = level_looks(study, row["factor"])[study.labels.label_of(row["factor"], row["level"])]
        found.setdefault(row["title"], {})[row["label"]] = look
    return found


def _pooled_base(study: Study, decoder: str) -> str:
    """Describe the cells that main effects and interactions pool."""
    name = f"{study.labels.label_of('decoder', decoder)} decoder"
    if part := crossed_in_words(study, crossed_part(study, decoder)):
        return f"{name}, all its crossed cells ({part}) with equal weight"
    return f"{name}, all its cells with equal weight"


def _pooled_note(study: Study, decoder: str) -> str:
    at = crossed_part(study, decoder)
    levels = select(study, at)["k"].unique().tolist()
    return kl_note(study, [(study.labels.label_of("k", k), {**at, "k": k}) for k in levels])


def _sizes(study: Study, cell: Mapping[str, Any]) -> tuple[int, ...]:
    trials = study.trials
    for factor, level in cell.items():
        trials = trials[[one == level for one in trials[factor]]]
    sizes: tuple[int, ...] = trials["layer_sizes"].iloc[0]
    return sizes
