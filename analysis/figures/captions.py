"""Writes what stands below a figure: its base cell, the number of seeds and the seeds that are missing."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.loading.labels import INTERVAL
from analysis.loading.study import Study

_MOST = 4
"""The most reasons that a caption spells out."""


def n_text(table: pd.DataFrame) -> str:
    """Return how many seeds the points rest on: '3', or '2 to 3 of 3' where some are missing."""
    drawn = table[table["n"] > 0]
    if drawn.empty:
        return f"0 of {int(table['n_planned'].max())}" if len(table) else "0"
    low, high, planned = int(drawn["n"].min()), int(drawn["n"].max()), int(table["n_planned"].max())
    if low == planned:
        return str(planned)
    return f"{low} of {planned}" if low == high else f"{low} to {high} of {planned}"


def drawn_labels(table: pd.DataFrame) -> list[str]:
    """The curves of which a point is drawn, in the order of the table."""
    return list(dict.fromkeys(table["label"][table["n"] > 0]))


def absent(table: pd.DataFrame) -> str:
    """Name the seeds missing from some point, curve by curve: 'K = 5: seed 2 diverged after epoch 7'; empty if none."""
    parts: dict[str, list[str]] = {}
    for label, rows in table.groupby("label", sort=False) if "label" in table else [("", table)]:
        found = list(dict.fromkeys(text for text in rows["missing"] if text))
        if found:
            # A curve's last point lacks every seed that an earlier point lacks.
            parts.setdefault(found[-1], []).append(str(label))
    said = []
    for text, labels in parts.items():
        owner = " / ".join(label for label in labels if label)
        said.append(f"{owner}: {text}" if owner else text)
    if len(said) > _MOST:
        said = [*said[:_MOST], f"and {len(said) - _MOST} more, named in the table of the figure"]
    return "; ".join(said)


def evidence(table: pd.DataFrame, item: str = "curve") -> str:
    """Return the sentences about seeds that end every caption; `item` is what each mean is drawn as."""
    n = n_text(table)
    parts = [f"n = {n} seed{'s' * (n != '1')} per {item}."]
    if gone := absent(table):
        parts.append(f"Missing: {gone}.")
    if "is_balanced" in table and not table.loc[table["n"] > 0, "is_balanced"].all():
        parts.append("Unbalanced: the means do not all rest on the same seeds.")
    return " ".join(parts)


def foot(base: str, table: pd.DataFrame, band: str = f"band: {INTERVAL}") -> str:
    """Return the small print below the figure itself, so that the figure can be used outside the report."""
    gone = absent(table)
    return f"Base: {base}\nMean over seeds, n = {n_text(table)}; {band}" + (f"\nMissing: {gone}" if gone else "")


def methods_base(study: Study, base: Mapping[str, Any], without: Sequence[str] = ("k", "batch_norm", "warmup")) -> str:
    """Describe the base cell of a figure that compares methods, without the factors in which the methods differ."""
    return study.labels.in_words({name: level for name, level in base.items() if name not in without})
