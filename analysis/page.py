"""The report as one HTML page that needs nothing else: no script, no font, no request; computes and writes nothing."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from analysis.cells import MEASURES
from analysis.labels import label_of, title_of
from analysis.load import Study
from analysis.pictures import Picture

_OPEN_ROWS = 12
"""Longer lists of missing trials start folded."""

_NONE = "\u2013"

_CSS = """
:root{color-scheme:light}
body{font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:#1a1a1a;background:#fff;max-width:76rem;
margin:0 auto;padding:1rem}
h1{font-size:1.7rem;margin:.4rem 0}h2{font-size:1.25rem;margin:2.2rem 0 .6rem;border-bottom:1px solid #ddd}
p.lead{color:#444;margin:.2rem 0 1rem}
.state{padding:.7rem 1rem;border-left:6px solid #009E73;background:#eef8f4;margin:1rem 0}
.state.open{border-color:#D55E00;background:#fdf1e8;font-weight:600}
.pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));gap:1.2rem}
figure{margin:0;break-inside:avoid}figure img{width:100%;height:auto}
figcaption{font-size:.85rem;color:#333}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .6rem;text-align:left;border-bottom:1px solid #e5e5e5;vertical-align:top}
th{border-bottom:2px solid #999}td.number{text-align:right;white-space:nowrap}td.text{min-width:11rem}
th.number{text-align:right}
.beats{color:#00664b;white-space:nowrap}.below{color:#a33f00;font-weight:600;white-space:nowrap}td.open,td.level{white-space:nowrap}
figure.wide-figure{grid-column:1/-1;max-width:46rem}
details{margin:.5rem 0}summary{cursor:pointer}
@media print{body{font-size:11px;max-width:none}.pictures{grid-template-columns:1fr 1fr}.wide{overflow:visible}
h2{break-after:avoid}tr{break-inside:avoid}}
"""


@dataclass(frozen=True)
class Section:
    """A decoder, or the comparison of decoders."""

    title: str
    words: str
    """The base cell, as a sentence."""
    pictures: tuple[Picture, ...]
    table: pd.DataFrame | None
    """What `cells.cell_table` gives."""


def page(study: Study, sections: Iterable[Section], made: str) -> str:
    """The whole page. `made` says when and by what."""
    trials = study.trials
    goal = trials["epochs_goal"].max()
    design = " \u00d7 ".join(f"{escape(title_of(name))} ({len(levels)})" for name, levels in study.factors.items())
    cells = len(trials[list(study.cell_factors)].drop_duplicates())
    body = [
        f"<h1>{escape(study.name)}</h1>",
        f'<p class="lead">{len(trials)} trials in {cells} cells, {goal} epochs: {design}. {escape(made)}</p>',
        _state(study),
        *(_section(section) for section in sections),
        "<h2>Provenance</h2>",
        _provenance(study),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(study.name)}: report</title><style>{_CSS}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def state_in_words(study: Study) -> str:
    """How far the study is: 'INCOMPLETE: 96 of 144 trials have ended ...' or 'Complete: ...'."""
    counts = study.trials["status"].value_counts()
    ended = len(study.trials) - int(counts.get("unfinished", 0))
    diverged = f", {counts['diverged']} of them diverged" if counts.get("diverged") else ""
    if study.is_complete:
        return f"Complete: all {ended} trials have ended{diverged}."
    rows = "" if len(study.epochs) else " No epoch is stored yet."
    return (
        f"INCOMPLETE: {ended} of {len(study.trials)} trials have ended{diverged}. The study is still running or was "
        f"interrupted; every number below is of what is stored so far.{rows}"
    )


def _state(study: Study) -> str:
    parts = [f'<p class="state{"" if study.is_complete else " open"}">{escape(state_in_words(study))}</p>']
    if len(study.missing):
        groups = study.missing.assign(seed=study.missing["seed"].astype(str))
        groups = groups.groupby(["cell", "reason"], sort=False)["seed"].agg(", ".join).reset_index()
        rows = "".join(
            f"<tr><td>{escape(row['cell'])}</td><td>{escape(row['seed'])}</td><td>{escape(row['reason'])}</td></tr>"
            for row in groups.to_dict("records")
        )
        folded = "" if len(groups) > _OPEN_ROWS else " open"
        parts.append(
            f"<details{folded}><summary>{len(study.missing)} trials missing from the means</summary>"
            f'<div class="wide"><table><tr><th>cell</th><th>seeds</th><th>why</th></tr>{rows}</table></div></details>'
        )
    return "\n".join(parts)


def _section(section: Section) -> str:
    pictures = "\n".join(_figure(picture) for picture in section.pictures)
    table = "" if section.table is None else _cell_table(section.table)
    return (
        f'<h2>{escape(section.title)}</h2>\n<p>{escape(section.words)}</p>\n<div class="pictures">{pictures}</div>\n{table}'
    )


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.files["png"]).decode()
    wide = ' class="wide-figure"' if picture.is_wide else ""
    return (
        f'<figure id="{escape(picture.name)}"{wide}><img alt="{escape(picture.title)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )


def _cell_table(table: pd.DataFrame) -> str:
    names = list(table.columns[: table.columns.get_loc(MEASURES[0])])
    heads = [
        *(f"<th>{escape(title_of(name))}</th>" for name in names),
        '<th class="number">test bound</th><th class="number">independent pixels</th><th>beats it?</th>',
        '<th class="number">nll</th><th class="number">active units</th><th class="number">n</th><th>missing</th>',
    ]
    unknown = " The baseline is not known before a first trial has ended." if table["baseline"].isna().all() else ""
    rows = "".join(_cell_row(names, row) for row in table.to_dict("records"))
    return (
        "<h3>Every cell at the last planned epoch</h3><p>Mean \u00b1 half-width of the 95% t interval over seeds. Nats per "
        "example on the test images; a higher bound and a lower nll are better. The test bound is L_K at beta 1, a lower "
        "bound, so a cell that beats the independent pixels does so in log-likelihood too; open: the interval holds the "
        f'baseline.{unknown}</p><div class="wide"><table><tr>{"".join(heads)}</tr>{rows}</table></div>'
    )


def _cell_row(names: list[str], row: dict[Any, Any]) -> str:
    mark = {"beats": "\u2714 ", "below": "\u2718 ", "open": "? "}
    word = str(row["verdict"]).split(" ")[0]
    place = _number(row["baseline"], 2)
    cells = [
        *(f'<td class="level">{escape(label_of(name, row[name]))}</td>' for name in names),
        f'<td class="number">{_with_half(row, "test_bound", 2)}</td><td class="number">{place}</td>',
        f'<td class="{word}">{mark.get(word, "")}{escape(row["verdict"]) or _NONE}</td>',
        f'<td class="number">{_with_half(row, "nll", 2)}</td><td class="number">{_with_half(row, "active_units", 1)}</td>',
        f'<td class="number">{row["test_bound_n"]} of {row["n_planned"]}</td><td class="text">{escape(row["missing"])}</td>',
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _with_half(row: dict[Any, Any], value: str, digits: int) -> str:
    if np.isnan(row[value]):
        return _NONE
    half = row[f"{value}_half_width"]
    spread = "" if np.isnan(half) else f" \u00b1 {half:.{digits}f}"
    # The n beside the row is the bound's: say where another measure has fewer.
    own = f" (n = {row[f'{value}_n']})" if row[f"{value}_n"] != row["test_bound_n"] else ""
    return f"{_number(row[value], digits)}{spread}{own}"


def _number(value: float, digits: int) -> str:
    return _NONE if np.isnan(value) else f"{value:.{digits}f}".replace("-", "\u2212")


def _provenance(study: Study) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(', '.join(values))}</td></tr>" for name, values in study.provenance.items()
    )
    dirty = "true" in study.provenance.get("dirty", ())
    warning = (
        '<p class="state open">Some of it was trained from a working tree with uncommitted changes.</p>' if dirty else ""
    )
    return f'{warning}<div class="wide"><table>{rows}</table></div>'
