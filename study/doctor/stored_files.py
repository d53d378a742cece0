"""Read and check every stored file of a study: each is intact and in its place, and each (trial, epoch) is there once."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from study.doctor.agreement import files_at_odds, model_at_odds, plan_at_odds
from study.doctor.links import WithoutLinks, links_out
from study.status.found_study import files_below
from workers.contract.columns import EPOCHS, PLAN, TRIALS
from workers.contract.errors import DAMAGED, DamagedDataError, DataError, RecordError, reason_of
from workers.data.images import known, place_of
from workers.store.closing import closing_reason
from workers.store.ends import last_epochs, named_checkpoint
from workers.store.keys import (
    CHECKPOINTS_FOLDER,
    EPOCHS_FOLDER,
    LEASE_FOLDER,
    PLAN_FOLDER,
    PLAN_KEY,
    STOP_KEY,
    TRIALS_FOLDER,
    WEIGHTS_FOLDER,
    closed_key,
    trials_key,
)
from workers.store.listing import Segment, checkpoints, closed_packs, ended_packs, leases, pauses, segments, trained_models
from workers.store.parquet import decode_with_footer
from workers.store.placement import at_other_borders, refuse_renamed, repeated_rows, stored_and_due
from workers.store.plan_log import Plan, read_plan, wrong_ids
from workers.store.protocol import Store
from workers.store.weights_file import decode_weights

_SCHEMAS = {PLAN_FOLDER: PLAN, EPOCHS_FOLDER: EPOCHS, TRIALS_FOLDER: TRIALS}

_FORMER_DATA = "put the former data back before you run or verify the study"

_MOVE_AWAY = "move it out of the study's folder"

_OF_AN_END = pa.schema([TRIALS.field(name) for name in ("trial_id", "pack_id", "epochs", "last_epoch")])

_WHOSE = pa.schema([EPOCHS.field(name) for name in ("trial_id", "epoch")])

_Streams = list[tuple[Segment, pa.Table, Mapping[str, Any]]]
"""Files of epoch rows with their tables and footers."""


@dataclass(frozen=True)
class Fault:
    """A file in a study's folder that is damaged, missing or in the wrong place."""

    key: str
    text: str
    next_step: str
    is_damage: bool = True
    """False if no stored result is wrong or lost."""


@dataclass
class Examined:
    """What was read, and what was found."""

    files: Counter[str] = field(default_factory=Counter)
    """Number of files read, by folder."""
    rows: int = 0
    faults: list[Fault] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    """Hidden files of unfinished writes; every reader ignores them."""


def examine(store: Store) -> Examined:
    """Read every file of a study and check it."""
    found = Examined()
    links = links_out(store)
    found.faults += [
        Fault(key, text, "replace it by the file that it leads to, or remove it") for key, text in links.items()
    ]
    store = WithoutLinks(store, links)
    # A running study grows in the order plan, epochs, trials. Listing in the opposite order finds no file without its plan.
    listed = {folder: store.list(folder) for folder in (TRIALS_FOLDER, EPOCHS_FOLDER, PLAN_FOLDER)}
    ended_in = {trials_key(*ended) for ended in ended_packs(store)}
    stored = {segment.key: segment for segment in segments(store)}
    read_ends = {key: read for key in listed[TRIALS_FOLDER] if (read := _table(store, key, ended_in, found)) is not None}
    ended = {key: table for key, (table, _) in read_ends.items()}
    streams = [
        (stored[key], *read) for key in listed[EPOCHS_FOLDER] if (read := _table(store, key, set(stored), found)) is not None
    ]
    for key in listed[PLAN_FOLDER]:
        _table(store, key, {key for key in listed[PLAN_FOLDER] if key.endswith(".parquet")}, found)
    plan, is_whole = _plan(store, found), False
    if plan is not None:
        footers = {segment.key: footer for segment, _, footer in streams} | {key: read[1] for key, read in read_ends.items()}
        found.faults += [*_trained_on_other_data(footers, plan), *_data_changed(plan)]
        wrong = at_other_borders([*(segment.key for segment, _, _ in streams), *ended], plan)
        found.faults += [_fault(error) for error in wrong]
        misplaced = {error.path for error in wrong}
        files = [(segment.key, table, footer) for segment, table, footer in streams]
        files += [(key, *read) for key, read in read_ends.items()]
        if is_whole := not any(PLAN_KEY.fullmatch(fault.key) for fault in found.faults):
            at_odds = files_at_odds([file for file in files if file[0] not in misplaced], plan)
            found.faults += map(_fault, [*plan_at_odds(plan), *at_odds])
        ended = {key: table for key, table in ended.items() if key not in misplaced}
        streams = [one for one in streams if one[0].key not in misplaced]
    rows = _side_by_side(_OF_AN_END, ended.values())
    _once(streams, last_epochs(rows), plan, found)
    packs_ended = set(zip(rows["pack_id"].to_pylist(), rows["epochs"].to_pylist(), strict=True))
    _checkpoints(store, streams, packs_ended, plan, found)
    _marks(store, found)
    _weights(store, plan if is_whole else None, found)
    _leases(store, found)
    _strays(store, found)
    return found


