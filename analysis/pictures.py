"""Pictures of a report: from a contrast to the bytes of PNG and PDF, the table drawn and a caption; writes no file."""

import io
from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from analysis import figures
from analysis.activity import FLOOR, activity_map
from analysis.contrast import Contrast, curves, map_cells, usual_base
from analysis.labels import INTERVAL, in_words, title_of
from analysis.load import Study

_VALUES = {
    "test_bound": ("Test bound", "bound", figures.bound_curves),
    "active_units": ("Active units", "active-units", figures.active_unit_curves),
}


@dataclass(frozen=True)
class Picture:
    """One figure of a report."""

    name: str
    """Its files' stem."""
    title: str
    caption: str
    table: pd.DataFrame
    """Exactly what is drawn."""
    files: Mapping[str, bytes]
    """The figure by kind: png, pdf."""
    is_wide: bool = False
    """Whether it has panels side by side and wants a row of its own."""


def curve_picture(study: Study, one: Contrast, value: str) -> Picture:
    """Curves of one contrast over epochs: `value` is test_bound or active_units."""
    words, stem, draw = _VALUES[value]
    table = curves(study, one, value)
    title = f"{words} by {title_of(one.factor)}"
    with matplotlib.rc_context(figures.STYLE):
        figure = Figure(figsize=(5.6, 3.5))
        # Room on the right for the names of the curves, below for what the figure rests on.
        axes = figure.add_axes((0.135, 0.235, 0.6, 0.655))
        draw(table, axes)
        axes.set_title(figures.typeset(title))
        figure.text(0.012, 0.022, figures.typeset(_footnote(table, one)), fontsize=6.8, color=figures.GREY, va="bottom")
        files = _render(figure, title)
    decoder = one.base.get("decoder")
    name = f"{stem}-by-{one.factor.replace('.', '-')}" + (f"-{decoder}" if decoder else "")
    return Picture(name, title, _caption(words, table, one, value), table, files)


def map_picture(study: Study, decoder: str) -> Picture | None:
    """Log-activity maps of the base cell with few and many samples, batch norm and warm-up; None if nothing is stored."""
    panels = [(title, activity_map(study, cell)) for title, cell in map_cells(study, decoder)]
    panels = [(title, table) for title, table in panels if len(table)]
    if not panels:
        return None
    base = {name: level for name, level in usual_base(study, "k", decoder).items() if name not in ("batch_norm", "warmup")}
    with matplotlib.rc_context(figures.STYLE):
        columns = min(2, len(panels))
        rows = -(-len(panels) // columns)
        figure = Figure(figsize=(1.6 + 2.5 * columns, 0.9 + 2.3 * rows), layout="constrained")
        axes = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
        for (title, table), place in zip(panels, axes, strict=False):
            figures.activity_map(table, place)
            place.set_title(f"{title}  (n = {_n_text(table)})", fontsize=8.5)
            place.label_outer()
        for place in axes[len(panels) :]:
            place.set_visible(False)
        figures.colour_bar(figure, axes[: len(panels)], study.threshold)
        title = "Activity of every latent unit"
        files = _render(figure, title)
    caption = (
        f"Activity of every latent unit over epochs. Base cell: {in_words(base)}; batch norm and warm-up each by itself. "
        f"Colour: mean over seeds of log10 activity (floor {FLOOR:g}), that is the logarithm of the geometric mean. Each "
        f"seed's units are sorted by their own activity at epoch 1 before seeds are averaged. "
        + " ".join(f"{title}: n = {_n_text(table)}." for title, table in panels)
    )
    table = pd.concat([table.assign(panel=title) for title, table in panels], ignore_index=True)
    return Picture(f"activity-map-{decoder}", title, caption, table, files, is_wide=True)


def _render(figure: Figure, title: str) -> dict[str, bytes]:
    files = {}
    for kind, metadata in (("png", {"Title": title}), ("pdf", {"Title": title, "CreationDate": None})):
        sink = io.BytesIO()
        figure.savefig(sink, format=kind, dpi=180, metadata=metadata)
        files[kind] = sink.getvalue()
    return files


def _footnote(table: pd.DataFrame, one: Contrast) -> str:
    return f"Base: {in_words(one.base)}\nMean over seeds, n = {_n_text(table)}; band: {INTERVAL}"


def _caption(words: str, table: pd.DataFrame, one: Contrast, value: str) -> str:
    parts = [
        f"{words} over epochs by {title_of(one.factor)}. Base cell: {one.base_in_words}. "
        f"Lines: mean over seeds; bands: {INTERVAL}. n = {_n_text(table)} seeds a curve."
    ]
    if value == "test_bound":
        parts.append("Nats per example on the test images, at beta 1; higher is better.")
        if one.factor == "k":
            parts.append(
                "Each curve is its own bound L_K, which is tighter for larger K by itself; the nll below compares models."
            )
        if one.factor == "decoder":
            parts.append("A density's nats are not a probability's: compare each decoder with its own baseline.")
    for label, rows in table.groupby("label", sort=False):
        absent = list(dict.fromkeys(text for text in rows["missing"] if text))
        if absent:
            parts.append(f"{label}: {absent[-1]}.")
    return " ".join(parts)


def _n_text(table: pd.DataFrame) -> str:
    """How many seeds stand behind the points drawn: '3', or '2 to 3 of 3' where some are missing."""
    drawn = table[table["n"] > 0]
    if drawn.empty:
        return "0"
    low, high, planned = int(drawn["n"].min()), int(drawn["n"].max()), int(table["n_planned"].max())
    if low == planned:
        return str(planned)
    return f"{low} of {planned}" if low == high else f"{low} to {high} of {planned}"
