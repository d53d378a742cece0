"""The number that one trial gives to a claim, a plain function each; knows no cell, no test and no verdict."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.averages.active_units import gap
from analysis.effects.seed_table import direction_of
from analysis.stats import curves
from analysis.stats.estimate import COUNT_FLOOR
from workers.contract.column import UNITS
from workers.contract.columns import unit_of_column

Floats = NDArray[np.float64]


Parameters = Mapping[str, Any]

LEAST_DROP = 2.0
"""Where fewer units are lost than this there is no pruning whose half-life could be told."""

EARLY_SHARE = 0.1
"""Of the warm-up: epoch 10 of the paper's 100."""

LATENT_COLUMNS = (
    "share_reference_better",
    "spearman_purity",
    "spearman_silhouette",
    "lattice_agreement",
    "classifier_accuracy",
)
"""What claims read of the table a row a trial that `python -m analysis.latent` writes (latent_tables.trial_row):
the share of test images that the trial with the usual n_z and the same seed reconstructs better, rho over classes of purity
(silhouette) and excess cross-entropy, the share of the decoded lattice whose class by the classifier is that of the nearest
code, and that classifier's accuracy."""


def _no_vectors(column: str) -> NDArray[np.float32]:
    raise KeyError(column)


@dataclass(frozen=True)
class Trial:
    """What is known of one trial that completed."""

    row: Mapping[str, Any]
    """Its row of `study.trials`."""
    stream: pd.DataFrame = field(repr=False)
    """The rows of all trials: `study.epochs`."""
    places: NDArray[np.int64] = field(repr=False)
    """Where its own rows are, by epoch from 0 to its last one."""
    threshold: float
    """A unit is active above this."""
    warmup: int = 0
    """The longest warm-up among the claim's cells: curves without warm-up are read at the same epochs."""
    target: float = float("nan")
    """What a curve has to reach, in the units of the column."""
    latent: Mapping[str, Any] = field(default_factory=dict)
    """Its row of the table of latent pictures (see LATENT_COLUMNS), if there is one."""
    read: Callable[[str], NDArray[np.float32]] = field(default=_no_vectors, repr=False)
    """A vector column as [epoch, unit]."""

    def curve(self, column: str) -> Floats:
        """A scalar column of the stream, an entry an epoch from 0."""
        values: Floats = self.stream[column].to_numpy()[self.places].astype(float)
        return values

    def vectors(self, column: str) -> Floats:
        """A vector column as [epoch, unit]."""
        return self.read(column).astype(float)

    @cached_property
    def active(self) -> Floats:
        """Active units, an entry an epoch from 0."""
        return self.curve("active_units")

    @property
    def peak(self) -> tuple[int, float]:
        """The epoch of the most active units early on (see curves.EARLY), and how many they are."""
        at = int(curves.peak_epoch(self.active[None])[0])
        return at, float(self.active[at])

    def end(self, column: str) -> float:
        """A column at the end: measured once, or the last epoch of the stream."""
        if column in self.row and column not in self.stream:
            value = self.row[column]
            return float("nan") if pd.isna(value) else float(value)
        return float(self.curve(column)[-1])


def final(trial: Trial, how: Parameters) -> Floats:
    """A column at the end of training."""
    return np.array([trial.end(how["column"])])


def difference(trial: Trial, how: Parameters) -> Floats:
    """One column less another at the end of training, of the same model."""
    return np.array([trial.end(how["column"]) - trial.end(how["minus"])])


def slope(trial: Trial, how: Parameters) -> Floats:
    """Least-squares slope over the last epochs, per epoch."""
    curve = trial.curve(how["column"])[-how["last"] :]
    return np.array([_slope(curve)])


def epochs_to_target(trial: Trial, how: Parameters) -> Floats:
    """The first epoch at which a column has reached the common target; the last one if it never does (restricted mean)."""
    return curves.epochs_to(trial.curve(how["column"])[None], trial.target)[0]


def between(trial: Trial, how: Parameters) -> Floats:
    """Units whose activity at the end is above `low` and not above `high`."""
    activity = trial.vectors("activity")[-1]
    return np.array([float(((activity > how["low"]) & (activity <= how["high"])).sum())])


