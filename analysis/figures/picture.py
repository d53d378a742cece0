"""A figure of the report, which can be rendered as PNG, PDF or SVG at any width."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import style
from analysis.figures.layout import Sheet, draw

KINDS = ("png", "pdf", "svg")

WIDE_MM = 174.0


@dataclass(frozen=True)
class Picture:
    """One figure of a report."""

    name: str
    """The stem of its file names."""
    title: str
    caption: str
    table: pd.DataFrame
    """Exactly the numbers that are drawn."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """The figure by kind (png, pdf, svg), if it has been rendered already."""
    is_wide: bool = False
    """Whether it has panels side by side and needs its own row on the page."""
    draw: Callable[[float | None], Figure] | None = None
    """Draws the figure at a width in mm (None: its default), if it has not been rendered."""
    number: str = ""
    """Its number in the paper, such as 2.2."""

    def render(self, kinds: Sequence[str] = ("png", "pdf"), width_mm: float | None = None) -> dict[str, bytes]:
        """Return the bytes of the figure by kind; a figure that was rendered already is returned as it is."""
        if self.draw is None:
            return {kind: raw for kind, raw in self.files.items() if kind in kinds}
        return render(self.draw(width_mm), self.title, kinds)

    def _repr_png_(self) -> bytes:
        """Show the figure in a notebook."""
        return self.render(("png",))["png"]


def render(figure: Figure, title: str, kinds: Sequence[str]) -> dict[str, bytes]:
    """Render a figure as bytes by kind; the same figure gives the same bytes."""
    metadata: dict[str, Any] = {
        "png": {"Title": title},
        "pdf": {"Title": title, "CreationDate": None},
        "svg": {"Title": title, "Date": None},
    }
    files = {}
    for kind in kinds:
        sink = io.BytesIO()
        with style.our_style():
            figure.savefig(sink, format=kind, dpi=180, metadata=metadata[kind])
        files[kind] = sink.getvalue()
    return files


def picture(name: str, caption: str, table: pd.DataFrame, sheet: Sheet, number: str = "") -> Picture:
    """Make the picture of a laid-out sheet, drawn on request."""
    is_wide = len(sheet.panels) > 1
    return Picture(name, sheet.title, caption, table, {}, is_wide, partial(draw, sheet), number)
