"""Computes the numbers of one trial that claims are about, one plain function per number."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis.averages.active_units import gap
from analysis.claims.trial import Floats, Trial, Undefined
from analysis.effects.seed_table import direction_of
from analysis.stats import curves
from analysis.stats.estimate import COUNT_FLOOR
from workers.contract.column import UNITS
from workers.contract.columns import unit_of_column

Parameters = Mapping[str, Any]

LEAST_DROP = 2.0
"""If fewer units than this are lost, there is no pruning to take a half-life of."""

LOST_BEFORE = Undefined(
    f"fewer than {LEAST_DROP:g} units are lost after the early peak, which is below the number of units, and the stored "
    "rows do not show whether the others were pruned within epoch 1 or were never active"
)

EARLY_SHARE = 0.1
"""Share of the warm-up that epoch 10 was of the paper's 100."""

ABLATIONS = ("ablation_between", "ablation_between_elbo")
"""The columns of `trials` about units whose activity is above 0.01 and at most the study's threshold."""

LATENT_COLUMNS = (
    "share_reference_better",
    "spearman_purity",
    "spearman_silhouette",
    "lattice_agreement",
    "classifier_accuracy",
)
"""Columns that claims read from the table written by `python -m analysis.latent`, one row per trial (numbers.trial_row).

They are: the share of test images that the trial with the usual n_z and the same seed reconstructs better; Spearman's rho
over classes of purity (silhouette) and excess cross-entropy; the share of points of the decoded lattice where the classifier
reads the class of the nearest code; and that classifier's accuracy.
"""


def final(trial: Trial, how: Parameters) -> Floats:
    """Return a column at the end of training."""
    return np.array([trial.end(how["column"])])


def difference(trial: Trial, how: Parameters) -> Floats:
    """Return one column minus another at the end of training, of the same model."""
    return np.array([trial.end(how["column"]) - trial.end(how["minus"])])


def slope(trial: Trial, how: Parameters) -> Floats:
    """Return the least-squares slope over the last epochs, per epoch."""
    curve = trial.curve(how["column"])[-how["last"] :]
    return np.array([_slope(curve)])


def epochs_to_target(trial: Trial, how: Parameters) -> Floats | Undefined:
    """Return the first epoch at which a column has reached the common target; undefined (censored) if it never does."""
    if np.isnan(trial.target):
        return np.array([np.nan])
    first, has_reached = curves.epochs_to(trial.curve(how["column"])[None], trial.target)
    return first if has_reached[0] else Undefined(f"{how['column']} never reaches the target of {trial.target:.4g}")


def epochs_to_end(trial: Trial, how: Parameters) -> Floats | Undefined:
    """Return the first epoch from which a column stays within a distance of its own end; see curves.epochs_to_end.

    It is undefined (censored) where that epoch lies after three quarters of training, as the curve had not converged.
    """
    first, has_converged = curves.epochs_to_end(trial.curve(how["column"])[None], how["within"])
    if has_converged[0]:
        return first
    return Undefined(f"{how['column']} had not converged: it is near its end only in the last quarter of the epochs")


def between(trial: Trial, how: Parameters) -> Floats:
    """Count the units whose activity at the end is above `low` and not above `high`."""
    activity = trial.vectors("activity")[-1]
    return np.array([float(((activity > how["low"]) & (activity <= how["high"])).sum())])


def gap_ratio(trial: Trial, how: Parameters) -> Floats:
    """Return log10 of the ratio of neighbours at the widest gap of the sorted activities at the end."""
    return np.array([float(np.log10(gap(trial.vectors("activity")[-1])[1]))])


def lost(trial: Trial, how: Parameters) -> Floats | Undefined:
    """Return the active units at the early peak minus those at the end.

    Where fewer than LEAST_DROP are lost although the peak is below the number of units, it is undefined: the others may have
    been pruned within epoch 1.
    """
    fall = trial.peak[1] - trial.active[-1]
    return LOST_BEFORE if _may_be_pruned_before(trial, fall) else np.array([fall])


