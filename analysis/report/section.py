"""What a part of the report is made of: a few frozen types; computes, draws and writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.figures.picture import Picture

NONE = "\u2013"
"""What stands for no value."""


@dataclass(frozen=True)
class Table:
    """A table of the report."""

    name: str
    """Its files' stem."""
    title: str
    frame: pd.DataFrame
    """Numbers as they are: what the CSV has."""
    shown: pd.DataFrame | None = None
    """What a reader sees, as texts; None: the frame, rounded."""
    words: str = ""
    """What it means, above it."""
    is_folded: bool = False
    """Whether the page shows it only when it is opened."""

    @property
    def texts(self) -> pd.DataFrame:
        """Every entry as a reader sees it."""
        if self.shown is not None:
            return self.shown
        return pd.DataFrame({str(name): [text_of(value) for value in self.frame[name]] for name in self.frame})

    @property
    def numeric(self) -> list[bool]:
        """Whether each column that is shown wants its digits below each other."""
        texts = self.texts
        return [
            bool(len(texts)) and all(value == NONE or value[:1] in "\u22120123456789" for value in texts[name])
            for name in texts
        ]


@dataclass(frozen=True)
class Section:
    """A part of the report: what it says, its pictures, its tables."""

    title: str
    words: str = ""
    """Plain text; an empty line separates paragraphs."""
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()

    @property
    def anchor(self) -> str:
        """Its name in links."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())


def text_of(value: object, digits: int = 4) -> str:
    """A value as a reader sees it."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return NONE if np.isnan(value) else f"{value:.{digits}g}".replace("-", "\u2212")
    if value is None or value is pd.NA or value is pd.NaT:
        return NONE
    return str(value).replace("-", "\u2212") if isinstance(value, int | np.integer) else str(value)