def _table(store: Store, key: str, known: set[str], found: Examined) -> tuple[pa.Table, Mapping[str, Any]] | None:
    folder = key.partition("/")[0]
    if key not in known:
        # pandas.read_parquet on the folder would take it for rows.
        found.faults.append(Fault(key, f"does not belong in {folder}/", _MOVE_AWAY, is_damage=False))
        return None
    found.files[folder] += 1
    try:
        raw = store.read(key)
        table, footer = decode_with_footer(raw, key)
        if not set(table.column_names) <= set(_SCHEMAS[folder].names):
            raise RecordError(key, f"does not belong in {folder}/ (kind {footer.get('kind')})", _MOVE_AWAY)
        if folder == PLAN_FOLDER:
            found.faults += [Fault(key, text, "restore it from a copy") for text in wrong_ids(raw, key)]
        else:
            refuse_renamed(key, table, footer)
    except RecordError as error:
        found.faults.append(_fault(error))
        return None
    except OSError as error:
        found.faults.append(
            Fault(key, f"cannot be read ({reason_of(error)})", "check the disk and the permissions of the file")
        )
        return None
    return table, footer


def _fault(error: RecordError) -> Fault:
    # A file of another version is whole: its exit code says so, here as everywhere.
    return Fault(error.path, error.problem, error.next_step, is_damage=error.exit_code == DAMAGED)


def _side_by_side(schema: pa.Schema, tables: Iterable[pa.Table]) -> pa.Table:
    """Return the columns of a schema from all tables, as one table."""
    parts = (table.select(schema.names).replace_schema_metadata(None) for table in tables)
    return pa.concat_tables([schema.empty_table(), *parts])


def _plan(store: Store, found: Examined) -> Plan | None:
    """Return the plan, if every entry can be read and is in its place."""
    strays = {fault.key: fault.text for fault in found.faults if not fault.is_damage}
    try:
        return read_plan(store, strays)
    except RecordError as error:
        # The damaged file has been reported already.
        if error.path not in {fault.key for fault in found.faults}:
            found.faults.append(_fault(error))
        return None


def _trained_on_other_data(footers: Mapping[str, Mapping[str, Any]], plan: Plan) -> Iterator[Fault]:
    """Yield every file whose worker read other data than those that its trials were planned on."""
    for key, footer in footers.items():
        provenance, pack = footer.get("provenance"), plan.packs.get(str(footer.get("pack_id")))
        read = provenance.get("fingerprint") if isinstance(provenance, dict) else None
        # A fence was written by a driver, which reads no data.
        planned = {trial.fingerprint for trial in pack.trials} if pack else set()
        if read is not None and planned and not (isinstance(read, str) and planned == {read}):
            wanted = ", ".join(sorted(planned))
            text = f"was computed on data with the fingerprint {read}, but its trials were planned on {wanted}"
            yield Fault(key, text, "do not use its numbers; run the study anew under another name")


