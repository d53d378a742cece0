"""Recomputes the tables of the figures: curves, thresholds, spectra, KL, pruning, maps, means of levels."""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.independent.comparing import Comparison, NotRecomputed
from tests.independent.stored import Stored
from tests.independent.tables import floor_of, pooled
from tests.independent.textbook import ROUNDING, mean

SMALLEST_ACTIVITY = 1e-4
"""The floor of logarithms that the captions state."""
FEW = 4
"""With fewer seeds, figures draw the seeds and no interval (docs/formats.md)."""


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
    low, high = mean(values, floor).interval() if len(values) > 1 else (np.nan, np.nan)
    return {"mean": float(np.mean(values)), "low": low, "high": high, "n": len(values)}


def drawn(values: Mapping[int, float], seeds: Iterable[int], floor: float = 0.0) -> dict[str, float]:
    """Mean over seeds, with the seeds themselves if fewer than FEW have a value, and else with the t interval."""
    numbers, seeds = np.array(list(values.values()), float), list(seeds)
    if len(numbers) >= FEW:
        return {**interval(numbers, floor), **{f"seed_{seed}": np.nan for seed in seeds}}
    own = {f"seed_{seed}": values.get(seed, np.nan) for seed in seeds}
    return {
        "mean": float(np.mean(numbers)) if len(numbers) else np.nan,
        "low": np.nan,
        "high": np.nan,
        "n": len(numbers),
        **own,
    }


def curves(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """Test bound or active units over epochs, cell by cell."""
    seen, base = Comparison(path.name), base_of(study, path)
    column = "test_bound" if path.stem.startswith(("figure-2", "bound")) else "active_units"
    varied = [name for name in study.cell_factors if name in table]
    for key, rows in table.groupby([*varied, "label", *(["panel"] if "panel" in table else [])], sort=False, dropna=False):
        named = zip(varied, key, strict=False)
        levels = {name: study.level(name, text) for name, text in named if pd.notna(text)}
        label = str(rows["label"].iloc[0])
        trials = study.cell(**cell_of(study, {**base, **levels}, label))
        if trials.empty:
            raise NotRecomputed(f"a base cell that the study lacks, for {label}")
        fixed = {"n_planned": len(trials), "baseline": study.baseline(trials)}
        if column == "active_units":
            fixed["units"] = int(trials["n_z"].iloc[0])
        for printed in rows.to_dict("records"):
            values = study.by_seed(trials, column, int(printed["epoch"])).to_dict()
            wanted = {**drawn(values, trials["seed"], floor_of(column)), **fixed}
            if column == "active_units" and printed["epoch"] > trials["epochs_planned"].max():
                wanted["units"] = np.nan
            seen.row(f"{levels} {label} epoch {printed['epoch']}", printed, wanted)
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
        vectors, limit = activity(str(printed["panel"])), float(printed["threshold"])
        counts = {seed: float((one[epoch] > limit).sum()) for seed, one in vectors.items() if len(one) > epoch}
        wanted = {**drawn(counts, vectors, ROUNDING), "n_planned": len(vectors)}
        seen.row(f"{printed['panel']} {printed['label']} epoch {epoch}", printed, wanted)
    return seen


def ranked(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """Sorted activities (geometric means) or sorted KL at the end."""
    is_activity = path.stem.startswith("spectrum")
    seen, vectors = Comparison(path.name), vectors_of(study, path, "activity" if is_activity else "kl_per_unit")
    for printed in table.to_dict("records"):
        epoch, rank = int(printed["epoch"]), int(printed["rank"])
        every = vectors(str(printed["label"]))
        values = {seed: np.sort(one[epoch])[-rank] for seed, one in every.items() if len(one) > epoch}
        if is_activity:
            values = {seed: np.log10(max(value, SMALLEST_ACTIVITY)) for seed, value in values.items()}
        wanted = drawn(values, every)
        if is_activity:
            wanted = {name: number if name == "n" else 10**number for name, number in wanted.items()}
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
    def counted(label: str, on: float, off: float) -> dict[int, dict[str, np.ndarray]]:
        return {seed: events(one, on, off) for seed, one in activity(label).items()}

    for printed in table.to_dict("records"):
        epoch, event = int(printed["epoch"]), str(printed["event"])
        found = counted(str(printed["label"]), float(printed["on"]), float(printed["off"]))
        counts = {seed: one[event][epoch] for seed, one in found.items() if len(one[event]) > epoch}
        seen.row(f"{printed['label']} {event} epoch {epoch}", printed, drawn(counts, found, ROUNDING))
    return seen


def maps(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """Activity and KL of one seed, the lowest one of all panels; its units are sorted by their activity at epoch 1."""
    seen = Comparison(path.name)
    activity, kl = (vectors_of(study, path, column) for column in ("activity", "kl_per_unit"))
    panels = [str(panel) for panel in table["panel"].unique()]
    common = set.intersection(*(set(activity(panel)) for panel in panels))
    for panel, rows in table.groupby("panel", sort=False):
        seed = min(common)
        own = activity(str(panel))[seed]
        order = np.argsort(-own[1], kind="stable")
        place = rows["epoch"].to_numpy(), rows["unit"].to_numpy() - 1
        wanted = {
            "log10_activity": np.log10(np.maximum(own[:, order], SMALLEST_ACTIVITY))[place],
            "kl": kl(str(panel))[seed][:, order][place],
            "seed": np.full(len(rows), seed),
            "n_planned": np.full(len(rows), len(activity(str(panel)))),
        }
        for name, column in wanted.items():
            seen.every(f"{panel}, {name}", rows[name].to_numpy(float), column.astype(float))
        if len(rows) != own.size:
            seen.wrong.append(f"{panel}: {len(rows)} rows for {own.size} epochs and units")
    return seen


def levels(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """The mean of every level over all crossed cells that have it."""
    seen = Comparison(path.name)
    decoder = path.stem.rpartition("-")[2] if path.stem.endswith("-gaussian") else "bernoulli"
    for printed in table.to_dict("records"):
        factor, column = str(printed["factor"]), str(printed["value"])
        at = {factor: study.level(factor, printed["level"])}
        values, cells = pooled(study, study.crossed(decoder), column, at)
        wanted = drawn(values.to_dict(), study.factors["seed"], floor_of(column) / cells)
        seen.row(f"{factor} {printed['level']} {column}", printed, wanted)
    return seen


TITLES = {
    "importance samples K": "k",
    "batch normalisation": "batch_norm",
    "warm-up": "warmup",
    "latent units n_z": "n_z",
}


def pairs(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """The mean of every pair of levels of two factors over all crossed cells that have both."""
    seen = Comparison(path.name)
    decoder = "gaussian" if path.stem.endswith("-gaussian") else "bernoulli"
    column = path.stem.removesuffix("-gaussian").removeprefix("interactions-").replace("-", "_")
    for printed in table.to_dict("records"):
        names = [TITLES.get(title, title) for title in str(printed["panel"]).split(" by ")]
        at = {name: study.level(name, printed[side]) for name, side in zip(names, ("level", "x_level"), strict=True)}
        values, cells = pooled(study, study.crossed(decoder), column, at)
        seen.row(f"{at}", printed, drawn(values.to_dict(), study.factors["seed"], floor_of(column) / cells))
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
    "interactions-": pairs,
}
