"""Every stored file of a study, read and checked: whole, where it belongs, and each (trial, epoch) once; writes nothing."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from study.status.found_study import files_below
from workers.contract.columns import EPOCHS, PLAN, TRIALS
from workers.contract.errors import RecordError
from workers.store.keys import (
    CHECKPOINTS_FOLDER,
    EPOCHS_FOLDER,
    LEASE_FOLDER,
    PLAN_FOLDER,
    TRIALS_FOLDER,
    WEIGHTS_FOLDER,
    closed_key,
    trials_key,
)
from workers.store.listing import Segment, checkpoints, closed_packs, ended_packs, leases, segments, trained_models
from workers.store.parquet import decode_with_footer
from workers.store.plan_log import Plan, read_plan
from workers.store.protocol import Store
from workers.store.weights_file import decode_weights

_SCHEMAS = {PLAN_FOLDER: PLAN, EPOCHS_FOLDER: EPOCHS, TRIALS_FOLDER: TRIALS}

_FROM_A_COPY = "restore it from a copy, or move it away and run the study again"

_MOVE_AWAY = "move it out of the study's folder"


@dataclass(frozen=True)
class Fault:
    """Something in a study's folder that is not as it was written, or does not belong there."""

    key: str
    text: str
    next_step: str
    is_damage: bool = True
    """False: nothing that was stored is wrong or lost."""


@dataclass
class Examined:
    """What was looked at, and what was found."""

    files: Counter[str] = field(default_factory=Counter)
    """Files read, by folder."""
    rows: int = 0
    faults: list[Fault] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    """Hidden files of writes that did not end; no reader takes them for results."""


def examine(store: Store) -> Examined:
    """Read every file of a study and check it."""
    found = Examined()
    # A running study grows in the order plan, epochs, trials: what is read later explains what was read before.
    listed = {folder: store.list(folder) for folder in (TRIALS_FOLDER, EPOCHS_FOLDER, PLAN_FOLDER)}
    ended_in = {trials_key(*ended) for ended in ended_packs(store)}
    stored = {segment.key: segment for segment in segments(store)}
    ended = [row for key in listed[TRIALS_FOLDER] if (read := _table(store, key, ended_in, found)) for row in _ends(read[0])]
    streams = [
        (stored[key], *read) for key in listed[EPOCHS_FOLDER] if (read := _table(store, key, set(stored), found)) is not None
    ]
    for key in listed[PLAN_FOLDER]:
        _table(store, key, {key for key in listed[PLAN_FOLDER] if key.endswith(".parquet")}, found)
    plan = _plan(store)
    _once(streams, ended, plan, found)
    _checkpoints(store, streams, {(row["pack_id"], row["epochs"]) for row in ended}, plan, found)
    _weights(store, found)
    _strays(store, found)
    return found


def _table(store: Store, key: str, known: set[str], found: Examined) -> tuple[pa.Table, Mapping[str, Any]] | None:
    folder = key.partition("/")[0]
    if key not in known:
        # pandas.read_parquet on the folder would take it for rows.
        found.faults.append(Fault(key, f"is no file of {folder}/", _MOVE_AWAY, is_damage=False))
        return None
    found.files[folder] += 1
    try:
        table, footer = decode_with_footer(store.read(key), key)
    except RecordError as error:
        found.faults.append(Fault(key, str(error).removeprefix(f"{key}: ").rpartition("; ")[0], _FROM_A_COPY))
        return None
    except OSError as error:
        found.faults.append(Fault(key, f"cannot be read ({error.strerror})", "check the disk and its rights"))
        return None
    if not set(table.column_names) <= set(_SCHEMAS[folder].names):
        found.faults.append(Fault(key, f"is no file of {folder}/ (kind {footer.get('kind')})", _MOVE_AWAY))
        return None
    return table, footer