def half_life(trial: Trial, how: Parameters) -> Floats | Undefined:
    """Return the epochs from the early peak until half of the units lost by the end are lost; see curves.half_life."""
    if trial.peak[1] - trial.active[-1] < LEAST_DROP:
        return Undefined(f"fewer than {LEAST_DROP:g} units are lost, so there is no half-life")
    return curves.half_life(trial.active[None])


def largest_drop(trial: Trial, how: Parameters) -> Floats | Undefined:
    """Return the largest number of active units lost in a single epoch after the early peak; undefined as `lost` is."""
    if _may_be_pruned_before(trial, trial.peak[1] - trial.active[-1]):
        return LOST_BEFORE
    return curves.largest_drop(trial.active[None])


def _may_be_pruned_before(trial: Trial, fall: float) -> bool:
    """Tell whether hardly any unit falls after the early peak, but some are not active at it."""
    return fall < LEAST_DROP and trial.peak[1] < sum(trial.row["layer_sizes"])


def return_rate(trial: Trial, how: Parameters) -> Floats | Undefined:
    """Return how often pruned units come back, per unit and epoch in which one could; undefined if none was ever pruned.

    A unit that was above `high` is pruned from the epoch at which it falls below `low` until it is above `high` again.
    """
    returns, chances = _returns(trial, how)
    return np.array([returns / chances]) if chances else Undefined("no unit was pruned before the last epoch")


def _returns(trial: Trial, how: Parameters) -> tuple[int, int]:
    """Count the units that came back, and the epochs of pruned units in which they could have."""
    activity = trial.vectors("activity")
    pruned, has_lived = np.zeros(activity.shape[1], bool), np.zeros(activity.shape[1], bool)
    returns, chances = 0, 0
    for now in activity:
        chances += int(pruned.sum())
        back = pruned & (now > how["high"])
        returns += int(back.sum())
        has_lived |= now > how["high"]
        pruned = (pruned & ~back) | (has_lived & (now < how["low"]))
    return returns, chances


def one_return(trial: Trial, how: Parameters) -> float:
    """Return the rate of a single return: no return in ten chances does not show a rate below a thousandth."""
    return 1 / max(1, _returns(trial, how)[1])


def rounding(trial: Trial, how: Parameters) -> float:
    """Return the sd that rounding to whole units leaves."""
    return float(np.sqrt(COUNT_FLOOR))


def rounding_of_peak(trial: Trial, how: Parameters) -> float:
    """Return the sd that rounding leaves in a share of the early peak."""
    return rounding(trial, how) / max(1.0, trial.peak[1])


def rounding_of_slope(trial: Trial, how: Parameters) -> float:
    """Return the sd that rounding to whole units in every epoch leaves in the slope during warm-up: sd / sqrt(sum t^2)."""
    epochs = max(2, trial.warmup + 1 - early_epoch(trial.warmup))
    steps = np.arange(epochs) - (epochs - 1) / 2
    return rounding(trial, how) / float(np.sqrt(steps @ steps))


def fallen(trial: Trial, how: Parameters) -> Floats | Undefined:
    """Count the units that were not above the threshold at some epoch after they first were.

    If none was, but some unit never was above it, the count is undefined: that unit may have been pruned within epoch 1.
    """
    is_active = trial.vectors("activity") > trial.threshold
    has_lived = np.logical_or.accumulate(is_active, axis=0)
    count = float((has_lived & ~is_active).any(axis=0).sum())
    if not count and not has_lived[-1].all():
        return Undefined("some unit was never active, and the stored rows do not show whether it was pruned within epoch 1")
    return np.array([count])


