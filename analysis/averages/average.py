"""Computes means over seeds and names what is missing; pools only over the factors named, and never over decoders."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from analysis.averages.active_units import count_active
from analysis.averages.lengths import refusal as length_refusal
from analysis.loading.labels import cell_text
from analysis.loading.study import LoadError, Study
from analysis.stats.estimate import COUNT_FLOOR
from workers.contract.column import UNITS
from workers.contract.columns import TRIAL_MEASURES, VECTORS, unit_of_column
from workers.contract.errors import UserError, close_to

Floats = NDArray[np.float64]

NO_VALUE = "no finite value"
"""Why a trial that completed lacks a value at an epoch that it reached."""


class AverageError(UserError):
    """A requested mean would hide something, or the study lacks its data; the message says what to do."""


def average(
    study: Study,
    value: str | pd.Series,
    by: Sequence[str] | None = None,
    *,
    at: Mapping[str, Any] | None = None,
    pool_over: Sequence[str] = (),
    epoch: int | Literal["last", "every"] = "last",
    confidence: float = 0.95,
    threshold: float | None = None,
    layer: int | None = None,
    floor: float | None = None,
) -> pd.DataFrame:
    """Compute the mean over the seeds of every cell, with a t interval and the names of missing seeds.

        mean -+ t(confidence, n - 1) * sd / sqrt(n),    sd with divisor n - 1, over the n seeds that have the value

    A factor that varies among the chosen trials must be in `by`, fixed in `at`, or named in `pool_over`. Pooled cells have
    equal weight: first each seed that has all the cells is averaged over them, then the seeds are averaged.

    Args:
        study: the output of `load`.
        value: a scalar column of `study.epochs`, such as test_bound; or one of columns.TRIAL_MEASURES, such as nll; or your
            own values, one per row of `study.epochs`, as a Series with its index.
        by: factors whose levels get one row each; None: every factor that varies.
        at: factor to level, or to a list of levels: use only those trials.
        pool_over: factors to average over; the decoder is refused.
        epoch: `last` is the epoch that the trials of a row are planned to reach, never an earlier one of an unfinished
            trial; rows may differ in it, and each names its own. A number is that epoch; `every` gives one row per epoch, up
            to the last one stored.
        confidence: of the pointwise interval, between 0 and 1.
        threshold: for active_units only: count again from the stored vectors at this threshold; None: the study's.
        layer: for active_units only: count this stochastic layer, from 1, which is next to the data.
        floor: least variance of one value; None: that of rounding for counts of units, else 0.

    Returns:
        The columns of `by`, then epoch, mean, low, high (null where n < 2), n, n_planned, missing (text; empty if n equals
        n_planned), is_balanced (whether all rows of this epoch rest on the same seeds). Sorted as the study's levels.

    The variance of a count of units has a floor of 1/12, divided by the number of pooled cells (docs/statistics.md).

    Raises:
        AverageError: a factor would be pooled without being named, or the decoder at all; a name, level or epoch does not
            exist; or, at the last epoch, a row would mix trials of different lengths.
        RecordError: with `threshold` or `layer`: see Study.vectors.
    """
    trials = select(study, at)
    # Drop the settings: about eighty columns, which would be copied with every group.
    needed = {"trial_id", "status", "epochs_goal", *study.factors, *([value] if isinstance(value, str) else [])}
    trials = trials[[name for name in trials if name in needed]]
    varied = [name for name in study.cell_factors if trials[name].nunique() > 1]
    keys = [name for name in varied if name not in pool_over] if by is None else list(by)
    refuse_pooling(study, keys, pool_over, varied)
    if threshold is not None or layer is not None:
        if not isinstance(value, str) or value != "active_units":
            raise AverageError("threshold and layer apply to active_units only; leave them out, or average active_units")
        try:
            limit = study.threshold if threshold is None else threshold
            counts = count_active(study, limit, layer=layer, trial_ids=trials["trial_id"].tolist())
        except LoadError as error:
            raise AverageError(str(error)) from error
        value = counts.reindex(study.epochs.index)
    least = floor_of(value if isinstance(value, str) else str(value.name)) if floor is None else floor
    # At the last epoch each row has its own, so the values are read length by length.
    alike = [rows for _, rows in trials.groupby("epochs_goal")] if epoch == "last" else [trials]
    read = {int(rows["epochs_goal"].max()): values_by_epoch(study, rows, value, epoch) for rows in alike}
    reasons = dict(zip(study.missing["trial_id"], study.missing["reason"], strict=True))
    frames = []
    present: list[list[frozenset[int]]] = []
    pooled_cells: dict[Any, list[str]] = {}
    for key, members in _groups(study, trials, keys):
        if epoch == "last" and members["epochs_goal"].nunique() > 1:
            where = cell_text(dict(zip(keys, key, strict=True))) or "all cells together"
            raise AverageError(length_refusal(study, members, f"{where}: the mean is asked for at the last epoch"))
        epochs, values = read[int((members if epoch == "last" else trials)["epochs_goal"].max())]
        per_seed, why, cells = _pool(study, members, values, pool_over, reasons)
        pooled_cells[key] = cells
        goals: dict[int, int] = {}
        for seed, goal in zip(members["seed"], members["epochs_goal"], strict=True):
            goals[seed] = min(goal, goals.get(seed, goal))
        frame = _by_stretch(per_seed, why, goals, epochs, confidence, least / len(cells))
        for position, (name, level) in enumerate(zip(keys, key, strict=True)):
            frame.insert(position, name, [level] * len(frame))
        frames.append(frame)
        present.append(_seeds_of(per_seed, list(why)))
    _refuse_unbalanced(keys, pooled_cells)
    is_balanced = [len(set(seeds)) == 1 for seeds in zip(*present, strict=True)]
    return pd.concat([frame.assign(is_balanced=is_balanced) for frame in frames], ignore_index=True)


def select(study: Study, at: Mapping[str, Any] | None) -> pd.DataFrame:
    """Return the planned trials at the given levels.

    Raises:
        AverageError: a factor or level is not in the study, or no trial was planned there.
    """
    trials = study.trials
    chosen = np.ones(len(trials), bool)
    for name, wanted in (at or {}).items():
        _refuse_unknown("at", name, study.factors)
        levels = list(wanted) if isinstance(wanted, list | set | frozenset | range) else [wanted]
        for level in levels:
            if level not in study.factors[name]:
                known = ", ".join(map(str, study.factors[name]))
                raise AverageError(f"at: {name} has no level {level}; it has {known}")
        chosen &= np.array([level in levels for level in trials[name]], bool)
    if not chosen.any():
        raise AverageError(f"no trial was planned at {cell_text(at or {})}; choose other levels")
    return trials[chosen]


def refuse_pooling(study: Study, by: Collection[str], pool_over: Collection[str], varied: Iterable[str]) -> None:
    """Refuse names that are not factors, pooling over decoders, and factors that vary without being named.

    Raises:
        AverageError: one of these; the message says what to write instead.
    """
    for where, names in (("by", by), ("pool_over", pool_over)):
        for name in names:
            _refuse_unknown(where, name, study.factors)
            if name == "seed":
                raise AverageError(f"{where}: averages are over seeds; single trials are in study.trials and study.epochs")
    if "decoder" in pool_over:
        raise AverageError(
            'pool_over: decoders are never pooled, as their nats are not comparable; put "decoder" in by, or fix it with at'
        )
    if both := set(by) & set(pool_over):
        raise AverageError(f"{min(both)} is both in by and in pool_over; name it once")
    for name in varied:
        if name not in by and name not in pool_over:
            level = study.factors[name][0]
            pool = "" if name == "decoder" else f', or average over it with pool_over=["{name}"]'
            raise AverageError(
                f'{name} varies: fix it with at={{"{name}": {level!r}}}, or keep it with by=[..., "{name}"]{pool}'
            )


def _refuse_unknown(where: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        hint = close_to(name, known) or f"its factors are {', '.join(known)}"
        raise AverageError(f"{where}: {name} is not a factor of this study; {hint}")


def _refuse_unbalanced(keys: Sequence[str], pooled_cells: Mapping[Any, list[str]]) -> None:
    """Refuse to pool rows over different cells, as their means would differ by the cells alone."""
    reference = next(iter(pooled_cells.values()))
    for key, cells in pooled_cells.items():
        if lacking := set(reference) ^ set(cells):
            where = cell_text(dict(zip(keys, key, strict=True)))
            raise AverageError(f"pool_over: {min(lacking)} is not planned in every row (see {where}); leave it out with at")


def _seeds_of(per_seed: Floats, seeds: Sequence[int]) -> list[frozenset[int]]:
    """Return the seeds that have a value, for every epoch."""
    present = ~np.isnan(per_seed)
    patterns, place = np.unique(present, axis=1, return_inverse=True)
    sets = [frozenset(seed for seed, has in zip(seeds, column, strict=True) if has) for column in patterns.T]
    return [sets[number] for number in np.ravel(place)]


def values_by_epoch(
    study: Study, trials: pd.DataFrame, value: str | pd.Series, epoch: int | Literal["last", "every"]
) -> tuple[NDArray[np.int64], pd.DataFrame]:
    """Return the requested epochs, and values [trial_id, epoch] with NaN where a trial has none.

    Here `last` is the last epoch that all of these trials are planned to reach.

    Raises:
        AverageError: the value or epoch does not exist; or the value is measured only at the end, and the ends differ.
    """
    goal = int(trials["epochs_goal"].max())
    if isinstance(value, str) and value in TRIAL_MEASURES:
        if epoch != "last":
            raise AverageError(f'{value} is measured only at the end of a trial; use epoch="last"')
        if trials["epochs_goal"].nunique() > 1:
            raise AverageError(length_refusal(study, trials, f"{value} is measured only at the end of a trial"))
        ends = trials[value].where(trials["status"] == "completed").astype(float)
        return np.array([goal]), pd.DataFrame(ends.to_numpy()[:, None], index=trials["trial_id"])
    if isinstance(value, str):
        _refuse_value(study, value)
        value = study.epochs[value]
    elif not value.index.equals(study.epochs.index):
        raise AverageError("value: a Series must have the index of study.epochs, one value per row")
    # By codes and positions, as a study has millions of rows.
    place = np.full(len(study.trials), -1)
    place[pd.Index(study.trials["trial_id"]).get_indexer(trials["trial_id"])] = np.arange(len(trials))
    row, reached = place[study.epochs["trial_id"].cat.codes.to_numpy()], study.epochs["epoch"].to_numpy()
    if epoch == "every":
        chosen = np.flatnonzero(row >= 0)
        epochs = np.arange(int(reached[chosen].max(initial=0)) + 1)
    else:
        epochs = np.array([int(trials["epochs_goal"].min()) if epoch == "last" else epoch])
        if not 0 <= epochs[0] <= goal:
            raise AverageError(f"epoch {epoch} is not planned; the first epoch is 0, the last {goal}")
        chosen = np.flatnonzero((row >= 0) & (reached == epochs[0]))
    wide = np.full((len(trials), len(epochs)), np.nan)
    wide[row[chosen], reached[chosen] - epochs[0]] = value.iloc[chosen].astype(float)
    return epochs, pd.DataFrame(wide, index=trials["trial_id"], columns=epochs)


def _refuse_value(study: Study, value: str) -> None:
    known = [
        name
        for name in study.epochs.select_dtypes("number").columns
        if name not in (*study.factors, "schema_version", "epoch")
    ]
    if value in VECTORS:
        raise AverageError(f'{value} is a vector; use study.activity(column="{value}"), or average active_units')
    if value not in known:
        there = [*known, *TRIAL_MEASURES]
        hint = close_to(value, there) or f"the measures are {', '.join(there)}"
        raise AverageError(f"{value} is not measured; {hint}")


def _groups(study: Study, trials: pd.DataFrame, keys: Sequence[str]) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Group trials by their levels of some factors, in the order of the study's levels."""
    levels = list(zip(*(trials[name].tolist() for name in keys), strict=True)) if keys else [()] * len(trials)
    rank = {name: {level: place for place, level in enumerate(study.factors[name])} for name in keys}
    found = sorted(set(levels), key=lambda key: [rank[name][level] for name, level in zip(keys, key, strict=True)])
    return [(key, trials[[level == key for level in levels]]) for key in found]


