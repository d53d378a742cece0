"""Recomputes the tables of the figures: curves, thresholds, spectra, KL, pruning, maps, means of levels."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.independent.comparing import Comparison
from tests.independent.stored import Stored
from tests.independent.tables import floor_of, pooled
from tests.independent.textbook import ROUNDING, mean

SMALLEST_ACTIVITY = 1e-4
"""The floor of logarithms that the captions state."""


def base_of(study: Stored, path: Path) -> dict[str, Any]:
    """The base cell of a figure: its decoder from its name; K = 1 where decoders or forms of the KL are compared."""
    found = {"decoder": "gaussian"} if path.stem.endswith("-gaussian") and "decoder" in study.cell_factors else {}
    smallest = path.stem in ("figure-2.1", "active-units-by-decoder") or "by-objective-kl" in path.stem
    return {**found, **({"k": min(study.factors["k"])} if smallest and "k" in study.cell_factors else {})}


def cell_of(study: Stored, base: Mapping[str, Any], label: str) -> dict[str, Any]:
    """Read the cell that a label names, such as 'K = 5, batch norm'."""
    found = dict(base)
    if k := re.search(r"K = (\d+)", label):
        found["k"] = int(k[1])
    if warmup := re.search(r"warm-up (\d+)", label):
        found["warmup"] = int(warmup[1])
    if re.search(r"(?<!no )batch norm", label):
        found["batch_norm"] = True
    if "sampled" in label:
        found["objective.kl"] = "sampled"
    return found


def interval(values: np.ndarray, floor: float = 0.0) -> dict[str, float]:
    """Mean and t interval over seeds as the tables have them."""
    if len(values) == 0:
        return {"mean": np.nan, "low": np.nan, "high": np.nan, "n": 0}
    found = mean(values, floor)
    low, high = found.interval() if len(values) > 1 else (np.nan, np.nan)
    return {"mean": found.value, "low": low, "high": high, "n": len(values)}


def curves(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """Test bound or active units over epochs, cell by cell."""
    seen, base = Comparison(path.name), base_of(study, path)
    column = "test_bound" if path.stem.startswith(("figure-2", "bound")) else "active_units"
    for printed in table.to_dict("records"):
        levels = {}
        for name in study.cell_factors:
            if name in printed and pd.notna(printed[name]):
                levels[name] = study.level(name, printed[name])
        trials = study.cell(**cell_of(study, {**base, **levels}, str(printed["label"])))
        values = study.by_seed(trials, column, int(printed["epoch"])).to_numpy()
        wanted = {**interval(values, floor_of(column)), "n_planned": len(trials)}
        wanted |= {"baseline": trials["baseline_bound"].dropna().unique()[0]}
        seen.row(f"{levels} {printed['label']} epoch {printed['epoch']}", printed, wanted)
    return seen


def vectors_of(study: Stored, path: Path, column: str) -> Callable[[str], dict[int, np.ndarray]]:
    """The vectors of each seed of the cell that a label names, read once."""

    @lru_cache
    def read(label: str) -> dict[int, np.ndarray]:
        return dict(study.vectors(study.cell(**cell_of(study, base_of(study, path), label)), column))

    return read


def thresholds(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """Units whose activity exceeds each threshold."""
    seen, activity = Comparison(path.name), vectors_of(study, path, "activity")
    for printed in table.to_dict("records"):
        epoch = int(printed["epoch"])
        rows = [one[epoch] for one in activity(str(printed["panel"])).values() if len(one) > epoch]
        counts = np.array([(row > float(printed["threshold"])).sum() for row in rows], float)
        seen.row(f"{printed['panel']} {printed['label']} epoch {epoch}", printed, interval(counts, ROUNDING))
    return seen


def ranked(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """Sorted activities (geometric means) or sorted KL at the end."""
    is_activity = path.stem.startswith("spectrum")
    seen, vectors = Comparison(path.name), vectors_of(study, path, "activity" if is_activity else "kl_per_unit")
    for printed in table.to_dict("records"):
        epoch, rank = int(printed["epoch"]), int(printed["rank"])
        values = np.array(
            [np.sort(one[epoch])[-rank] for one in vectors(str(printed["label"])).values() if len(one) > epoch]
        )
        wanted = interval(np.log10(np.maximum(values, SMALLEST_ACTIVITY)) if is_activity else values)
        if is_activity:
            wanted |= {name: 10 ** wanted[name] for name in ("mean", "low", "high")}
        seen.row(f"{printed['label']} rank {rank}", printed, wanted)
    return seen


def events(activity: np.ndarray, on: float, off: float) -> dict[str, np.ndarray]:
    """Count, up to each epoch, the units that were switched off and those that came back."""
    n = activity.shape[1]
    is_on, was_off = np.zeros(n, bool), np.zeros(n, bool)
    counts: dict[str, list[int]] = {"switched_off": [], "came_back": []}
    gone = back = 0
    for row in activity:
        falling, rising = is_on & (row < off), ~is_on & (row > on)
        gone, back = gone + int(falling.sum()), back + int((rising & was_off).sum())
        was_off |= falling
        is_on = (is_on & ~falling) | rising
        counts["switched_off"].append(gone)
        counts["came_back"].append(back)
    return {name: np.array(one, float) for name, one in counts.items()}


def pruning(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """Events of pruning with hysteresis."""
    seen, activity = Comparison(path.name), vectors_of(study, path, "activity")

    @lru_cache
    def counted(label: str, on: float, off: float) -> list[dict[str, np.ndarray]]:
        return [events(one, on, off) for one in activity(label).values()]

    for printed in table.to_dict("records"):
        epoch, event = int(printed["epoch"]), str(printed["event"])
        found = counted(str(printed["label"]), float(printed["on"]), float(printed["off"]))
        counts = np.array([one[event][epoch] for one in found if len(one[event]) > epoch])
        seen.row(f"{printed['label']} {event} epoch {epoch}", printed, interval(counts, ROUNDING))
    return seen


def maps(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """Activity and KL of units sorted within each seed by their activity at epoch 1; of one seed if the table names it."""
    seen = Comparison(path.name)
    activity, kl = (vectors_of(study, path, column) for column in ("activity", "kl_per_unit"))
    for panel, rows in table.groupby("panel", sort=False):
        seeds = set(rows["seed"]) if "seed" in rows else set(activity(str(panel)))
        logs, kls = [], []
        for seed, values in activity(str(panel)).items():
            if seed in seeds:
                order = np.argsort(-values[1], kind="stable")
                logs.append(np.log10(np.maximum(values[:, order], SMALLEST_ACTIVITY)))
                kls.append(kl(str(panel))[seed][:, order])
        means = {"log10_activity": np.mean(logs, axis=0), "kl": np.mean(kls, axis=0)}
        for printed in rows.to_dict("records"):
            place = int(printed["epoch"]), int(printed["unit"]) - 1
            wanted = {name: float(one[place]) for name, one in means.items()}
            seen.row(f"{panel} epoch {place[0]} unit {place[1] + 1}", printed, {**wanted, "n": len(logs)})
    return seen


def levels(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """The mean of every level over all crossed cells that have it."""
    seen = Comparison(path.name)
    decoder = path.stem.rpartition("-")[2] if path.stem.endswith("-gaussian") else "bernoulli"
    for printed in table.to_dict("records"):
        factor, column = str(printed["factor"]), str(printed["value"])
        at = {factor: study.level(factor, printed["level"])}
        values, cells = pooled(study, study.crossed(decoder), column, at)
        wanted = interval(values.to_numpy(), floor_of(column) / cells)
        seen.row(f"{factor} {printed['level']} {column}", printed, wanted)
    return seen


FIGURES: Mapping[str, Callable[[Stored, Path, pd.DataFrame], Comparison]] = {
    "figure-2": curves,
    "figure-3.1": curves,
    "figure-3.2": curves,
    "figure-3.3": maps,
    "bound-by": curves,
    "active-units-by": curves,
    "thresholds": thresholds,
    "spectrum": ranked,
    "kl-map": maps,
    "kl": ranked,
    "pruning": pruning,
    "main-effects": levels,
}
