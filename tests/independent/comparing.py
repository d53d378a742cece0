"""Collects the numbers of one table beside the recomputed ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

TOLERANCE = 1e-6
SMALLEST = 1e-6
"""Numbers that are both smaller than this are compared as if one were of this size."""


@dataclass
class Comparison:
    """One table: how many numbers were compared, where they differ, and what was not recomputed."""

    table: str
    numbers: int = 0
    largest: float = 0.0
    wrong: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def row(self, name: str, printed: Mapping[str, Any], expected: Mapping[str, float]) -> None:
        """Compare the columns of one row that both have; a column that the table lacks is left out."""
        for column, number in expected.items():
            if column in printed:
                self.number(f"{name}, {column}", printed[column], number)

    def number(self, name: str, printed: Any, expected: float) -> None:
        """Compare one number; an empty cell of a CSV is NaN, and equals NaN only."""
        self.numbers += 1
        one, other = float(printed), float(expected)
        if np.isnan(one) or np.isnan(other):
            difference = 0.0 if np.isnan(one) and np.isnan(other) else np.inf
        else:
            difference = abs(one - other) / max(abs(one), abs(other), SMALLEST) if one != other else 0.0
        self.largest = max(self.largest, difference)
        if difference > TOLERANCE:
            self.wrong.append(f"{name}: printed {one:.10g}, recomputed {other:.10g}")

    def __str__(self) -> str:
        words = f"{self.table}: {self.numbers} numbers, largest relative difference {self.largest:.1e}"
        return words + (f", {len(self.left)} rows not recomputed" if self.left else "")
