"""Makes the frames of the report's tables of effects: simple effects at the usual base cell, and the seed's correlation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.averages.average import AverageError, select
from analysis.averages.crossed import crossed_part
from analysis.averages.estimators import CLOSED_FORM, SAMPLED, kl_estimators
from analysis.averages.one_factor import Contrast, contrast
from analysis.effects.seed_table import is_paired, per_seed
from analysis.effects.simple import effect, effect_row, simple_effects, with_holm
from analysis.loading.study import Study
from analysis.stats.multiplicity import icc

MEASURES = ("nll", "active_units")

BOTH_SAMPLED = " (both sampled)"
"""Ends the title of a row that compares two levels of K whose KL is taken at the samples."""


@dataclass(frozen=True, eq=False)
class BaseEffects:
    """The simple effects on one measure at the usual base cell of one decoder."""

    decoder: str
    value: str
    frame: pd.DataFrame
    """One row per factor and level; p_holm is over all rows."""
    refused: tuple[str, ...]
    """Why rows are absent that the study has the cells for."""


def base_effects(study: Study) -> list[BaseEffects]:
    """Return the simple effects on each measure, decoder by decoder; see `effects_on`."""
    return [effects_on(study, value, decoder) for decoder in study.factors["decoder"] for value in MEASURES]


def effects_on(study: Study, value: str, decoder: str) -> BaseEffects:
    """Compute the simple effects of all factors at the usual base cell of a decoder, or at the nearest that the study has.

    Every row compares two cells at the last epoch that both are planned to reach. Where the KL is in closed form at the
    smaller K and sampled at the larger, and the study has the smaller K with a sampled KL, a further row compares like with
    like.

    Returns:
        With the frame: factor, title (the factor in words, with what is special about the row), level, reference,
        estimate, low, high, n, n_planned, p, p_holm (over all rows of the frame), sd, kind, epoch, missing, diverged,
        survives, remark, moved and usual (in words, what differs at the base cell and what is usual there; else empty).
    """
    rows: list[dict[str, Any]] = []
    refused: list[str] = []
    for factor in study.cell_factors:
        one = contrast(study, factor, decoder) if factor != "decoder" and len(study.factors[factor]) > 1 else None
        if one is None:
            continue
        title, first = study.labels.title_of(factor), one.levels[0]
        for level in one.levels[1:]:
            try:
                found = simple_effects(study, value, factor, at={**one.base, factor: [first, level]}, reference=first)
                row = {str(name): entry for name, entry in found.iloc[0].drop("p_holm").items()}
                here = {name: one.base[name] for name in one.moved}
                base = {"moved": study.labels.in_words(here), "usual": study.labels.in_words(one.moved)}
                rows.append({"factor": factor, "title": title, **row, **base})
                if factor == "k" and (like := _sampled(study, value, one, level)):
                    rows.append({"factor": factor, "title": f"{title}{BOTH_SAMPLED}", **like, **base})
            except AverageError as error:
                refused.append(f"{value} by {title}: {error}")
    return BaseEffects(decoder, value, with_holm(rows) if rows else pd.DataFrame(), tuple(dict.fromkeys(refused)))


def _sampled(study: Study, value: str, one: Contrast, level: Any) -> dict[str, Any] | None:
    """Compare a level of K with the smallest at a sampled KL; None unless the row of `one` compares two estimators."""
    kl = one.base.get("objective.kl")
    reference = {**one.base, "k": one.levels[0]}
    other = {**one.base, "k": level}
    if kl is None or kl_estimators(select(study, reference)) != {CLOSED_FORM}:
        return None
    if kl_estimators(select(study, other)) != {SAMPLED}:
        return None
    bridge = {**reference, "objective.kl": "sampled"}
    if "sampled" not in study.factors["objective.kl"] or not _has(study, bridge):
        return None
    return {"level": level, "reference": one.levels[0], **compare(study, value, other, bridge, ("k",))}


def _has(study: Study, cell: Mapping[str, Any]) -> bool:
    try:
        return not select(study, cell).empty
    except AverageError:
        return False


def compare(
    study: Study, value: str, cell: Mapping[str, Any], reference: Mapping[str, Any], contrasted: tuple[str, ...]
) -> dict[str, Any]:
    """Compare two cells that differ in more than one factor; `contrasted` are those that decide between paired and Welch.

    Returns:
        The columns of `effect_row`.

    Raises:
        AverageError: as in `per_seed`, for the product of the levels of both cells.
    """
    at = {name: list(dict.fromkeys([reference[name], cell[name]])) for name in cell}
    table = per_seed(study, value, at)
    weights = table.weights({name: {cell[name]: 1.0} for name in table.factors})
    weights -= table.weights({name: {reference[name]: 1.0} for name in table.factors})
    return effect_row(effect(table, weights, paired=is_paired(contrasted), contrasted=contrasted))


def seed_icc(study: Study) -> pd.DataFrame:
    """Compute the intraclass correlation of the seed over the crossed cells of every decoder.

        (MS_seed - MS_rest) / (MS_seed + (cells - 1) MS_rest),    ICC(C,1) of the table seed x cell

    It tells what pairing by seed gains: near 0 nothing, as the sd of a paired difference is about sqrt(1 - ICC) times that
    of an unpaired one.

    Returns:
        decoder, value, icc (NaN with fewer than two whole seeds or two cells), n (seeds that have every cell), n_planned,
        cells, epoch; no row for a measure whose cells have no common epoch.
    """
    rows = []
    for decoder in study.factors["decoder"]:
        for value in MEASURES:
            try:
                table = per_seed(study, value, crossed_part(study, decoder))
            except AverageError:
                continue
            whole = int(table.values.notna().all(axis=1).sum())
            rows.append(
                {
                    "decoder": decoder,
                    "value": value,
                    "icc": icc(table.values),
                    "n": whole,
                    "n_planned": len(table.values),
                    "cells": len(table.cells),
                    "epoch": table.epoch,
                }
            )
    return pd.DataFrame(rows, columns=["decoder", "value", "icc", "n", "n_planned", "cells", "epoch"])