def _data_changed(plan: Plan) -> Iterator[Fault]:
    """Yield every data set that differs now from what trials were planned on; data that are not here are not seen."""
    planned = {
        (data.name, data.root, data.path, trial.fingerprint): data
        for trial in plan.trials.values()
        for data in [trial.settings.data]
    }
    for (*_, fingerprint), settings in planned.items():
        try:
            found = known(settings).fingerprint
        except DamagedDataError as error:
            yield Fault(
                f"{PLAN_FOLDER}/", f"was made on data that cannot be read now ({error})", _FORMER_DATA, is_damage=False
            )
            continue
        except DataError:
            continue
        if found != fingerprint:
            text = f"was made on data with the fingerprint {fingerprint}, but {place_of(settings)} has {found} now"
            yield Fault(f"{PLAN_FOLDER}/", text, _FORMER_DATA, is_damage=False)


def _once(streams: _Streams, last_of: Mapping[str, int], plan: Plan | None, found: Examined) -> None:
    """Check that every planned trial has each epoch once, up to its end, and that no other trial has rows."""
    rows = _side_by_side(_WHOSE, (table for _, table, _ in streams))
    found.rows = len(rows)
    ids = list(dict.fromkeys([*rows["trial_id"].to_pylist(), *last_of]))
    number_of = {trial_id: number for number, trial_id in enumerate(ids)}
    trials = np.array([number_of[one] for one in rows["trial_id"].to_pylist()], np.int64)
    epochs = rows["epoch"].to_numpy()
    files = np.repeat(np.arange(len(streams)), [len(table) for _, table, _ in streams])
    is_repeated = repeated_rows(trials, epochs)
    first_of: dict[tuple[int, int], int] = {}
    for place in np.flatnonzero(np.isin(trials, trials[is_repeated])).tolist():
        first = first_of.setdefault((trials[place], epochs[place]), place)
        if is_repeated[place]:
            there = streams[files[first]][0].key
            text = f"epoch {epochs[place]} of trial {ids[trials[place]]} is stored twice (see {there})"
            found.faults.append(Fault(streams[files[place]][0].key, text, "move the wrong one out of the study's folder"))
    trials, epochs = trials[~is_repeated], epochs[~is_repeated]
    stored, due = stored_and_due(trials, epochs, np.array([last_of.get(one, -1) for one in ids], np.int64))
    for number, trial_id in enumerate(ids):
        if lost := due[number] - stored[number]:
            first = np.setdiff1d(np.arange(due[number]), epochs[trials == number])[0]
            text = f"{lost} of {due[number]} epochs of trial {trial_id} are missing, the first of them epoch {first}"
            found.faults.append(Fault(f"{EPOCHS_FOLDER}/", text, "restore the lost file from a copy"))
        if plan is not None and trial_id not in plan.trials:
            text = f"has rows of trial {trial_id}, which is not in the plan"
            found.faults.append(Fault(f"{EPOCHS_FOLDER}/", text, "move its file out of the study's folder"))