def gap_ratio(trial: Trial, how: Parameters) -> Floats:
    """Factor between neighbours at the widest gap of the sorted activities at the end, as log10."""
    return np.array([float(np.log10(gap(trial.vectors("activity")[-1])[1]))])


def lost(trial: Trial, how: Parameters) -> Floats:
    """Active units at the early peak less those at the end."""
    return np.array([trial.peak[1] - trial.active[-1]])


def half_life(trial: Trial, how: Parameters) -> Floats:
    """Epochs from the early peak until half of what is lost in the end is lost; see curves.half_life.

    As many as the trial has left if fewer than LEAST_DROP units are lost: nothing is pruned in that time.
    """
    at, top = trial.peak
    if top - trial.active[-1] < LEAST_DROP:
        return np.array([len(trial.active) - 1.0 - at])
    return curves.half_life(trial.active[None])


def largest_drop(trial: Trial, how: Parameters) -> Floats:
    """The most active units lost in a single epoch after the early peak."""
    return curves.largest_drop(trial.active[None])


def return_rate(trial: Trial, how: Parameters) -> Floats:
    """Returns an epoch of a pruned unit; NaN where none was ever pruned.

    A unit is pruned when it falls below `low` once it was above `high`, and until it is above `high` again.
    """
    returns, chances = _returns(trial, how)
    return np.array([returns / chances if chances else np.nan])


def _returns(trial: Trial, how: Parameters) -> tuple[int, int]:
    """How many units came back, and the epochs of pruned units in which they could have."""
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
    """What a single return makes of the rate: no return in ten chances does not show a rate below a thousandth."""
    return 1 / max(1, _returns(trial, how)[1])


def rounding(trial: Trial, how: Parameters) -> float:
    """The sd that rounding to whole units leaves."""
    return float(np.sqrt(COUNT_FLOOR))


def rounding_of_peak(trial: Trial, how: Parameters) -> float:
    """The same of a share of the early peak."""
    return rounding(trial, how) / max(1.0, trial.peak[1])


def fallen(trial: Trial, how: Parameters) -> Floats:
    """Units that were not above the threshold at some epoch after they first were."""
    is_active = trial.vectors("activity") > trial.threshold
    has_lived = np.logical_or.accumulate(is_active, axis=0)
    return np.array([float((has_lived & ~is_active).any(axis=0).sum())])


def kept(trial: Trial, how: Parameters) -> Floats:
    """Active units after a tenth of the warm-up as a share of the early peak."""
    top = trial.peak[1]
    return np.array([trial.active[early_epoch(trial.warmup)] / top if top else np.nan])


def slope_in_warmup(trial: Trial, how: Parameters) -> Floats:
    """Least-squares slope of the active units from a tenth of the warm-up to its end, units an epoch."""
    return np.array([_slope(trial.active[early_epoch(trial.warmup) : trial.warmup + 1])])


def change_after_warmup(trial: Trial, how: Parameters) -> Floats:
    """Active units at the end less those in the first epoch at full beta."""
    return np.array([trial.active[-1] - trial.active[trial.warmup + 1]])


def over_epochs(trial: Trial, how: Parameters) -> Floats:
    """Mean of a column in each of some equal stretches of the epochs from 1."""
    return np.array([part.mean() for part in np.array_split(trial.curve(how["column"])[1:], how["stretches"])])


def by_class(trial: Trial, how: Parameters) -> Floats:
    """A vector column at the end, an entry a class; NaN for classes without images."""
    last: Floats = trial.vectors(how["column"])[-1]
    return last


def pair(trial: Trial, how: Parameters) -> Floats:
    """Two columns at the end."""
    return np.array([trial.end(how["column"]), trial.end(how["with"])])


def smallest_step(trial: Trial, how: Parameters) -> Floats:
    """The smallest of the steps L_1 to L_5 to L_64 to L_S, by rising numbers of samples."""
    bounds = {1: trial.end("l_1"), 5: trial.end("l_5"), 64: trial.end("l_64")}
    bounds[int(trial.row["nll_samples"])] = -trial.end("nll")
    known = [bounds[samples] for samples in sorted(bounds) if not np.isnan(bounds[samples])]
    return np.array([float(np.diff(known).min()) if len(known) > 1 else np.nan])


