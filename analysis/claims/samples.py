"""Finds the cells of a claim in a study and reads one value per seed from them, or lists what the claim still needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.averages.activity_map import matrices
from analysis.averages.average import seeds_in_words
from analysis.averages.estimators import CLOSED_FORM, SAMPLED, kl_estimator
from analysis.claims.claim import LONGEST, Claim, Part
from analysis.claims.trial import Floats, Trial, Undefined
from analysis.claims.values import VALUES, early_epoch, least_variance
from analysis.loading.labels import cell_text
from analysis.loading.study import Study
from analysis.stats.curves import EARLY
from workers.contract.columns import VECTORS
from workers.contract.settings import FACTORS
from workers.contract.settings_table import default_of, leaves
from workers.contract.user_paths import quoted

LATENT = "python -m analysis.latent"

KL = "objective.kl"

_KINDS_OF_KL = {"sampled": SAMPLED, "analytic": CLOSED_FORM}
"""How the KL is taken, by the levels that say so; `auto` leaves it to K and the gradient."""

_NOTHING = np.zeros((0, 0), np.float32)


@dataclass(frozen=True, eq=False)
class Sample:
    """The values of one cell, one entry per seed."""

    cell: str
    seeds: tuple[int, ...]
    """The seeds of all cells of the part, in the same order, so that pairs line up."""
    values: Floats
    """[seed, number], NaN where absent."""
    diverged: NDArray[np.bool_]
    """Whether the seed's trial diverged."""
    least_variance: float = 0.0
    """Least variance of one value, even if all values are equal."""
    planned: int = 0
    missing: str = ""
    """The seeds without a value, with reasons; empty if there are none."""
    undefined: str = ""
    """The seeds of completed trials whose value is undefined, with reasons."""
    words: tuple[str, ...] = ()
    """What stands behind each seed's number (Value.words); empty texts where nothing does."""


@dataclass(frozen=True, eq=False)
class Reading:
    """The samples of one part of a claim, or what is needed to judge it."""

    part: Part
    samples: Mapping[str, Sample]
    lacks: tuple[str, ...] = ()
    """What the part needs and the study lacks; with `undefined` empty if the part can be judged."""
    undefined: tuple[str, ...] = ()
    """The seeds whose values are undefined, if the part cannot be judged without them."""
    warmup: int = 0
    is_final: bool = True
    """Whether every trial planned in its cells has ended."""
    goal: int = 0

    @property
    def is_testable(self) -> bool:
        """Tell whether the part can be judged."""
        return not self.lacks and not self.undefined


def listed(words: Sequence[str], most: int = 4) -> str:
    """Join the first words and count the others."""
    return "; ".join(words[:most]) + (f"; and {len(words) - most} more" if len(words) > most else "")