def _pool(
    study: Study, members: pd.DataFrame, values: pd.DataFrame, pool_over: Sequence[str], reasons: Mapping[str, str]
) -> tuple[Floats, dict[int, str], list[str]]:
    """Return values [seed, epoch], why each seed may lack one, and the cells that were pooled."""
    cells = _groups(study, members, pool_over)
    seeds = sorted(set(members["seed"]))
    stack = np.full((len(cells), len(seeds), values.shape[1]), np.nan)
    texts: dict[int, list[str]] = {seed: [] for seed in seeds}
    names = [cell_text(dict(zip(pool_over, key, strict=True))) for key, _ in cells]
    for place, (_, trials) in enumerate(cells):
        where = f" at {names[place]}" if names[place] else ""
        planned = dict(zip(trials["seed"], trials["trial_id"], strict=True))
        for row, seed in enumerate(seeds):
            if seed in planned:
                stack[place, row] = values.loc[planned[seed]].to_numpy()
                reason = reasons.get(planned[seed], "")
            else:
                reason = "not planned"
            if reason:
                texts[seed].append(reason + where)
    # NaN propagates on purpose: a seed that lacks a cell would pull the mean towards the other cells.
    per_seed = stack.mean(axis=0)
    per_seed[~np.isfinite(per_seed)] = np.nan
    return per_seed, {seed: _short(found) or NO_VALUE for seed, found in texts.items()}, names


