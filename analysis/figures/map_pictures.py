"""Makes maps of single cells, epoch by unit: the paper's figure 3.3, and the same of the KL."""

from functools import partial

import pandas as pd

from analysis.averages.activity_map import FLOOR, activity_map, map_seed, passed_over
from analysis.averages.average import select
from analysis.averages.one_factor import Cells, usual_base
from analysis.figures import maps
from analysis.figures.captions import kl_note, methods_base, title_with
from analysis.figures.layout import Bar, Panel, Sheet
from analysis.figures.picture import WIDE_MM, Picture, picture
from analysis.loading.study import Study
from workers.contract.column import NATS


def map_picture(study: Study, cells: Cells, decoder: str, name: str, number: str = "", kl: bool = False) -> Picture | None:
    """Make maps of one seed, one panel per cell: log-activity, or KL in nats; None if nothing is stored."""
    seed = map_seed(study, cells)
    if seed is None:
        return None
    tables = [activity_map(study, cell, seed).assign(panel=title, label=title) for title, cell in cells]
    tables = [table for table in tables if len(table)]
    count = len(study.factors["seed"])
    which = f"seed {seed}, one of {count}" if count > 1 else f"seed {seed}"
    over = passed_over(study, cells, seed)
    said = (
        "One seed is shown, the lowest one that completed in the cells of all panels, as units of different seeds have no "
        f"common order; the option --figure {'kl-map' if kl else '3.3'}-seeds draws every seed."
    )
    return _picture(study, tables, cells, decoder, name, number, kl, which, said, over)


def seeds_picture(study: Study, cells: Cells, decoder: str, name: str, number: str = "", kl: bool = False) -> Picture | None:
    """Make maps of every seed, one panel per cell and seed; None if nothing is stored."""
    tables = []
    for title, cell in cells:
        for seed in study.factors["seed"]:
            if seed in select(study, cell)["seed"].tolist():
                table = activity_map(study, cell, seed)
                tables.append(table.assign(panel=f"{title}, seed {seed}", label=title))
    tables = [table for table in tables if len(table)]
    if not tables:
        return None
    over = passed_over(study, cells, max(study.factors["seed"]))
    return _picture(study, tables, cells, decoder, name, number, kl, "every seed", "One panel per cell and seed.", over)


def _picture(
    study: Study,
    tables: list[pd.DataFrame],
    cells: Cells,
    decoder: str,
    name: str,
    number: str,
    kl: bool,
    which: str,
    said: str,
    missing: str,
) -> Picture:
    whole = pd.concat(tables, ignore_index=True)
    usual = usual_base(study, "k", decoder)
    base = methods_base(study, usual)
    what = "KL of every latent unit" if kl else "Activity of every latent unit"
    # All panels share the scale of trained models: before training a unit's KL can have any size.
    end = whole[whole["epoch"] == whole["epoch"].max()]
    top = float(min(max(end["kl"].max(), 0.1), maps.KL_TOP))
    function = partial(maps.kl_map, top=top) if kl else maps.activity_map
    titles = [str(table["panel"].iloc[0]) for table in tables]
    is_added = any(cell[factor] != usual[factor] for _, cell in cells for factor in ("batch_norm", "warmup"))
    added = "; batch norm and warm-up are each added alone" if is_added else ""
    colour = "the KL to the prior, in nats per example" if kl else f"log10 activity (floor {FLOOR:g})"
    parts = [
        f"{title_with(study, what, decoder)}, over epochs: {which}. Base cell: {base}{added}. Colour: {colour}. {said} "
        "Units are sorted within each panel by their activity at epoch 1. Panels: "
        f"{'; '.join(titles)}.",
        f"Missing or incomplete: {missing}." if missing else "",
        kl_note(study, cells),
    ]
    foot = f"Base: {base}\n{which[0].upper()}{which[1:]}; rows: units, sorted by their activity at epoch 1"
    is_single = len(tables) == 1
    sheet = Sheet(
        f"{title_with(study, f'{what}: {titles[0]}' if is_single else what, decoder)}, {which}",
        [Panel(table, function, "" if is_single else title) for table, title in zip(tables, titles, strict=True)],
        foot + (f"\nMissing or incomplete: {missing}" if missing else ""),
        Bar(f"KL ({NATS})", None) if kl else Bar("log10 activity", study.threshold),
        columns=3 if which == "every seed" and len(study.factors["seed"]) > 2 else 2,
        ratio=0.8,
        default_mm=110.0 if is_single else WIDE_MM,
    )
    return picture(name, " ".join(filter(None, parts)), whole, sheet, number)
