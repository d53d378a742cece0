"""A figure that can be rendered: its kinds, its width, its bytes."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import matplotlib
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
    """Its files' stem."""
    title: str
    caption: str
    table: pd.DataFrame
    """Exactly what is drawn."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """The figure by kind (png, pdf, svg), where it is drawn already."""
    is_wide: bool = False
    """Whether it has panels side by side and wants a row of its own."""
    draw: Callable[[float | None], Figure] | None = None
    """The figure at a width in mm (None: its own), where it is not."""
    number: str = ""
    """That of the paper, such as 2.2."""

    def render(self, kinds: Sequence[str] = ("png", "pdf"), width_mm: float | None = None) -> dict[str, bytes]:
        """The bytes of the figure by kind; what is drawn already comes as it is."""
        if self.draw is None:
            return {kind: raw for kind, raw in self.files.items() if kind in kinds}
        return render(self.draw(width_mm), self.title, kinds)

    def _repr_png_(self) -> bytes:
        """In a notebook a picture shows itself."""
        return self.render(("png",))["png"]


def render(figure: Figure, title: str, kinds: Sequence[str]) -> dict[str, bytes]:
    """A figure as bytes by kind; the same figure gives the same bytes."""
    metadata: dict[str, Any] = {
        "png": {"Title": title},
        "pdf": {"Title": title, "CreationDate": None},
        "svg": {"Title": title, "Date": None},
    }
    files = {}
    for kind in kinds:
        sink = io.BytesIO()
        with matplotlib.rc_context(style.STYLE):
            figure.savefig(sink, format=kind, dpi=180, metadata=metadata[kind])
        files[kind] = sink.getvalue()
    return files


def picture(name: str, caption: str, table: pd.DataFrame, sheet: Sheet, number: str = "") -> Picture:
    """A picture of a sheet."""
    is_wide = len(sheet.panels) > 1
    return Picture(name, sheet.title, caption, table, {}, is_wide, partial(draw, sheet), number)
