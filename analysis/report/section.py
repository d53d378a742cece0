"""The types that a report is made of: sections and tables."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.figures.picture import Picture

NONE = "\u2013"
"""Shown where there is no value."""


@dataclass(frozen=True)
class Table:
    """A table of the report."""

    name: str
    """The stem of its file names."""
    title: str
    frame: pd.DataFrame
    """The unrounded numbers, as in the CSV."""
    shown: pd.DataFrame | None = None
    """What a reader sees, as text; None: the frame, rounded."""
    words: str = ""
    """An explanation, shown above the table."""
    is_folded: bool = False
    """Whether the page shows it folded."""

    @property
    def texts(self) -> pd.DataFrame:
        """Return every entry as a reader sees it."""
        if self.shown is not None:
            return self.shown
        return pd.DataFrame({str(name): [text_of(value) for value in self.frame[name]] for name in self.frame})

    @property
    def numeric(self) -> list[bool]:
        """Tell for each shown column whether it holds numbers, which are aligned to the right."""
        texts = self.texts
        return [_are_numbers([value for value in texts[name] if value]) for name in texts]


@dataclass(frozen=True)
class Section:
    """A part of the report: its text, its pictures and its tables."""

    title: str
    words: str = ""
    """Plain text; an empty line separates paragraphs."""
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    points: Sequence[str] = ()
    """The items of a list below the text."""

    @property
    def anchor(self) -> str:
        """Return its name in links."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())


def _are_numbers(texts: Sequence[str]) -> bool:
    return bool(texts) and all(text == NONE or text[0] in "<\u22120123456789" for text in texts)


def interval_text(low: float, high: float) -> str:
    """Return an interval as a reader sees it; NONE where there is none."""
    return NONE if np.isnan(low) or np.isnan(high) else f"{text_of(low, 3)} to {text_of(high, 3)}"


def p_text(p: float) -> str:
    """Return a p value as a reader sees it."""
    return NONE if np.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def text_of(value: object, digits: int = 4) -> str:
    """Return a value as a reader sees it."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return NONE if np.isnan(value) else f"{value:.{digits}g}".replace("-", "\u2212")
    if value is None or value is pd.NA or value is pd.NaT:
        return NONE
    return str(value).replace("-", "\u2212") if isinstance(value, int | np.integer) else str(value)