def ablation(trial: Trial, how: Parameters) -> Floats | Undefined:
    """Return the change of a bound without the units above `low` and at most at the threshold; undefined without any."""
    activity = trial.vectors("activity")[-1]
    if not ((activity > how["low"]) & (activity <= trial.threshold)).any():
        return Undefined(f"no unit's activity lies above {how['low']:g} and at most at {trial.threshold:g}")
    return final(trial, how)


def kept(trial: Trial, how: Parameters) -> Floats | Undefined:
    """Return the active units after a tenth of the warm-up as a share of the early peak; undefined as `lost` is."""
    top, now = trial.peak[1], trial.active[early_epoch(trial.warmup)]
    if not top:
        return Undefined(f"no unit is active in epochs {curves.EARLY[0]} to {curves.EARLY[1]}")
    return LOST_BEFORE if _may_be_pruned_before(trial, top - now) else np.array([now / top])


def slope_in_warmup(trial: Trial, how: Parameters) -> Floats:
    """Return the least-squares slope of the active units from a tenth of the warm-up to its end, in units per epoch."""
    return np.array([_slope(trial.active[early_epoch(trial.warmup) : trial.warmup + 1])])


def change_after_warmup(trial: Trial, how: Parameters) -> Floats:
    """Return the active units at the end minus those in the first epoch at full beta."""
    return np.array([trial.active[-1] - trial.active[trial.warmup + 1]])


def over_epochs(trial: Trial, how: Parameters) -> Floats:
    """Split the epochs from 1 into equal stretches and return the mean of a column in each."""
    return np.array([part.mean() for part in np.array_split(trial.curve(how["column"])[1:], how["stretches"])])


def by_class(trial: Trial, how: Parameters) -> Floats:
    """Return a vector column at the end, one entry per class; NaN for classes without images."""
    last: Floats = trial.vectors(how["column"])[-1]
    return last


def pair(trial: Trial, how: Parameters) -> Floats:
    """Return two columns at the end."""
    return np.array([trial.end(how["column"]), trial.end(how["with"])])


def smallest_step(trial: Trial, how: Parameters) -> Floats:
    """Return the smallest of the steps from L_1 to L_5 to L_64 to L_S, in order of their numbers of samples."""
    bounds = {1: trial.end("l_1"), 5: trial.end("l_5"), 64: trial.end("l_64")}
    bounds[int(trial.row["nll_samples"])] = -trial.end("nll")
    known = [bounds[samples] for samples in sorted(bounds) if not np.isnan(bounds[samples])]
    return np.array([float(np.diff(known).min()) if len(known) > 1 else np.nan])


def latent(trial: Trial, how: Parameters) -> Floats:
    """Return a column of the table of latent pictures."""
    value = trial.latent.get(how["column"], np.nan)
    return np.array([np.nan if pd.isna(value) else float(value)])


def images_better(trial: Trial, how: Parameters) -> str:
    """Return the number of images behind a share of them, where the table has it."""
    images, others = trial.latent.get("images"), trial.latent.get("images_reference_not_better")
    if how["column"] != "share_reference_better" or pd.isna(images) or pd.isna(others):
        return ""
    return f"{int(images) - int(others):,} of {int(images):,} images"


def early_epoch(warmup: int) -> int:
    """Return the epoch that stands for epoch 10 of the paper in a study with this length of warm-up."""
    return max(1, round(EARLY_SHARE * warmup))


def _slope(curve: Floats) -> float:
    """Return the least-squares slope per step."""
    steps = np.arange(len(curve)) - (len(curve) - 1) / 2
    return float(steps @ curve / (steps @ steps))