def latent(trial: Trial, how: Parameters) -> Floats:
    """A column of the table of latent pictures."""
    value = trial.latent.get(how["column"], np.nan)
    return np.array([np.nan if pd.isna(value) else float(value)])


def early_epoch(warmup: int) -> int:
    """Epoch 10 of the paper, in a study whose warm-up has another length."""
    return max(1, round(EARLY_SHARE * warmup))


def _slope(curve: Floats) -> float:
    """Per step."""
    steps = np.arange(len(curve)) - (len(curve) - 1) / 2
    return float(steps @ curve / (steps @ steps))


@dataclass(frozen=True)
class Value:
    """A number of a trial by the name that a claims file gives it."""

    of: Callable[[Trial, Parameters], Floats]
    takes: Mapping[str, type] = field(default_factory=dict)
    """Its parameters, all of them needed."""
    unit: str = ""
    """Empty: that of the column."""
    least_sd: Callable[[Trial, Parameters], float] | None = None
    """Equal numbers of few seeds do not show that the true ones are equal: the sd is at least this."""
    columns: tuple[str, ...] = ()
    """What it reads beside the columns that it is told."""
    needs_latent: bool = False


_COLUMN = {"column": str}

_LOW_HIGH = {"low": float, "high": float}

_ACTIVE = ("active_units",)

VALUES: Mapping[str, Value] = {
    "final": Value(final, _COLUMN),
    "difference": Value(difference, {**_COLUMN, "minus": str}),
    "slope": Value(slope, {**_COLUMN, "last": int}, unit="an epoch"),
    "epochs_to_target": Value(
        epochs_to_target, {**_COLUMN, "reference": str, "below": float}, unit="epochs", least_sd=rounding
    ),
    "between": Value(between, _LOW_HIGH, unit="units", least_sd=rounding, columns=("activity",)),
    "gap_ratio": Value(gap_ratio, unit="powers of ten", columns=("activity",)),
    "lost": Value(lost, unit="units", least_sd=rounding, columns=_ACTIVE),
    "half_life": Value(half_life, unit="epochs", least_sd=rounding, columns=_ACTIVE),
    "largest_drop": Value(largest_drop, unit="units", least_sd=rounding, columns=_ACTIVE),
    "return_rate": Value(
        return_rate, _LOW_HIGH, unit="returns an epoch of a pruned unit", least_sd=one_return, columns=("activity",)
    ),
    "fallen": Value(fallen, unit="units", least_sd=rounding, columns=("activity",)),
    "kept": Value(kept, unit="share of the early peak", least_sd=rounding_of_peak, columns=_ACTIVE),
    "slope_in_warmup": Value(slope_in_warmup, unit="units an epoch", columns=_ACTIVE),
    "change_after_warmup": Value(change_after_warmup, unit="units", least_sd=rounding, columns=_ACTIVE),
    "over_epochs": Value(over_epochs, {**_COLUMN, "stretches": int}),
    "by_class": Value(by_class, _COLUMN),
    "pair": Value(pair, {**_COLUMN, "with": str}, unit="rho"),
    "smallest_step": Value(smallest_step, unit="nats", columns=("l_1", "l_5", "l_64", "nll")),
    "latent": Value(latent, _COLUMN, needs_latent=True),
}


def least_variance(value: str, trial: Trial, how: Parameters) -> float:
    """See `Value.least_sd`."""
    least = VALUES[value].least_sd
    if least is None and unit_of_column(how.get("column", "")) == UNITS:
        least = rounding
    return 0.0 if least is None else least(trial, how) ** 2


def unit_of(value: str, column: str) -> str:
    """In what a value is counted; empty if it has no unit."""
    if value == "latent":
        return "rho" if column.startswith("spearman") else "share"
    unit = unit_of_column(column).removesuffix(" per example")
    if value == "slope":
        return f"{unit} an epoch".strip()
    return VALUES[value].unit or unit


def better_of(value: str, column: str) -> bool | None:
    """Whether a higher value is better; None where neither is, so that a verdict has to survive both extremes."""
    return direction_of(column) if value in ("final", "by_class") else None