class Reader:
    """Reads the parts of claims from one study."""

    def __init__(self, study: Study, latent: pd.DataFrame | None = None) -> None:
        """Sort the stream by trial; `latent` is the table that analysis.latent writes, one row per trial."""
        self.study = study
        trials = study.epochs["trial_id"].cat
        order = np.lexsort((study.epochs["epoch"].to_numpy(), trials.codes.to_numpy()))
        edges = np.searchsorted(trials.codes.to_numpy()[order], np.arange(len(trials.categories) + 1))
        rows = zip(trials.categories, pairwise(edges.tolist()), strict=True)
        self._places = {trial_id: order[first:last] for trial_id, (first, last) in rows if first < last}
        cells = zip(*(study.trials[name].tolist() for name in study.cell_factors), strict=True)
        self._cell_of = dict(zip(study.trials["trial_id"], cells, strict=True))
        self._read: dict[str, dict[str, NDArray[np.float32]]] = {}
        self._reasons = dict(zip(study.missing["trial_id"], study.missing["reason"], strict=True))
        self._cells: dict[Any, tuple[pd.DataFrame, list[str]]] = {}
        self._latent: dict[Any, dict[Any, Any]] | None = None
        if latent is not None:
            self._latent = {row["trial_id"]: row for row in latent.to_dict("records")}

    def read(self, claim: Claim, part: Part) -> Reading:
        """Return the samples of a part, or every level, setting, column and epoch that it needs and the study lacks."""
        every = {name: self._cell(levels) for name, levels in claim.cells.items()}
        cells = {name: every[name][0] for name in part.cells}
        lacks = list(dict.fromkeys(problem for name in part.cells for problem in every[name][1]))
        if lacks:
            return Reading(part, {}, tuple(lacks))
        trials = pd.concat(cells.values())
        # Cells without warm-up are read at the same epochs as those with it.
        warmup = max(int(rows["warmup"].max()) for rows, _ in every.values() if len(rows))
        goal = int(trials["epochs_goal"].min())
        compared = {name: every[name][0] for name in (*part.cells, *_reference(part))}
        # These tests are about one trial, or about the trials of one cell.
        lengths = [] if part.test in ("always", "uncorrelated") else _lengths(compared)
        lacks = [*lengths, *_needs(claim, part, trials, goal, warmup), *self._lacks_latent(part)]
        if lacks:
            return Reading(part, {}, tuple(lacks))
        has_ended = bool((trials["status"] != "unfinished").all())
        seeds = tuple(seed for seed in self.study.factors["seed"] if seed in set(trials["seed"]))
        target = self._target(part, every)
        samples = {name: self._sample(part, name, rows, seeds, warmup, target) for name, rows in cells.items()}
        for name, rows in cells.items():
            lacks += self._nulls(part, name, rows)
        found = [one for one in samples.values() if one.undefined]
        if not VALUES[part.value].absence_tells:
            # Such trials only drop out, unless none of the completed ones is left.
            found = [one for one in found if np.isnan(one.values).all()]
        is_final = has_ended and not self.study.left_out
        return Reading(part, samples, tuple(lacks), tuple(one.undefined for one in found), warmup, is_final, goal)

    def _cell(self, levels: Mapping[str, Any]) -> tuple[pd.DataFrame, list[str]]:
        """Return the planned trials of one cell, and what the study lacks for it; cached, as claims share cells."""
        key = tuple(sorted(levels.items()))
        if key not in self._cells:
            self._cells[key] = self._find(levels)
        return self._cells[key]

    def _find(self, levels: Mapping[str, Any]) -> tuple[pd.DataFrame, list[str]]:
        wanted = dict(levels)
        problems = []
        for name in self.study.cell_factors:
            if name not in wanted:
                present = self.study.factors[name]
                if name in leaves() and default_of(name) in present:
                    wanted[name] = default_of(name)
                elif len(present) == 1:
                    wanted[name] = present[0]
                else:
                    problems.append(f"a level of {name}, which varies but is not fixed by the claim")
        trials = self.study.trials
        is_longest = wanted.get("warmup") == LONGEST
        for name, level in wanted.items():
            if name == KL and level in _KINDS_OF_KL:
                continue
            if name == "warmup" and is_longest:
                if not (trials["warmup"] > 0).any():
                    problems.append("warmup above 0 (the study has none)")
            elif not (trials[name] == level).any():
                have = self.study.factors.get(name) or tuple(dict.fromkeys(trials[name].tolist()))
                problems.append(f"{name} = {level} (the study has {', '.join(map(str, have))})")
        if problems:
            return trials.iloc[:0], problems
        for name, level in wanted.items():
            if not (name == "warmup" and is_longest) and not (name == KL and level in _KINDS_OF_KL):
                trials = trials[trials[name] == level]
        if is_longest:
            trials = trials[trials["warmup"] > 0]
            trials = trials[trials["warmup"] == trials["warmup"].max()]
        kind = wanted.get(KL)
        of_kind = _of_kind(trials, kind) if kind in _KINDS_OF_KL else trials
        if of_kind.empty:
            named = {name: level for name, level in wanted.items() if name in FACTORS or name in levels}
            advice = "" if trials.empty or kind != "sampled" else _bridge(levels)
            problems.append(f"a trial at {cell_text(named)}{advice}")
        return of_kind, problems

    def _lacks_latent(self, part: Part) -> list[str]:
        if VALUES[part.value].needs_latent and (self._latent is None or part.how["column"] not in _names(self._latent)):
            return [f"the column {part.how['column']} of the latent table: run {LATENT} {quoted(self.study.url)}"]
        return []

    def _target(self, part: Part, cells: Mapping[str, tuple[pd.DataFrame, list[str]]]) -> float | None:
        """Return the target of every curve: the mean final value of the reference cell minus `below`."""
        if "reference" not in part.how:
            return None
        rows = cells[part.how["reference"]][0]
        ends = [self._trial(row).end(part.how["column"]) for row in _records(rows) if self._is_whole(row)]
        return float(np.mean(ends)) - float(part.how["below"]) if ends else float("nan")

    def _nulls(self, part: Part, cell: str, rows: pd.DataFrame) -> list[str]:
        """List the columns that are null in every completed trial of a cell."""
        whole = [row for row in _records(rows) if self._is_whole(row)]
        named = [str(part.how[key]) for key in ("column", "minus", "with") if key in part.how]
        found = []
        for column in named or VALUES[part.value].columns:
            if column in VECTORS:
                continue
            trials = [self._trial(row) for row in whole]
            ends = [one.latent.get(column) if VALUES[part.value].needs_latent else one.end(column) for one in trials]
            if ends and pd.isna(ends).all():
                found.append(f"values of {column}, which is null in every trial of {cell}")
        return found

    def _sample(
        self, part: Part, name: str, rows: pd.DataFrame, seeds: Sequence[int], warmup: int, target: float | None
    ) -> Sample:
        numbers: dict[int, Floats] = {}
        words: dict[int, str] = {}
        variances = []
        reasons: dict[str, list[int]] = {}
        undefined: dict[str, list[int]] = {}
        value_of = VALUES[part.value]
        diverged = []
        for row in _records(rows):
            seed = int(row["seed"])
            if row["status"] == "diverged":
                diverged.append(seed)
            if self._is_whole(row) and self._lacks_vectors(part, row["trial_id"]):
                reason = "its vectors are in a file that cannot be read"
            elif self._is_whole(row):
                trial = self._trial(row, warmup, float("nan") if target is None else target)
                value = value_of.of(trial, part.how)
                if isinstance(value, Undefined) and name in part.zero_in:
                    value = np.zeros(1)
                if isinstance(value, Undefined):
                    undefined.setdefault(value.reason, []).append(seed)
                    continue
                value = np.where(np.isfinite(value), value, np.nan)
                variances.append(least_variance(part.value, trial, part.how))
                numbers[seed] = value
                words[seed] = value_of.words(trial, part.how) if value_of.words else ""
                reason = "no finite value" if np.isnan(value).all() else ""
            else:
                reason = self._reasons.get(row["trial_id"], "no value")
            if reason:
                reasons.setdefault(reason, []).append(seed)
        if absent := [seed for seed in seeds if seed not in set(rows["seed"])]:
            reasons["not planned"] = absent
        width = max((len(value) for value in numbers.values()), default=1)
        values = np.full((len(seeds), width), np.nan)
        for place, seed in enumerate(seeds):
            if seed in numbers:
                values[place] = numbers[seed]
        missing = [f"{seeds_in_words(some)} {why}" for why, some in reasons.items()]
        missing += [f"{seeds_in_words(some)} without a value ({why})" for why, some in undefined.items()]
        return Sample(
            name,
            tuple(seeds),
            values,
            np.isin(seeds, diverged),
            float(np.mean(variances)) if variances else 0.0,
            len(rows),
            "; ".join(missing),
            "; ".join(f"{seeds_in_words(some)} of {name}: {why}" for why, some in undefined.items()),
            tuple(words.get(seed, "") for seed in seeds),
        )

    def _is_whole(self, row: Mapping[Any, Any]) -> bool:
        """Tell whether a trial completed and all its epochs are stored."""
        rows = self._places.get(row["trial_id"])
        return row["status"] == "completed" and rows is not None and len(rows) == int(row["last_epoch"]) + 1

    def _trial(self, row: Mapping[Any, Any], warmup: int = 0, target: float = float("nan")) -> Trial:
        trial_id = row["trial_id"]
        latent = (self._latent or {}).get(trial_id, {})
        stream, places = self.study.epochs, self._places[trial_id]
        read = partial(self._vectors, trial_id)
        return Trial(row, stream, places, self.study.threshold, warmup, target, latent, read)

    def _vectors(self, trial_id: str, column: str) -> NDArray[np.float32]:
        """Return a vector column of a trial as [epoch, entry]; its whole cell is read at once and then cached."""
        if trial_id not in self._read.get(column, {}):
            members = [one for one in self._places if self._cell_of[one] == self._cell_of[trial_id]]
            found = matrices(self.study, members, column)
            self._read[column] = {one: found[one][1] if one in found else _NOTHING for one in members}
        return self._read[column][trial_id]

    def _lacks_vectors(self, part: Part, trial_id: str) -> bool:
        """Tell whether vectors that a part needs of a trial are in a file that has proved damaged."""
        named = {*VALUES[part.value].columns, *(part.how[key] for key in ("column", "minus", "with") if key in part.how)}
        read = [self._vectors(trial_id, column) for column in VECTORS if column in named]
        return any(len(vectors) != len(self._places[trial_id]) for vectors in read)


