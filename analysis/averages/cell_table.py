"""Tabulates every cell of one decoder: its final bound, nll and active units, beside the independent-pixel baseline."""

import numpy as np
import pandas as pd

from analysis.averages.average import average
from analysis.averages.one_factor import baseline
from analysis.loading.study import Study

MEASURES = ("test_bound", "nll", "active_units")


def cell_table(study: Study, decoder: str) -> pd.DataFrame:
    """Compute the final means of every planned cell of one decoder.

    Returns:
        The factors that vary in the study, except decoder and seed; for each of MEASURES the mean, the half-width of the 95%
        t interval over seeds and n; n_planned, missing, baseline (nats per example), verdict (see `verdict`).
    """
    factors = [name for name in study.cell_factors if name != "decoder" and len(study.factors[name]) > 1]
    at = {"decoder": decoder}
    parts = {value: average(study, value, factors, at=at) for value in MEASURES}
    first = parts["test_bound"]
    table = first[factors].copy()
    for value, part in parts.items():
        table[value] = part["mean"]
        table[f"{value}_half_width"] = part["high"] - part["mean"]
        table[f"{value}_n"] = part["n"]
    table["n_planned"] = first["n_planned"]
    table["missing"] = first["missing"]
    table["baseline"] = [baseline(study, {**at, **row}) for row in table[factors].to_dict("records")]  # type: ignore[dict-item]
    table["verdict"] = [
        verdict(mean, half, place)
        for mean, half, place in zip(table["test_bound"], table["test_bound_half_width"], table["baseline"], strict=True)
    ]
    return table


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