def _short(reasons: Sequence[str]) -> str:
    """Join the reasons from the pooled cells; where there are many, the first stands for the others."""
    return " and ".join(reasons) if len(reasons) < 3 else f"{reasons[0]} and missing from {len(reasons) - 1} other cells"


def _by_stretch(
    per_seed: Floats,
    why: Mapping[int, str],
    goals: Mapping[int, int],
    epochs: NDArray[np.int64],
    confidence: float,
    floor: float,
) -> pd.DataFrame:
    """Apply `summarise` between planned ends, as beyond its own end a trial lacks a value for that reason alone."""
    frames = []
    for part in np.split(epochs, np.searchsorted(epochs, sorted(set(goals.values())), "right")):
        if len(part):
            here = {seed: reason_at(int(part[0]), goals.get(seed), reason) for seed, reason in why.items()}
            frames.append(summarise(per_seed[:, part - epochs[0]], here, part, confidence, floor))
    return pd.concat(frames, ignore_index=True)


def reason_at(epoch: int, goal: int | None, reason: str) -> str:
    """Return why a trial has no value at an epoch: `reason`, unless it completed and was not planned to train so long."""
    return f"planned to epoch {goal}" if reason == NO_VALUE and goal is not None and epoch > goal else reason


def floor_of(name: str) -> float:
    """Return the least variance of a value: that of rounding for counts of units, otherwise 0."""
    return COUNT_FLOOR if unit_of_column(name) == UNITS else 0.0


