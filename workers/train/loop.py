"""Train a pack from its newest commit to its last border."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from workers.contract.column import Column
from workers.contract.columns import (
    AT_THE_LAST_EPOCH,
    EPOCHS,
    MEASURED_AT_THE_END,
    MEASURED_EVERY_EPOCH,
    SCHEMA_VERSION,
    TRIALS,
    table_of,
)
from workers.contract.errors import PackClosedError
from workers.contract.settings import FACTORS, latent_units
from workers.contract.settings_table import value_of
from workers.contract.trial import Pack, Trial, measured_with, next_border
from workers.measure.activity import active_units
from workers.measure.at_the_end import Final, measure_final
from workers.measure.baseline import baseline_bound
from workers.measure.every_epoch import Measurement, measure
from workers.measure.posterior import statistics_of
from workers.model.inputs import Data
from workers.replicas.device import describe_device
from workers.store.closing import is_marked
from workers.store.ends import COMPLETED, DIVERGED, newest_rows
from workers.store.keys import trials_key, weights_key
from workers.store.parquet import decode_with_footer, encode
from workers.store.protocol import Store
from workers.train.checkpoint import State, weights_to_bytes
from workers.train.commit import agrees, commit, newest_state
from workers.train.learner import Learner
from workers.train.pause import pause, paused


@dataclass(frozen=True)
class Progress:
    """What a worker reports to the driver after every epoch."""

    pack_id: str
    epoch: int
    committed: int
    """The newest stored border; -1 before the first."""
    diverged: Mapping[str, int]
    """The epoch in which each diverged trial diverged, by trial_id."""
    seconds: float
    """Wall time of this epoch."""


@dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended."""

    status: str
    """done, or stopped before the end."""
    diverged: Mapping[str, int]