@dataclass(frozen=True)
class Value:
    """How to compute a number that a claims file names."""

    of: Callable[[Trial, Parameters], Floats | Undefined]
    takes: Mapping[str, type] = field(default_factory=dict)
    """The types of its parameters by name; all are required."""
    unit: str = ""
    """Empty: the unit of the column."""
    least_sd: Callable[[Trial, Parameters], float] | None = None
    """Least sd of the number; equal numbers from a few seeds do not show that the true ones are equal."""
    columns: tuple[str, ...] = ()
    """The columns that it reads besides those that its parameters name."""
    needs_latent: bool = False
    absence_tells: bool = False
    """Whether it is undefined because of the very thing that is judged, so that the trials which have it are no fair sample:
    one undefined trial then leaves the part untestable. Otherwise such a trial only drops out."""
    words: Callable[[Trial, Parameters], str] | None = None
    """What stands behind the number of one trial, such as a count."""


_COLUMN = {"column": str}

_LOW_HIGH = {"low": float, "high": float}

_ACTIVE = ("active_units",)

VALUES: Mapping[str, Value] = {
    "final": Value(final, _COLUMN),
    "difference": Value(difference, {**_COLUMN, "minus": str}),
    "slope": Value(slope, {**_COLUMN, "last": int}, unit="per epoch"),
    "epochs_to_target": Value(
        epochs_to_target,
        {**_COLUMN, "reference": str, "below": float},
        unit="epochs",
        least_sd=rounding,
        absence_tells=True,
    ),
    "epochs_to_end": Value(
        epochs_to_end, {**_COLUMN, "within": float}, unit="epochs", least_sd=rounding, absence_tells=True
    ),
    "between": Value(between, _LOW_HIGH, unit="units", least_sd=rounding, columns=("activity",)),
    "gap_ratio": Value(gap_ratio, unit="powers of ten", columns=("activity",)),
    "lost": Value(lost, unit="units", least_sd=rounding, columns=_ACTIVE, absence_tells=True),
    "half_life": Value(half_life, unit="epochs", least_sd=rounding, columns=_ACTIVE, absence_tells=True),
    "largest_drop": Value(largest_drop, unit="units", least_sd=rounding, columns=_ACTIVE, absence_tells=True),
    "return_rate": Value(
        return_rate, _LOW_HIGH, unit="returns per epoch of a pruned unit", least_sd=one_return, columns=("activity",)
    ),
    "fallen": Value(fallen, unit="units", least_sd=rounding, columns=("activity",), absence_tells=True),
    "ablation": Value(ablation, {**_COLUMN, "low": float}, columns=("activity",)),
    "kept": Value(kept, unit="share of the early peak", least_sd=rounding_of_peak, columns=_ACTIVE, absence_tells=True),
    "slope_in_warmup": Value(slope_in_warmup, unit="units per epoch", least_sd=rounding_of_slope, columns=_ACTIVE),
    "change_after_warmup": Value(change_after_warmup, unit="units", least_sd=rounding, columns=_ACTIVE),
    "over_epochs": Value(over_epochs, {**_COLUMN, "stretches": int}),
    "by_class": Value(by_class, _COLUMN),
    "pair": Value(pair, {**_COLUMN, "with": str}, unit="rho"),
    "smallest_step": Value(smallest_step, unit="nats", columns=("l_1", "l_5", "l_64", "nll")),
    "latent": Value(latent, _COLUMN, needs_latent=True, words=images_better),
}


def least_variance(value: str, trial: Trial, how: Parameters) -> float:
    """Return the least variance of a value, from `Value.least_sd`."""
    least = VALUES[value].least_sd
    if least is None and unit_of_column(how.get("column", "")) == UNITS:
        least = rounding
    return 0.0 if least is None else least(trial, how) ** 2


def unit_of(value: str, column: str) -> str:
    """Return the unit of a value; empty if it has none."""
    if value == "latent":
        return "rho" if column.startswith("spearman") else "share"
    unit = unit_of_column(column).removesuffix(" per example")
    if value == "slope":
        return f"{unit} per epoch".strip()
    return VALUES[value].unit or unit


def better_of(value: str, column: str) -> bool | None:
    """Tell whether a higher value is better; None if neither is, so that a verdict has to survive both extremes."""
    return direction_of(column) if value in ("final", "by_class", "ablation") else None
