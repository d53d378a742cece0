"""Recomputes estimates, intervals and p-values of claims from analysis/claims/paper.yaml, which is data, and Holm over them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from tests.independent.comparing import Comparison
from tests.independent.stored import Stored
from tests.independent.textbook import ROUNDING, Estimate, holm, mean, paired, welch

PAPER = Path(__file__).parents[2] / "analysis" / "claims" / "paper.yaml"
LEVEL = 0.05
COUNTS = ("between", "lost", "largest_drop", "fallen")


class NotRecomputed(Exception):
    """A value, test or cell that this file does not know, or that the study lacks."""


def trials_at(study: Stored, base: Mapping[str, Any], cell: Mapping[str, Any]) -> pd.DataFrame:
    """The trials of a claim's cell; a factor that is named nowhere is at its first level."""
    levels = {name: values[0] for name, values in study.factors.items() if name != "seed"} | dict(base) | dict(cell)
    if levels["warmup"] == "longest":
        levels["warmup"] = max(study.factors["warmup"])
    unknown = [name for name in levels if name not in study.trials]
    found = study.trials if unknown else study.at(levels)
    if unknown or found.empty:
        raise NotRecomputed(f"no cell at {cell}")
    return found


def of_counts(study: Stored, trials: pd.DataFrame, part: Mapping[str, Any]) -> pd.Series:
    """A count of units per seed, from its vectors or its curve of active units."""
    if part["value"] in ("lost", "largest_drop"):
        curves = {
            seed: study.epochs.loc[trial, "active_units"].to_numpy(float)
            for trial, seed in zip(trials["trial_id"], trials["seed"], strict=True)
        }
        peaks = {seed: 1 + int(np.argmax(one[1:6])) for seed, one in curves.items()}
        if part["value"] == "lost":
            return pd.Series({seed: one[peaks[seed]] - one[-1] for seed, one in curves.items()})
        return pd.Series({seed: max(0.0, -np.diff(one[peaks[seed] :]).min()) for seed, one in curves.items()})
    activity = dict(study.vectors(trials, "activity"))
    if part["value"] == "between":
        low, high = float(part["low"]), float(part["high"])
        return pd.Series({seed: float(((one[-1] > low) & (one[-1] <= high)).sum()) for seed, one in activity.items()})
    threshold = float(trials["measure.threshold"].iloc[0])
    above = {seed: one > threshold for seed, one in activity.items()}
    fell = {seed: (np.maximum.accumulate(one, axis=0) & ~one).any(axis=0) for seed, one in above.items()}
    return pd.Series({seed: float(one.sum()) for seed, one in fell.items()})


def values_of(study: Stored, trials: pd.DataFrame, part: Mapping[str, Any]) -> tuple[pd.Series, float]:
    """One number per seed, and the floor of its variance."""
    match part["value"]:
        case "final":
            return study.by_seed(trials, part["column"]), ROUNDING if part["column"] == "active_units" else 0.0
        case "difference":
            return study.by_seed(trials, part["column"]) - study.by_seed(trials, part["minus"]), 0.0
        case "slope":
            epochs = int(trials["epochs_planned"].iloc[0])
            span = np.arange(epochs - int(part["last"]) + 1, epochs + 1)
            curve = pd.DataFrame({epoch: study.by_seed(trials, part["column"], epoch) for epoch in span}).dropna()
            return curve.apply(lambda row: np.polyfit(span, row.to_numpy(float), 1)[0], axis=1), 0.0
        case value if value in COUNTS:
            return of_counts(study, trials, part), ROUNDING
        case value:
            raise NotRecomputed(f"value {value}")


def comparisons(
    study: Stored, base: Mapping[str, Any], claim: Mapping[str, Any], part: Mapping[str, Any]
) -> dict[str, Estimate]:
    """Every mean or difference that a part tests, under the name that the table gives it."""
    names = [str(name) for name in part["cells"]]
    cells = {str(name): cell for name, cell in claim["cells"].items()}
    values = {name: values_of(study, trials_at(study, base, cells[name]), part) for name in names}
    if part["test"] in ("above", "below", "within"):
        return {f"{part['name']}, {name}": mean(one.to_numpy(), floor) for name, (one, floor) in values.items()}
    if part["test"] in ("greater", "less"):
        pairs = [(names[0], name) for name in names[1:]]
    elif part["test"] == "equal":
        pairs = [(one, other) for place, one in enumerate(names) for other in names[place + 1 :]]
    else:
        raise NotRecomputed(f"test {part['test']}")
    found = {}
    for one, other in pairs:
        (x, floor), (y, _) = values[one], values[other]
        test = paired(x, y, floor) if part["paired"] else welch(x.to_numpy(), y.to_numpy(), floor)
        found[f"{part['name']}, {one} - {other}"] = test
    return found


def p_for(part: Mapping[str, Any], found: Estimate) -> float:
    """The p-value for what a part states: twice the one-sided one of a direction; the larger of two one-sided tests."""
    match part["test"]:
        case "greater":
            return min(1.0, 2 * found.p_above(part.get("by", 0)))
        case "less":
            return min(1.0, 2 * found.p_below(-part.get("by", 0)))
        case "above":
            return min(1.0, 2 * found.p_above(part["limit"]))
        case "below":
            return min(1.0, 2 * found.p_below(part["limit"]))
        case "within":
            return max(found.p_above(part["range"][0]), found.p_below(part["range"][1]))
        case _:
            return max(found.p_above(-part["margin"]), found.p_below(part["margin"]))


def claims(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """Estimate and interval of the quantity shown; p of the whole claim; Holm over the primary claims; no verdict without p."""
    seen = Comparison(path.name)
    text = yaml.safe_load(PAPER.read_text())
    known = {claim["id"]: claim for claim in text["claims"]}
    raw = "p_for" if "p_for" in table else "p"
    adjusted = "p_for_adjusted" if "p_for_adjusted" in table else "p_holm"
    primary = table[table["primary"] & (table["verdict"] != "not testable")]  # one without a p-value counts as p = 1
    over = dict(zip(primary["claim"], holm(primary[raw].fillna(1.0).to_list()), strict=True))
    for printed in table[table["verdict"] != "not testable"].to_dict("records"):
        name, claim = printed["claim"], known[printed["claim"]]
        if name in over and not np.isnan(printed[raw]):
            seen.row(name, printed, {adjusted: over[name]})
        try:
            parts = [part for part in claim["parts"] if part.get("decides", True)]
            found = [(part, comparisons(study, text["base"], claim, part)) for part in parts]
        except NotRecomputed as why:
            seen.left.append(f"{name}: {why}")
            continue
        for _, tests in found:
            if printed["what"] in tests:
                low, high = tests[printed["what"]].interval()
                seen.row(name, printed, {"estimate": tests[printed["what"]].value, "low": low, "high": high})
        p = max(p_for(part, one) for part, tests in found for one in tests.values())
        seen.row(name, printed, {raw: p})
        if printed["verdict"] == "confirmed" and over.get(name, p) > LEVEL:
            seen.wrong.append(f"{name}: confirmed at p = {over.get(name, p):.3g}")
    return seen
