"""Writes what stands below a figure: its base cell, the number of seeds and the seeds that are missing."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.averages.average import select
from analysis.averages.estimators import CLOSED_FORM, SAMPLED, kl_estimators
from analysis.averages.one_factor import Cells
from analysis.averages.seed_curves import FEW
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
    """Return the curves of which a point is drawn, in the order of the table."""
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


def lines_in_words(table: pd.DataFrame) -> str:
    """Return the sentence on what is drawn: bands where there are seeds enough, else the seeds."""
    n = table["n"][table["n"] > 0]
    if n.empty or n.max() == 1:
        return "Lines: the one seed that each curve has."
    if n.min() >= FEW:
        return f"Lines: mean over seeds; bands: {INTERVAL}."
    if n.max() < FEW:
        return "Thick lines: mean over seeds; thin lines: the seeds themselves, all on one fixed test set."
    return f"Thick lines: mean over seeds; bands: {INTERVAL}, where n is at least {FEW}; thin lines: the seeds, elsewhere."


def points_in_words(table: pd.DataFrame) -> str:
    """Return the sentence on what is drawn around single means: bars where there are seeds enough, else the seeds."""
    n = table["n"][table["n"] > 0]
    if n.empty or n.max() == 1:
        return "Points: the one seed that each mean has."
    if n.min() >= FEW:
        return f"Bars: {INTERVAL}."
    if n.max() < FEW:
        return "Small points: the seeds themselves, all on one fixed test set."
    return f"Bars: {INTERVAL}, where n is at least {FEW}; small points: the seeds, elsewhere."


def foot(base: str, table: pd.DataFrame, interval: str = "band", seeds: str = "thin", of: str = "Base") -> str:
    """Return the small print below the figure itself, so that the figure can be used outside the report.

    Args:
        base: the base cell in words.
        table: what is drawn, with n and n_planned.
        interval: how intervals are drawn.
        seeds: how seeds are drawn, where there are fewer than FEW.
        of: what `base` names.
    """
    gone = absent(table)
    n = table["n"][table["n"] > 0]
    if n.empty or n.max() == 1:
        said = f"One seed, n = {n_text(table)}; no interval"
    else:
        drawn = f"{interval}: {INTERVAL}"
        if n.min() < FEW:
            drawn = f"{interval} where n is at least {FEW}: {INTERVAL}; else {seeds}: the seeds"
        if n.max() < FEW:
            drawn = f"{seeds}: the seeds"
        said = f"Mean over seeds, n = {n_text(table)}; {drawn}"
    return f"{of}: {base}\n{said}" + (f"\nMissing: {gone}" if gone else "")


def kl_note(study: Study, cells: Cells) -> str:
    """Say that cells of different K also take the KL differently; empty where they do not, or where K does not differ.

    Args:
        study: the output of `load`.
        cells: the cells that the figure contrasts, and their names; a cell may leave factors out, which then are pooled.
    """
    trials = {label: select(study, cell) for label, cell in cells}
    levels_of: dict[str, list[Any]] = {}
    for rows in trials.values():
        for k, of_k in rows.groupby("k", sort=False):
            for estimator in kl_estimators(of_k):
                levels_of.setdefault(estimator, []).append(k)
    levels = {one: list(dict.fromkeys(found)) for one, found in levels_of.items()}
    closed = levels.get(CLOSED_FORM, [])
    sampled = [k for k in levels.get(SAMPLED, []) if k not in closed]
    if not closed or not sampled:
        return ""
    first, second = (" and ".join(study.labels.label_of("k", k) for k in found) for found in (closed, sampled))
    said = (
        f"{first} {'takes' if len(closed) == 1 else 'take'} the KL in closed form, {second} at the samples: what differs "
        "between them is not K alone."
    )
    if bridges := [
        label for label, rows in trials.items() if set(rows["k"]) <= {*closed} and kl_estimators(rows) == {SAMPLED}
    ]:
        said += f" {bridges[0]} takes it at the samples too and is the one to compare with {second}."
    return said


def title_with(study: Study, title: str, decoder: str | None) -> str:
    """Return the title of a figure with its decoder: 'Test bound by warm-up, Bernoulli decoder'."""
    return title if decoder is None else f"{title}, {study.labels.in_words({'decoder': decoder})}"


def methods_base(study: Study, base: Mapping[str, Any], without: Sequence[str] = ("k", "batch_norm", "warmup")) -> str:
    """Describe the base cell of a figure that compares methods, without the factors in which the methods differ."""
    return study.labels.in_words({name: level for name, level in base.items() if name not in without})