def _reference(part: Part) -> tuple[str, ...]:
    return (str(part.how["reference"]),) if "reference" in part.how else ()


def _of_kind(trials: pd.DataFrame, kind: Any) -> pd.DataFrame:
    """Return the trials at a level of objective.kl or, if there are none, those at `auto` that come to the same."""
    exact: pd.DataFrame = trials[trials[KL] == kind]
    return exact if len(exact) else trials[kl_estimator(trials) == _KINDS_OF_KL[kind]]


def _bridge(levels: Mapping[str, Any]) -> str:
    """Say why a difference to the closed form would not do, and which line of the grid file adds the cell."""
    shown = {
        name: str(level).lower() if isinstance(level, bool) else level
        for name, level in levels.items()
        if name in ("decoder", "k", "n_z") or level != default_of(name)
    }
    line = ", ".join(f"{name}: {level}" for name, level in shown.items())
    return (
        ", as K = 1 with the KL in closed form differs from larger K in the estimator too; add to the cells of the grid "
        f"file: - {{{line}}}"
    )


def _lengths(cells: Mapping[str, pd.DataFrame]) -> list[str]:
    """Ask for cells of one length if their trials end at different epochs."""
    goals = {name: sorted(set(rows["epochs_goal"].tolist())) for name, rows in cells.items()}
    every = {goal for some in goals.values() for goal in some}
    if len(every) < 2:
        return []
    ends = [f"{name} ends at epoch {' and '.join(map(str, some))}" for name, some in goals.items()]
    remedy = f"train the shorter ones on with --set training.epochs={max(every)}"
    return [f"cells of one length ({', '.join(ends)}); {remedy}"]


