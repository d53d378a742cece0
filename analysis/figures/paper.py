"""Makes the figures of the paper: curves of one contrast, curves in panels, and maps of units."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.averages.activity_map import FLOOR, activity_map
from analysis.averages.one_factor import Cells, Contrast, cell_curves, curves, usual_base
from analysis.figures import curves as figures
from analysis.figures import maps as map_figures
from analysis.figures.captions import absent, drawn_labels, evidence, foot, methods_base, n_text
from analysis.figures.layout import Bar, Panel, Sheet
from analysis.figures.picture import WIDE_MM, Picture, picture
from analysis.loading.labels import INTERVAL
from analysis.loading.study import Study
from workers.contract.column import NATS

VALUES = {
    "test_bound": ("Test bound", "bound", figures.bound_curves),
    "active_units": ("Active units", "active-units", figures.active_unit_curves),
}


@dataclass(frozen=True)
class Methods:
    """Cells that are named one by one, and the base that they share."""

    cells: Cells
    base: str


def curve_picture(study: Study, one: Contrast, value: str, name: str = "", number: str = "") -> Picture:
    """Make the figure of one contrast over epochs; `value` is test_bound or active_units."""
    words, stem, function = VALUES[value]
    table = curves(study, one, value)
    title = f"{words} by {study.labels.title_of(one.factor)}"
    panel = Panel(table, function, names=drawn_labels(table))
    base = one.base_in_words
    decoder = one.base.get("decoder")
    name = name or f"{stem}-by-{one.factor.replace('.', '-')}" + (f"-{decoder}" if decoder else "")
    parts = [f"{title}, over epochs. Base cell: {base}. Lines: mean over seeds; bands: {INTERVAL}.", evidence(table)]
    if value == "test_bound":
        parts.append("Nats per example on the test images, at beta 1; higher is better.")
        if one.factor == "k":
            parts.append(
                "Each curve shows its own bound L_K, which is tighter for a larger K even if the models are equally good; "
                "to compare models, use the nll in the table of cells."
            )
        if one.factor == "decoder":
            parts.append("Nats of a density are not nats of a probability: compare each decoder with its own baseline.")
    return picture(name, " ".join(parts), table, Sheet(title, [panel], foot(base, table)), number)


def panels_picture(
    study: Study, parts: Sequence[tuple[str, Contrast | Methods]], value: str, name: str, number: str
) -> Picture:
    """Make a figure of curves in panels side by side; each panel shows a contrast, or cells named one by one."""
    words, _, function = VALUES[value]
    panels, tables, said, bases = [], [], [], []
    for title, part in parts:
        if isinstance(part, Contrast):
            table, base = curves(study, part, value), part.base_in_words
        else:
            table, base = cell_curves(study, part.cells, value), part.base
        panels.append(Panel(table, function, title, drawn_labels(table)))
        tables.append(table.assign(panel=title))
        said.append(f"{title}: base cell {base}; {evidence(table)}")
        bases.append(f"{title.split('  ')[0]}: {base}" if len(parts) > 1 else base)
    whole = pd.concat(tables, ignore_index=True)
    caption = f"{words} over epochs. Lines: mean over seeds; bands: {INTERVAL}. {' '.join(said)}"
    if len(parts) == 1:
        panels = [Panel(panels[0].table, function, "", panels[0].names)]
    title = f"{words} over epochs" if len(parts) > 1 else f"{words}: {parts[0][0]}"
    sheet = Sheet(title, panels, foot("; ".join(bases), whole), default_mm=WIDE_MM if len(panels) > 1 else 142.0)
    return picture(name, caption, whole, sheet, number)


def map_picture(study: Study, cells: Cells, decoder: str, name: str, number: str = "", kl: bool = False) -> Picture | None:
    """Make maps of single cells, epoch by unit: log-activity, or KL in nats; None if nothing is stored."""
    maps = [(title, activity_map(study, cell)) for title, cell in cells]
    maps = [(title, table) for title, table in maps if len(table)]
    if not maps:
        return None
    base = methods_base(study, usual_base(study, "k", decoder))
    function = map_figures.kl_map if kl else map_figures.activity_map
    whole = pd.concat([table.assign(panel=title, label=title) for title, table in maps], ignore_index=True)
    # All panels share the scale of trained models: before training a unit's KL can have any size.
    end = whole[whole["epoch"] == whole["epoch"].max()]
    options = {"top": float(min(max(end["kl"].max(), 0.1), map_figures.KL_TOP))} if kl else {}
    panels = [Panel(table, function, f"{title}  (n = {n_text(table)})", (), options) for title, table in maps]
    what = "KL of every latent unit" if kl else "Activity of every latent unit"
    colour = (
        "mean over seeds of the KL to the prior, in nats per example"
        if kl
        else f"mean over seeds of log10 activity (floor {FLOOR:g}), which is the logarithm of the geometric mean"
    )
    caption = (
        f"{what} over epochs. Base cell: {base}; batch norm and warm-up are each added alone. Colour: {colour}. Units are "
        "sorted within each seed by their activity at epoch 1, before seeds are averaged. "
        + f"Panels: {'; '.join(f'{title} (n = {n_text(table)})' for title, table in maps)}."
    )
    if gone := absent(whole):
        caption += f" Missing: {gone}."
    bar = Bar(f"KL ({NATS})", None) if kl else Bar("log10 activity, mean over seeds", study.threshold)
    sorting = "rows: units, sorted within each seed by their activity at epoch 1"
    title = what if len(maps) > 1 else f"{what}: {maps[0][0]}"
    sheet = Sheet(
        title, panels, foot(base, whole, sorting), bar, ratio=0.8, default_mm=WIDE_MM if len(panels) > 1 else 110.0
    )
    return picture(name, caption, whole, sheet, number)
