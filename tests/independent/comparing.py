"""Collects the numbers of one table beside the recomputed ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

TOLERANCE = 1e-6
SMALLEST = 1e-6
"""Numbers that are both smaller than this are compared as if one were of this size."""


class NotRecomputed(Exception):
    """Something that this second computation does not cover; the message says what."""


@dataclass
class Comparison:
    """One table: how many numbers were compared, where they differ, and what was not recomputed."""

    table: str
    numbers: int = 0
    largest: float = 0.0
    wrong: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def row(self, name: str, printed: Mapping[str, Any], expected: Mapping[str, float]) -> None:
        """Compare the numbers of one row; a column that the table lacks is a difference."""
        for column, number in expected.items():
            if column in printed:
                self.number(f"{name}, {column}", printed[column], number)
            else:
                self.wrong.append(f"{name}, {column}: absent, recomputed {number:.10g}")

    def text(self, name: str, printed: Any, expected: str) -> None:
        """Compare a word; an empty cell of a CSV is an empty word."""
        self.numbers += 1
        shown = "" if printed is None or printed != printed else str(printed)
        if shown != expected:
            self.wrong.append(f"{name}: printed {shown!r}, recomputed {expected!r}")

    def every(self, name: str, printed: np.ndarray, expected: np.ndarray) -> None:
        """Compare a whole column of finite numbers."""
        self.numbers += len(printed)
        size = np.maximum(np.maximum(np.abs(printed), np.abs(expected)), SMALLEST)
        difference = np.nan_to_num(np.abs(printed - expected) / size, nan=np.inf)
        self.largest = max(self.largest, float(difference.max(initial=0.0)))
        for place in np.flatnonzero(difference > TOLERANCE):
            self.wrong.append(f"{name} row {place + 2}: printed {printed[place]:.10g}, recomputed {expected[place]:.10g}")

    def number(self, name: str, printed: Any, expected: float, tolerance: float = TOLERANCE) -> None:
        """Compare one number; an empty cell of a CSV is NaN, and equals NaN only."""
        self.numbers += 1
        one, other = float("nan") if printed is None else float(printed), float(expected)
        if np.isnan(one) or np.isnan(other):
            difference = 0.0 if np.isnan(one) and np.isnan(other) else np.inf
        else:
            difference = abs(one - other) / max(abs(one), abs(other), SMALLEST) if one != other else 0.0
        self.largest = max(self.largest, difference)
        if difference > tolerance:
            self.wrong.append(f"{name}: printed {one:.10g}, recomputed {other:.10g}")

    def __str__(self) -> str:
        words = f"{self.table}: {self.numbers} numbers, largest relative difference {self.largest:.1e}"
        return words + (f", {len(self.left)} rows not recomputed" if self.left else "")