def summarise(
    per_seed: Floats,
    why: Mapping[int, str],
    epochs: NDArray[np.int64],
    confidence: float = 0.95,
    floor: float = 0.0,
) -> pd.DataFrame:
    """Summarise values [seed, epoch]: mean, t interval, n and missing seeds.

    Args:
        per_seed: NaN where absent.
        why: a reason for each seed.
        epochs: one per column.
        confidence: of the interval, between 0 and 1.
        floor: least variance of one value.
    """
    present = ~np.isnan(per_seed)
    n = present.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(present, per_seed, 0).sum(axis=0) / n
        squares = (np.where(present, per_seed - mean, 0) ** 2).sum(axis=0)
        variance = np.maximum(squares / (n - 1), floor)
        half = stdtrit(np.maximum(n - 1, 1), (1 + confidence) / 2) * np.sqrt(variance / n)
    half[n < 2] = np.nan
    return pd.DataFrame(
        {
            "epoch": epochs,
            "mean": mean,
            "low": mean - half,
            "high": mean + half,
            "n": n,
            "n_planned": len(per_seed),
            "missing": _absent(present, why),
        }
    )


def _absent(present: NDArray[np.bool_], why: Mapping[int, str]) -> list[str]:
    """Name the seeds without a value, for every epoch, grouped by reason."""
    # There are few patterns and many epochs.
    patterns, place = np.unique(present, axis=1, return_inverse=True)
    words = []
    for column in patterns.T:
        seeds_by_reason: dict[str, list[int]] = {}
        for (seed, reason), has in zip(why.items(), column, strict=True):
            if not has:
                seeds_by_reason.setdefault(reason, []).append(seed)
        words.append("; ".join(f"{seeds_in_words(seeds)} {reason}" for reason, seeds in seeds_by_reason.items()))
    return [words[number] for number in np.ravel(place)]


def seeds_in_words(seeds: Sequence[object]) -> str:
    """Return seeds as texts name them: 'seed 2', 'seeds 0, 1'."""
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
