"""Makes the paper's figures of curves: those of one contrast, and curves in panels."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from analysis.averages.one_factor import Cells, Contrast, cell_curves, curves
from analysis.averages.seed_curves import with_seeds
from analysis.figures import curves as figures
from analysis.figures.captions import drawn_labels, evidence, foot, kl_note, lines_in_words, title_with
from analysis.figures.layout import Panel, Sheet
from analysis.figures.looks import RULE, Look, Looks, cell_looks
from analysis.figures.picture import WIDE_MM, Picture, picture
from analysis.loading.study import Study

VALUES = {
    "test_bound": ("Test bound", "bound", figures.bound_curves),
    "active_units": ("Active units", "active-units", figures.active_unit_curves),
}


@dataclass(frozen=True)
class Methods:
    """Cells that are named one by one, and the base that they share."""

    cells: Cells
    base: str


def contrast_cells(study: Study, one: Contrast) -> Cells:
    """Return the cells of a contrast by label; with K = 1, also at a sampled KL where K = 1 has it in closed form."""
    cells = [(study.labels.label_of(one.factor, level), {**one.base, one.factor: level}) for level in one.levels]
    bridge = {**one.base, "k": 1, "objective.kl": "sampled"}
    if one.factor == "k" and 1 in one.levels and one.base.get("objective.kl") == "auto":
        have = study.trials[list(study.cell_factors)].drop_duplicates().to_dict("records")
        cells += [(f"{study.labels.label_of('k', 1)}, sampled KL", bridge)] if bridge in have else []
    return cells


def contrast_looks(study: Study, one: Contrast) -> dict[str, Look]:
    """Return the look of every cell of `contrast_cells`; K = 1 at a sampled KL looks as it does in figures of the KL."""
    cells = contrast_cells(study, one)
    bridge = cells[len(one.levels) :]
    return {**cell_looks(study, cells, one.factor), **cell_looks(study, bridge, "objective.kl")}


def _part(study: Study, part: Contrast | Methods, value: str) -> tuple[pd.DataFrame, Looks, str, str]:
    """Return the table of a part with its seeds, the look of each curve, the base in words, and the note on the KL."""
    if isinstance(part, Methods):
        cells, base, looks = part.cells, part.base, cell_looks(study, part.cells)
    else:
        cells, base, looks = contrast_cells(study, part), part.base_in_words, contrast_looks(study, part)
    if isinstance(part, Contrast) and len(cells) == len(part.levels):
        table = curves(study, part, value)
    else:
        table = cell_curves(study, cells, value)
    return with_seeds(study, table, cells, value), looks, base, kl_note(study, cells)


def curve_picture(study: Study, one: Contrast, value: str, name: str = "", number: str = "") -> Picture:
    """Make the figure of one contrast over epochs; `value` is test_bound or active_units."""
    words, stem, function = VALUES[value]
    table, looks, base, note = _part(study, one, value)
    decoder = one.base.get("decoder")
    title = title_with(study, f"{words} by {study.labels.title_of(one.factor)}", decoder)
    names = drawn_labels(table)
    if value == "test_bound":
        names += [words for _, words in figures.baseline_names(table)]
    panel = Panel(table, partial(function, looks=looks), names=names)
    name = name or f"{stem}-by-{one.factor.replace('.', '-')}" + (f"-{decoder}" if decoder else "")
    parts = [f"{title}, over epochs. Base cell: {base}. {lines_in_words(table)} {RULE}", evidence(table), note]
    if value == "test_bound":
        parts.append("Nats per example on the test images, at beta 1; higher is better.")
        if one.factor == "k":
            parts.append(
                "Each curve shows its own bound L_K, which is tighter for a larger K even if the models are equally good; "
                "to compare models, use the nll in the table of cells."
            )
        if one.factor == "decoder":
            parts.append("Nats of a density are not nats of a probability: compare each decoder with its own baseline.")
    return picture(name, " ".join(filter(None, parts)), table, Sheet(title, [panel], foot(base, table)), number)


def panels_picture(
    study: Study,
    parts: Sequence[tuple[str, Contrast | Methods]],
    value: str,
    name: str,
    number: str,
    decoder: str | None = None,
) -> Picture:
    """Make a figure of curves in panels side by side; each panel shows a contrast, or cells named one by one."""
    words, _, function = VALUES[value]
    panels, tables, said, bases, notes = [], [], [], [], []
    for title, part in parts:
        table, looks, base, note = _part(study, part, value)
        shown = title if len(parts) > 1 else ""
        panels.append(Panel(table, partial(function, looks=looks), shown, drawn_labels(table)))
        tables.append(table.assign(panel=title))
        said.append(f"{title}: base cell {base}; {evidence(table)}")
        bases.append(f"{title.split('  ')[0]}: {base}" if len(parts) > 1 else base)
        notes.append(note)
    whole = pd.concat(tables, ignore_index=True)
    # The note that names a cell to compare with says the most.
    note = max(notes, key=len)
    caption = f"{words} over epochs. {lines_in_words(whole)} {RULE} {' '.join(said)} {note}".strip()
    title = title_with(study, f"{words} over epochs" if len(parts) > 1 else f"{words}: {parts[0][0]}", decoder)
    mm = WIDE_MM if len(panels) > 1 else 142.0
    sheet = Sheet(title, panels, foot("; ".join(bases), whole), default_mm=mm, shares_y=True)
    return picture(name, caption, whole, sheet, number)
