"""What is said of a figure beneath it: its base, how many seeds it rests on, and which are missing; draws nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.loading.labels import INTERVAL
from analysis.loading.study import Study

_MOST = 4
"""Reasons that a caption spells out."""


def n_text(table: pd.DataFrame) -> str:
    """How many seeds stand behind the points drawn: '3', or '2 to 3 of 3' where some are missing."""
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
    """The seeds that are missing from some point, curve by curve: 'K = 5: seed 2 diverged after epoch 7.'; empty if none."""
    parts: dict[str, list[str]] = {}
    for label, rows in table.groupby("label", sort=False) if "label" in table else [("", table)]:
        found = list(dict.fromkeys(text for text in rows["missing"] if text))
        if found:
            # A curve's last point lacks all that an earlier one lacks.
            parts.setdefault(found[-1], []).append(str(label))
    said = []
    for text, labels in parts.items():
        owner = " / ".join(label for label in labels if label)
        said.append(f"{owner}: {text}" if owner else text)
    if len(said) > _MOST:
        said = [*said[:_MOST], f"and {len(said) - _MOST} more, which the table of the figure names"]
    return "; ".join(said)


def evidence(table: pd.DataFrame, a_curve: str = "a curve") -> str:
    """The sentences on seeds that every caption ends with."""
    n = n_text(table)
    parts = [f"n = {n} seed{'s' * (n != '1')} {a_curve}."]
    if gone := absent(table):
        parts.append(f"Missing: {gone}.")
    if "is_balanced" in table and not table.loc[table["n"] > 0, "is_balanced"].all():
        parts.append("Unbalanced: not all of it rests on the same seeds.")
    return " ".join(parts)


def foot(base: str, table: pd.DataFrame, band: str = f"band: {INTERVAL}") -> str:
    """What stands in small type below the figure itself, so that it can leave its page."""
    gone = absent(table)
    return f"Base: {base}\nMean over seeds, n = {n_text(table)}; {band}" + (f"\nMissing: {gone}" if gone else "")


def methods_base(study: Study, base: Mapping[str, Any], without: Sequence[str] = ("k", "batch_norm", "warmup")) -> str:
    """The base of figures that compare methods, without the factors that tell the methods apart."""
    return study.labels.in_words({name: level for name, level in base.items() if name not in without})