def _needs(claim: Claim, part: Part, trials: pd.DataFrame, goal: int, warmup: int) -> list[str]:
    """List the epochs, warm-up and settings that a claim needs and these cells lack."""
    found = []
    epochs = max(claim.epochs, _least_epochs(part, warmup))
    if goal < epochs:
        found.append(f"{epochs} epochs (the study is planned for {goal})")
    if warmup < claim.warmup:
        found.append(f"a warm-up of {claim.warmup} epochs or more (its longest is {warmup})")
    for name, allowed in claim.settings.items():
        have = dict.fromkeys(trials[name].tolist())
        if any(level not in allowed for level in have):
            found.append(f"{name} = {' or '.join(map(str, allowed))} (the study has {', '.join(map(str, have))})")
    return found


def _least_epochs(part: Part, warmup: int) -> int:
    """Return the least number of epochs with which the value has a meaning."""
    match part.value:
        case "lost" | "half_life" | "largest_drop":
            return EARLY[1] + 1
        case "kept":
            return max(EARLY[1], early_epoch(warmup))
        case "slope_in_warmup":
            return max(warmup, early_epoch(warmup) + 1)
        case "change_after_warmup":
            return warmup + 2
        case "slope":
            return max(2, int(part.how["last"]))
        case "over_epochs":
            return int(part.how["stretches"])
        case _:
            return 1


def _records(rows: pd.DataFrame) -> list[dict[Any, Any]]:
    return rows.to_dict("records")


def _names(latent: Mapping[Any, Mapping[Any, Any]]) -> set[Any]:
    return set(next(iter(latent.values()), {}))