def train(
    pack: Pack,
    data: Data,
    store: Store,
    *,
    device: torch.device,
    attempt: str,
    ancestors: Sequence[Pack] = (),
    provenance: Mapping[str, Any] | None = None,
    keep_weights: bool = True,
    report: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    should_pause: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train a pack to its last border; store the rows of all epochs at the borders, and one row per trial at the end.

    If the checkpoint of an ancestor is lost, training begins at an earlier one, but stores only rows after `from_epoch`.
    If the pack has ended, nothing is trained.

    `should_stop` is asked at every border; `should_pause` after every epoch, and often while the end is measured. A pause
    stores the state and the rows since the last border aside (pause.py), so that no epoch is trained twice.

    Raises:
        PackClosedError: the pack was closed, and its trials continue in other packs.
        ConflictError: rows stored from the same type of device and the same versions differ from these.
        OSError: the store cannot be written; rows that were committed remain.
    """
    if is_marked(store, pack.pack_id):
        raise PackClosedError(pack.pack_id)
    if (diverged_in := _ended(store, pack)) is not None:
        return Outcome("done", diverged_in)
    full_provenance = {**(provenance or {}), **describe_device(device), "fingerprint": data.fingerprint}
    named = {} if data.class_names is None else {"classes": list(data.class_names)}
    learner = Learner(pack, data, device)
    state = newest_state(store, pack, ancestors, device)
    diverged: list[int | None] = [None] * len(pack.trials)
    # What the ancestors stored is not stored again.
    floor = pack.from_epoch or -1
    epoch = -1
    if state is not None:
        learner.restore(state)
        epoch, diverged = state.epoch, list(state.diverged_at)
    is_exact = epoch >= floor
    while epoch < floor and None in diverged:
        # The checkpoint at which the ancestor ended is lost, so its last epochs are trained once more.
        epoch += 1
        _train_and_measure(learner, data, epoch, diverged)
        state = learner.state(epoch, tuple(diverged))
    committed = epoch
    before = EPOCHS.empty_table()
    if epoch >= floor and (found := paused(store, pack, committed, full_provenance, device)):
        state, before = found
        learner.restore(state)
        epoch, diverged = state.epoch, list(state.diverged_at)

    while (border := next_border(pack.borders, epoch)) is not None and None in diverged:
        if should_stop():
            return Outcome("stopped", _by_trial(pack, diverged))
        first, rows = committed + 1, []
        while epoch < border:
            epoch += 1
            started = time.perf_counter()
            objective, bound, measured = _train_and_measure(learner, data, epoch, diverged)
            seconds = time.perf_counter() - started
            rows += _rows(pack, learner.betas(epoch), epoch, objective, bound, measured, diverged, seconds)
            report(Progress(pack.pack_id, epoch, committed, _by_trial(pack, diverged), seconds))
            if None not in diverged:
                break
            if epoch < border and should_pause():
                table = pa.concat_tables([before, table_of(rows, EPOCHS)])
                pause(store, pack, first, table, learner.state(epoch, tuple(diverged)), attempt, full_provenance)
                return Outcome("stopped", _by_trial(pack, diverged))
        table = pa.concat_tables([before, table_of(rows, EPOCHS)]).combine_chunks()
        before = EPOCHS.empty_table()
        state = learner.state(epoch, tuple(diverged))
        facts = {"threshold": pack.trials[0].settings.measure.threshold, "measure": measured_with(pack), **named}
        if not commit(store, pack, (first, border), table, state, attempt, full_provenance, facts, is_exact):
            # Another worker, on another device, committed first. The study has its rows, so we continue from its state. If
            # that is lost, we continue from ours, which is the same up to rounding.
            theirs = newest_state(store, pack, ancestors, device)
            if theirs is not None and theirs.epoch >= first:
                state = theirs
                learner.restore(state)
                epoch, diverged = state.epoch, list(state.diverged_at)
        committed = border
        report(Progress(pack.pack_id, epoch, committed, _by_trial(pack, diverged), 0.0))

    assert state is not None, "a pack has at least one border"
    try:
        _finish(pack, data, store, learner, state, full_provenance, ancestors, keep_weights, is_exact, should_pause)
    except _StoppedError:
        # All rows are stored; the measurements of the end are taken again.
        return Outcome("stopped", _by_trial(pack, diverged))
    return Outcome("done", _by_trial(pack, diverged))


class _StoppedError(Exception):
    """The end of a pack is not measured now, because it was asked to stop."""


def _ended(store: Store, pack: Pack) -> dict[str, int] | None:
    """Return the epoch in which each diverged trial of an ended pack diverged; None if the pack has not ended.

    The checkpoint at which it ended may be gone if the pack was made longer since; without this question a worker would
    train the whole pack again, only to find that nothing is left to store.

    Raises:
        PackClosedError: the pack ended because it was closed.
    """
    key = trials_key(pack.pack_id, pack.epochs)
    try:
        table, footer = decode_with_footer(store.read(key), key, ["trial_id", "status", "last_epoch"])
    except FileNotFoundError:
        return None
    if footer.get("closed"):
        raise PackClosedError(key)
    return {row["trial_id"]: row["last_epoch"] + 1 for row in table.to_pylist() if row["status"] == DIVERGED}


def _train_and_measure(
    learner: Learner, data: Data, epoch: int, diverged: list[int | None]
) -> tuple[torch.Tensor, torch.Tensor, Measurement]:
    """Train and measure one epoch; record in `diverged` the replicas whose numbers are no longer finite."""
    objective, bound = learner.train_epoch(epoch)
    measured = measure(learner.parameters, learner.architecture, data, learner.seeds, learner.k, epoch, learner.statistics)
    finite = torch.isfinite(objective + bound + measured.test_bound + measured.activity.sum(-1)).tolist()
    for replica, is_finite in enumerate(finite):
        if diverged[replica] is None and not is_finite:
            diverged[replica] = epoch
    return objective, bound, measured


def _by_trial(pack: Pack, diverged: list[int | None]) -> dict[str, int]:
    return {trial.trial_id: epoch for trial, epoch in zip(pack.trials, diverged, strict=True) if epoch is not None}


def _factors(trial: Trial) -> dict[str, Any]:
    return {name: value_of(trial.settings, name) for name in FACTORS}


def _rows(
    pack: Pack,
    betas: list[float],
    epoch: int,
    objective: torch.Tensor,
    bound: torch.Tensor,
    measured: Measurement,
    diverged: list[int | None],
    seconds: float,
) -> list[dict[str, Any]]:
    values = {column: _per_replica(getattr(measured, column.name), column) for column in MEASURED_EVERY_EPOCH}
    active = active_units(measured.activity, pack.trials[0].settings.measure.threshold).tolist()
    objectives, bounds = objective.tolist(), bound.tolist()
    return [
        {
            "schema_version": SCHEMA_VERSION,
            "trial_id": trial.trial_id,
            **_factors(trial),
            "epoch": epoch,
            "beta": betas[i],
            "train_objective": objectives[i],
            "train_bound": bounds[i],
            "active_units": active[i],
            **{column.name: _own(column, each[i], trial) for column, each in values.items()},
            # The trial's share of the time that its pack took.
            "seconds": seconds / len(pack.trials),
        }
        for i, trial in enumerate(pack.trials)
        if diverged[i] is None
    ]


def _per_replica(values: torch.Tensor, column: Column) -> NDArray[np.float32] | list[float | None]:
    """Return a measurement of a pack in the form in which it is stored, one entry per replica."""
    return values.cpu().numpy().astype(np.float32) if column.is_vector else _column(values)


def _own(column: Column, value: Any, trial: Trial) -> Any:
    """Return the part of a replica's value that belongs to its trial; vectors of a padded pack are longer."""
    return value[: latent_units(trial.settings)] if column.per == "latent unit" else value


def _finish(
    pack: Pack,
    data: Data,
    store: Store,
    learner: Learner,
    state: State,
    provenance: Mapping[str, Any],
    ancestors: Sequence[Pack],
    keep_weights: bool,
    is_exact: bool,
    should_pause: Callable[[], bool],
) -> None:
    """Store the weights, then the trials file, whose existence means that the pack is done.

    Raises:
        _StoppedError: it was asked to stop.
    """

    def look() -> None:
        if should_pause():
            raise _StoppedError

    settings = pack.trials[0].settings.measure
    where = learner.parameters, learner.architecture
    statistics, _ = statistics_of(*where, data.measured, learner.seeds, state.epoch, learner.statistics)
    final = measure_final(*where, data, learner.seeds, settings, state.epoch, learner.statistics, look)
    baseline = baseline_bound(data, learner.architecture)
    last = newest_rows(store, (pack, *ancestors), AT_THE_LAST_EPOCH)
    rows = []
    for i, trial in enumerate(pack.trials):
        at = state.diverged_at[i]
        facts = {"trial_id": trial.trial_id, "epoch": state.epoch, "settings": trial.settings.model_dump(mode="json")}
        if at is None and keep_weights:
            weights = weights_to_bytes(state, i, facts, statistics, trial.settings.n_z)
            store.create(weights_key(trial.trial_id, pack.epochs), weights)
        rows.append(
            {
                "schema_version": SCHEMA_VERSION,
                "trial_id": trial.trial_id,
                "pack_id": pack.pack_id,
                **_factors(trial),
                "status": COMPLETED if at is None else DIVERGED,
                "epochs": pack.epochs,
                "last_epoch": pack.epochs if at is None else at - 1,
                **{name: last.get(trial.trial_id, {}).get(name) for name in AT_THE_LAST_EPOCH},
                **_final_columns(final, i, trial, at is not None),
                "nll_samples": settings.nll_samples,
                "secondary_samples": settings.secondary_samples,
                "baseline_bound": baseline,
                "seconds": state.seconds / len(pack.trials),
                "device": provenance["device_name"],
            }
        )
    footer = {
        "kind": "trials",
        "pack_id": pack.pack_id,
        "measure": measured_with(pack),
        "provenance": dict(provenance),
    }
    key, table = trials_key(pack.pack_id, pack.epochs), table_of(rows, TRIALS)
    if not store.create(key, encode(table, footer)):
        agrees(store, key, table, provenance, is_exact)


def _final_columns(final: Final, replica: int, trial: Trial, has_diverged: bool) -> dict[str, Any]:
    if has_diverged:
        return dict.fromkeys(column.name for column in MEASURED_AT_THE_END)
    columns: dict[str, Any] = {}
    for column in MEASURED_AT_THE_END:
        value = _own(column, _per_replica(getattr(final, column.name)[replica][None], column)[0], trial)
        # A vector without entries is not applicable to the trial.
        columns[column.name] = None if column.is_vector and not len(value) else value
    return columns


def _column(values: torch.Tensor) -> list[float | None]:
    """Return one entry per replica; None where the value is NaN."""
    return [None if math.isnan(value) else value for value in values.tolist()]
