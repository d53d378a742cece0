"""The numbers of one trial that claims are about, as docs/formats.md and the docstrings of `values` define them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tests.independent.comparing import NotRecomputed
from tests.independent.stored import Stored
from tests.independent.textbook import ROUNDING

DAGGER = ("lost", "half_life", "largest_drop", "fallen", "kept", "epochs_to_end", "epochs_to_target")
"""Values that docs/formats.md marks: one trial without the value makes the part not testable."""
COUNTS = ("between", "lost", "half_life", "largest_drop", "fallen", "change_after_warmup", "epochs_to_end")
"""Whole units or whole epochs, whose variance has the floor of rounding whatever column they are about."""
LATENT = "latent-trials-*.csv"

Part = Mapping[str, Any]


class Values(NamedTuple):
    """The values of one cell: a row of numbers per seed that has them, and what the other completed seeds lack."""

    numbers: pd.DataFrame
    floor: float
    undefined: int
    """Completed trials without the value."""


def early_peak(active: np.ndarray) -> tuple[int, float]:
    """The first epoch, of 1 to 5, with the most active units."""
    epoch = max(range(1, 6), key=lambda one: (active[one], -one))
    return epoch, float(active[epoch])


def none_to_lose(active: np.ndarray, until: float, units: int) -> bool:
    """Fewer than 2 units are lost although some are not active at the peak."""
    top = early_peak(active)[1]
    return top - until < 2 and top < units


def half_life(active: np.ndarray) -> float:
    """Epochs from the peak until the curve, drawn as straight lines, first crosses the middle of peak and end."""
    start, top = early_peak(active)
    middle = (top + active[-1]) / 2
    for epoch in range(start + 1, len(active)):
        if active[epoch] <= middle:
            above = active[epoch - 1]
            return epoch - 1 - start + (above - middle) / (above - active[epoch])
    raise AssertionError("a curve ends below the middle of its peak and its end")


def slope(curve: np.ndarray) -> float:
    """Least squares: the covariance with the epochs over their variance, exactly 0 for a constant."""
    epochs = np.arange(len(curve)) - (len(curve) - 1) / 2
    return float((epochs * (curve - curve.mean())).sum() / (epochs**2).sum())


def steps_near_end(curve: np.ndarray, within: float) -> int:
    """The first epoch from which a curve stays within so much of the mean of the last twentieth of its epochs."""
    epochs = len(curve) - 1
    end = curve[-max(1, round(epochs / 20)) :].mean()
    epoch = epochs + 1
    while epoch and abs(curve[epoch - 1] - end) <= within:
        epoch -= 1
    return epoch


def returns(activity: np.ndarray, low: float, high: float) -> tuple[int, int]:
    """Count, unit by unit, the returns and the epochs in which a pruned unit could have returned."""
    came_back = chances = 0
    for unit in activity.T:
        state = "unborn"
        for value in unit:
            if state == "pruned":
                chances += 1
                came_back += value > high
            if value > high:
                state = "alive"
            elif value < low and state != "unborn":
                state = "pruned"
    return int(came_back), chances


def value_of(study: Stored, trial: Mapping[str, Any], part: Part, warmup: int) -> tuple[list[float] | None, float]:
    """The numbers of one completed trial, or none where the value is undefined; and the floor of the variance."""
    name, key = part["value"], trial["trial_id"]
    column = str(part.get("column", ""))
    floor = (
        ROUNDING if name in COUNTS or (column == "active_units" and name in ("final", "difference", "over_epochs")) else 0.0
    )
    if name in ("final", "difference", "pair", "ablation"):
        if name == "ablation":
            last = study.curve(key, "activity")[-1]
            if not ((last > part["low"]) & (last <= trial["measure.threshold"])).any():
                return None, 0.0
        ends = [end_of(study, trial, str(part[one])) for one in ("column", "minus", "with") if one in part]
        return ([ends[0] - ends[1]] if name == "difference" else ends), floor
    if name == "latent":
        rows = latent(study)
        return [float(rows.at[key, column])], 0.0
    if name == "smallest_step":
        samples = {1: "l_1", 5: "l_5", 64: "l_64"}
        bounds = [(k, trial[one]) for k, one in samples.items()] + [(trial["nll_samples"], -trial["nll"])]
        return [min(np.diff([bound for _, bound in sorted(bounds)]))], 0.0
    if name in ("between", "gap_ratio", "fallen", "return_rate"):
        return of_activity(study.curve(key, "activity"), part, float(trial["measure.threshold"])) or (None, floor)
    if name == "by_class":
        return study.curve(key, column)[-1].tolist(), 0.0
    if name == "slope":
        last = study.curve(key, column)[-int(part["last"]) :]
        return [slope(last)], 0.0
    if name == "over_epochs":
        parts = np.array_split(study.curve(key, column)[1:], int(part["stretches"]))
        return [float(one.mean()) for one in parts], floor
    if name == "epochs_to_end":
        curve = study.curve(key, column)
        epoch = steps_near_end(curve, float(part["within"]))
        return ([float(epoch)] if epoch <= 0.75 * (len(curve) - 1) else None), floor
    return of_active(study.curve(key, "active_units"), name, int(trial["n_z"]), warmup)


def of_activity(activity: np.ndarray, part: Part, threshold: float) -> tuple[list[float], float] | None:
    """Values that are made from the activities of all units; none where undefined."""
    name = part["value"]
    if name == "between":
        return [float(((activity[-1] > part["low"]) & (activity[-1] <= part["high"])).sum())], ROUNDING
    if name == "gap_ratio":
        logs = np.sort(np.log10(np.maximum(activity[-1], 1e-300)))
        return [float(np.diff(logs).max())], 0.0
    if name == "fallen":
        above = activity > threshold
        count = sum(not unit[int(unit.argmax()) :].all() for unit in above.T if unit.any())
        return ([float(count)], ROUNDING) if count or above.any(axis=0).all() else None
    came_back, chances = returns(activity, float(part["low"]), float(part["high"]))
    return ([came_back / chances], 1 / chances**2) if chances else None


def of_active(active: np.ndarray, name: str, units: int, warmup: int) -> tuple[list[float] | None, float]:
    """Values that are made from the curve of active units."""
    start, top = early_peak(active)
    early = max(1, round(warmup / 10))
    if name == "lost":
        return (None if none_to_lose(active, active[-1], units) else [top - active[-1]]), ROUNDING
    if name == "half_life":
        return ([half_life(active)] if top - active[-1] >= 2 else None), ROUNDING
    if name == "largest_drop":
        drop = max(0.0, *(active[epoch] - active[epoch + 1] for epoch in range(start, len(active) - 1)))
        return (None if none_to_lose(active, active[-1], units) else [drop]), ROUNDING
    if name == "kept":
        if not top or none_to_lose(active, active[early], units):
            return None, 0.0
        return [active[early] / top], ROUNDING / max(1.0, top) ** 2
    if name == "slope_in_warmup":
        part = active[early : warmup + 1]
        # The errors of rounding are independent from epoch to epoch.
        return [slope(part)], ROUNDING / (len(part) * (len(part) ** 2 - 1) / 12)
    if name == "change_after_warmup":
        return [active[-1] - active[warmup + 1]], ROUNDING
    raise NotRecomputed(f"value {name}")


def end_of(study: Stored, trial: Mapping[str, Any], column: str) -> float:
    """A column at the end: the row that is measured once, or the last epoch."""
    if column in trial and column not in study.epochs:
        return float(trial[column])
    return float(study.curve(trial["trial_id"], column)[-1])


def latent(study: Stored) -> pd.DataFrame:
    """The table that `python -m analysis.latent` wrote, by trial; without rows where there is none."""
    if "latent" not in study.cache:
        tables = [pd.read_csv(path) for path in sorted((study.folder / "figures").glob(LATENT))]
        study.cache["latent"] = pd.concat(tables).set_index("trial_id") if tables else pd.DataFrame()
    return study.cache["latent"]


def values_of(study: Stored, trials: pd.DataFrame, part: Part, warmup: int, zero: bool) -> Values:
    """The values of the completed trials of a cell; with `zero`, an undefined one counts as 0."""
    found, floors, undefined = {}, [], 0
    for trial in trials[trials["status"] == "completed"].to_dict("records"):
        numbers, floor = value_of(study, trial, part, warmup)
        if numbers is None and not zero:
            undefined += 1
            continue
        found[trial["seed"]] = [0.0] if numbers is None else numbers
        floors.append(floor)
    return Values(pd.DataFrame.from_dict(found, orient="index"), float(np.mean(floors)) if floors else 0.0, undefined)