def _ends(table: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.select(["trial_id", "pack_id", "epochs", "last_epoch"]).to_pylist()
    return rows


def _plan(store: Store) -> Plan | None:
    try:
        return read_plan(store)
    except (RecordError, OSError):
        return None  # told already, file by file


def _once(
    streams: list[tuple[Segment, pa.Table, Mapping[str, Any]]],
    ended: list[dict[str, Any]],
    plan: Plan | None,
    found: Examined,
) -> None:
    """Every (trial, epoch) once, without a gap, to the trial's end, and of planned trials alone."""
    epochs_of: dict[str, list[int]] = {}
    file_of: dict[tuple[str, int], str] = {}
    for segment, table, _ in streams:
        found.rows += len(table)
        for trial_id, epoch in zip(table["trial_id"].to_pylist(), table["epoch"].to_pylist(), strict=True):
            epochs_of.setdefault(trial_id, []).append(epoch)
            if first := file_of.get((trial_id, epoch)):
                text = f"epoch {epoch} of trial {trial_id} is stored twice (see {first})"
                found.faults.append(Fault(segment.key, text, "move the wrong file away"))
            file_of[trial_id, epoch] = segment.key
    last_of: dict[str, int] = {}
    for row in ended:
        last_of[row["trial_id"]] = max(row["last_epoch"] or 0, last_of.get(row["trial_id"], 0))
    for trial_id in dict.fromkeys([*epochs_of, *last_of]):
        there = set(epochs_of.get(trial_id, ()))
        wanted = max([*there, last_of.get(trial_id, -1)]) + 1
        if lost := sorted(set(range(wanted)) - there):
            text = f"{len(lost)} of {wanted} epochs of trial {trial_id} are not there, the first of them epoch {lost[0]}"
            found.faults.append(Fault(f"{EPOCHS_FOLDER}/", text, "restore the lost file from a copy"))
        if plan is not None and trial_id not in plan.trials:
            text = f"has rows of trial {trial_id}, which no entry of the plan names"
            found.faults.append(Fault(f"{EPOCHS_FOLDER}/", text, "move its file away"))


def _checkpoints(
    store: Store,
    streams: list[tuple[Segment, pa.Table, Mapping[str, Any]]],
    ended: set[tuple[str, int]],
    plan: Plan | None,
    found: Examined,
) -> None:
    """Those that rows files name have the content these say; a pack that has not ended has its newest one."""
    named: dict[str, Mapping[str, Any]] = {}
    newest: dict[str, tuple[int, str]] = {}
    for segment, _, footer in streams:
        # A border at which nothing was left to train has no state.
        if key := footer.get("checkpoint"):
            named[key] = footer
            newest[segment.pack_id] = max((segment.last, key), newest.get(segment.pack_id, (0, "")))
    there = {key for _, _, key in checkpoints(store)}
    for key in sorted(there & named.keys()):
        found.files[CHECKPOINTS_FOLDER] += 1
        try:
            content = hashlib.sha256(store.read(key)).hexdigest()
        except FileNotFoundError:
            continue  # a driver has deleted it meanwhile
        if content != named[key]["checkpoint_sha256"]:
            found.faults.append(Fault(key, "damaged: its content is not what its rows file says", "delete it: " + _ANEW))
    for pack_id, (last, key) in newest.items():
        goal = plan.packs[pack_id].epochs if plan is not None and pack_id in plan.packs else last
        if key not in there and last < goal and (pack_id, last) not in ended:
            found.faults.append(Fault(key, f"is gone, which pack {pack_id} goes on from", "run the study: " + _ANEW))


_ANEW = "its epochs are computed once more from the border before and compared with what is stored"


def _weights(store: Store, found: Examined) -> None:
    """Whole files of the trial and the epochs that their names say; that is all that they say of themselves."""
    for trial_id, epochs, key in trained_models(store):
        found.files[WEIGHTS_FOLDER] += 1
        try:
            facts = decode_weights(store.read(key), key)[1]
        except RecordError as error:
            found.faults.append(Fault(key, str(error).removeprefix(f"{key}: ").rpartition("; ")[0], _FROM_A_COPY))
            continue
        except OSError as error:
            found.faults.append(Fault(key, f"cannot be read ({error.strerror})", "restore it from a copy"))
            continue
        if facts.get("trial_id") != trial_id or int(facts.get("epoch", -1)) > epochs:
            found.faults.append(Fault(key, f"holds the model of trial {facts.get('trial_id')}", "restore it from a copy"))


def _strays(store: Store, found: Examined) -> None:
    known = {
        WEIGHTS_FOLDER: {key for _, _, key in trained_models(store)},
        CHECKPOINTS_FOLDER: {*(key for _, _, key in checkpoints(store)), *map(closed_key, closed_packs(store))},
        LEASE_FOLDER: {key for _, _, key in leases(store)},
    }
    for folder, keys in known.items():
        for key in store.list(folder):
            if key not in keys and not key.startswith(f"{CHECKPOINTS_FOLDER}/stop-"):
                found.faults.append(Fault(key, f"is no file of {folder}/", _MOVE_AWAY, is_damage=False))
    if "://" in store.url:
        return  # a bucket's writes are whole or not at all
    root = Path(store.url)
    for folder in (*_SCHEMAS, *known):
        hidden = [path for path in files_below(root / folder) if path.name.startswith(".")]
        found.left_over += [str(path.relative_to(root)) for path in sorted(hidden)]