def _checkpoints(
    store: Store,
    streams: _Streams,
    ended: set[tuple[str, int]],
    plan: Plan | None,
    found: Examined,
) -> None:
    """Check that checkpoints have the hashes in the files of rows, and that every unfinished pack has its newest one."""
    named: dict[str, Mapping[str, Any]] = {}
    newest: dict[str, tuple[int, str]] = {}
    for segment, _, footer in streams:
        try:
            key = named_checkpoint(footer, segment.key)
        except RecordError as error:
            found.faults.append(_fault(error))
            continue
        # There is no checkpoint at a border where nothing was left to train.
        if key:
            named[key] = footer
            newest[segment.pack_id] = max((segment.last, key), newest.get(segment.pack_id, (0, "")))
    there = {key for _, _, key in checkpoints(store)}
    for key in sorted(there & named.keys()):
        found.files[CHECKPOINTS_FOLDER] += 1
        try:
            content = hashlib.sha256(store.read(key)).hexdigest()
        except FileNotFoundError:
            continue  # a driver has deleted it in the meantime
        except OSError as error:
            found.faults.append(Fault(key, f"cannot be read ({reason_of(error)})", "delete it: " + _ANEW))
            continue
        if content != named[key].get("checkpoint_sha256"):
            found.faults.append(Fault(key, "damaged: its hash is not the one in its rows file", "delete it: " + _ANEW))
    for pack_id, (last, key) in newest.items():
        goal = plan.packs[pack_id].epochs if plan is not None and pack_id in plan.packs else last
        if key not in there and last < goal and not {(pack_id, last), (pack_id, goal)} & ended:
            found.faults.append(Fault(key, f"is missing, but pack {pack_id} continues from it", "run the study: " + _ANEW))


_ANEW = "its epochs are computed again from the previous border and compared with what is stored"


def _marks(store: Store, found: Examined) -> None:
    """Check that every mark of a closed pack gives a reason: a run reads all of them first."""
    for pack_id in closed_packs(store):
        try:
            closing_reason(store, pack_id)
        except RecordError as error:
            found.faults.append(_fault(error))
        except OSError as error:
            found.faults.append(Fault(closed_key(pack_id), f"cannot be read ({reason_of(error)})", "restore it from a copy"))


def _weights(store: Store, plan: Plan | None, found: Examined) -> None:
    """Check that every file of weights is intact and holds the trial and epochs of its name, as the plan has them."""
    for trial_id, epochs, key in trained_models(store):
        found.files[WEIGHTS_FOLDER] += 1
        try:
            facts = decode_weights(store.read(key), key)[1]
        except RecordError as error:
            found.faults.append(_fault(error))
            continue
        except OSError as error:
            found.faults.append(Fault(key, f"cannot be read ({reason_of(error)})", "restore it from a copy"))
            continue
        if facts.get("trial_id") != trial_id or facts.get("epoch") != epochs:
            text = f"holds the model of trial {facts.get('trial_id')} after epoch {facts.get('epoch')}"
            found.faults.append(Fault(key, text, "restore it from a copy"))
        elif plan is not None and (at_odds := model_at_odds(key, trial_id, epochs, facts, plan)):
            found.faults.append(_fault(at_odds))


def _leases(store: Store, found: Examined) -> None:
    """Check that every heartbeat is that of the run in its name: `study stop` stops the run that it names."""
    for _, run_id, key in leases(store):
        try:
            named = json.loads(store.read(key))["run_id"]
        except FileNotFoundError:
            continue  # its driver has replaced it with the next heartbeat
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            named = None
        if named != run_id:
            found.faults.append(Fault(key, "is not a heartbeat of the run in its name", _MOVE_AWAY))


def _strays(store: Store, found: Examined) -> None:
    known = {
        WEIGHTS_FOLDER: {key for _, _, key in trained_models(store)},
        CHECKPOINTS_FOLDER: {
            *(key for _, _, key in (*checkpoints(store), *pauses(store))),
            *map(closed_key, closed_packs(store)),
        },
        LEASE_FOLDER: {key for _, _, key in leases(store)},
    }
    for folder, keys in known.items():
        for key in store.list(folder):
            if key not in keys and not STOP_KEY.fullmatch(key):
                found.faults.append(Fault(key, f"does not belong in {folder}/", _MOVE_AWAY, is_damage=False))
    if "://" in store.url:
        return  # an unfinished write to a bucket leaves no file
    root = Path(store.url)
    for folder in (*_SCHEMAS, *known):
        hidden = [path for path in files_below(root / folder) if path.name.startswith(".")]
        found.left_over += [str(path.relative_to(root)) for path in sorted(hidden)]
