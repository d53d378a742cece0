"""Tabulates every cell of one decoder: its final bound, nll and active units, beside the independent-pixel baseline."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.averages.average import AverageError, average, select
from analysis.averages.lengths import lengths_in_words
from analysis.averages.one_factor import baseline
from analysis.loading.study import Study

MEASURES = ("test_bound", "nll", "active_units")


def cell_table(study: Study, decoder: str) -> pd.DataFrame:
    """Compute the final means of every planned cell of one decoder.

    Returns:
        The factors that vary in the study, except decoder and seed; for each of MEASURES the mean, the half-width of the 95%
        t interval over seeds and n; n_planned, missing, epoch (the planned end of the cell, from which its numbers are),
        baseline (nats per example), verdict (see `verdict`). A cell whose seeds have different lengths has no means.
    """
    factors = [name for name in study.cell_factors if name != "decoder" and len(study.factors[name]) > 1]
    at = {"decoder": decoder}
    parts = {value: _means(study, value, factors, at) for value in MEASURES}
    first = parts["test_bound"]
    table = first[factors].copy()
    for value, part in parts.items():
        table[value] = part["mean"]
        table[f"{value}_half_width"] = part["high"] - part["mean"]
        table[f"{value}_n"] = part["n"]
    table["n_planned"] = first["n_planned"]
    table["missing"] = first["missing"]
    table["epoch"] = first["epoch"]
    table["baseline"] = [baseline(study, {**at, **row}) for row in table[factors].to_dict("records")]  # type: ignore[dict-item]
    table["verdict"] = [
        verdict(mean, half, place)
        for mean, half, place in zip(table["test_bound"], table["test_bound_half_width"], table["baseline"], strict=True)
    ]
    return table


def _means(study: Study, value: str, factors: list[str], at: Mapping[str, Any]) -> pd.DataFrame:
    """Return `average` of every cell, with a row of NaN where the seeds of a cell have different lengths."""
    try:
        return average(study, value, factors, at=at)
    except AverageError:
        cells = select(study, at)
        rows = []
        for _, trials in cells.groupby(factors, sort=False) if factors else [((), cells)]:
            cell = {name: study.factors[name][study.factors[name].index(trials[name].iloc[0])] for name in factors}
            if trials["epochs_goal"].nunique() == 1:
                rows.append(average(study, value, factors, at={**at, **cell}))
                continue
            words = f"no mean, as seeds are planned to different epochs: {lengths_in_words(study, trials)}"
            counts = {"n": 0, "n_planned": len(trials), "missing": words, "epoch": int(trials["epochs_goal"].max())}
            rows.append(pd.DataFrame([{**cell, "mean": np.nan, "low": np.nan, "high": np.nan, **counts}]))
        return pd.concat(rows, ignore_index=True)


def verdict(mean: float, half_width: float, baseline_bound: float) -> str:
    """Judge a cell's bound against the baseline: beats | below | open (the interval contains it) | '' (unknown).

    A single seed has no interval: `beats (n = 1)` and `below (n = 1)` rest on its value alone.
    """
    if np.isnan(mean) or np.isnan(baseline_bound):
        return ""
    word = "beats" if mean > baseline_bound else "below"
    if np.isnan(half_width):
        return f"{word} (n = 1)"
    return word if abs(mean - baseline_bound) > half_width else "open"
