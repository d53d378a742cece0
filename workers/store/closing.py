"""Close packs: mark them, fence them off from workers that still train them, and end trials that cannot continue.

A pack that keeps failing is closed. Its trials continue in smaller packs, or end as failed. A worker of the closed pack may
still be alive on a machine that lost its network. The fence makes that worker harmless: it is an empty file under the key of
the very next commit. Like every commit it is create-only, so either the worker's rows are stored first, or the worker finds
that the key is taken.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from workers.contract.columns import EPOCHS, SCHEMA_VERSION, TRIALS
from workers.contract.errors import damaged
from workers.contract.settings import FACTORS
from workers.contract.settings_table import value_of
from workers.contract.trial import Pack, Trial, next_border
from workers.store.ends import DIVERGED, FAILED, committed, is_fence, newest_rows
from workers.store.keys import closed_key, epochs_key, trials_key
from workers.store.listing import closed_packs
from workers.store.parquet import encode
from workers.store.protocol import Store, exists

_MOST_BYTES = 1_000_000
"""Most bytes of a mark that are read; it holds two sentences."""


def mark_closed(store: Store, pack_id: str, kind: str, reason: str) -> None:
    """Mark a pack as one to be closed, with the reason; if it is already marked, the first reason stays."""
    store.create(closed_key(pack_id), json.dumps({"kind": kind, "reason": reason}).encode())


def is_marked(store: Store, pack_id: str) -> bool:
    """Return whether a pack is marked to be closed."""
    return exists(store, closed_key(pack_id))


def closing_reasons(store: Store) -> dict[str, str]:
    """Return the reason why each marked pack was closed, by pack_id.

    Raises:
        RecordError: a mark is empty, damaged, or not what mark_closed wrote.
    """
    return {pack_id: closing_reason(store, pack_id) for pack_id in closed_packs(store)}


def closing_reason(store: Store, pack_id: str) -> str:
    """Return the reason why a marked pack was closed.

    Raises:
        RecordError: see closing_reasons.
    """
    key = closed_key(pack_id)
    raw, size = store.read_range(key, 0, _MOST_BYTES)
    try:
        mark = json.loads(raw)
    except (ValueError, RecursionError) as error:
        found = "it is empty" if not raw else "it is not JSON" if size <= _MOST_BYTES else f"it has {size:,} bytes"
        raise damaged(key, found) from error
    if not isinstance(mark, dict) or not isinstance(mark.get("reason"), str):
        raise damaged(key, "it gives no reason why the pack was closed")
    return str(mark["reason"])


def fence(store: Store, pack: Pack) -> None:
    """Prevent every worker from committing another border of a pack, or its end."""
    while True:
        last = last_epoch(store, pack)
        border = next_border(pack.borders, last)
        kind, schema, key = "trials", TRIALS, trials_key(pack.pack_id, pack.epochs)
        if border is not None:
            kind, schema, key = "epochs", EPOCHS, epochs_key(pack.pack_id, last + 1, border)
        footer = {"kind": kind, "pack_id": pack.pack_id, "closed": True}
        if store.create(key, encode(schema.empty_table(), footer)) or border is None or is_fence(store, key):
            return


def last_epoch(store: Store, pack: Pack) -> int:
    """Return the newest stored epoch of a pack, up to its end, or of the packs that it continues; -1 if there is none."""
    segments = committed(store, pack)
    return segments[-1].last if segments else pack.from_epoch or -1


def end_as_failed(store: Store, pack: Pack, ancestors: Sequence[Pack], reason: str, provenance: Mapping[str, Any]) -> None:
    """Write the row of every trial of a fenced pack: failed, or diverged if its rows end before those of the pack."""
    last = last_epoch(store, pack)
    newest = newest_rows(store, (pack, *ancestors))
    rows = [
        _ended_row(trial, pack, newest[trial.trial_id]["epoch"] if trial.trial_id in newest else -1, last)
        for trial in pack.trials
    ]
    footer = {
        "kind": "trials",
        "pack_id": pack.pack_id,
        "closed": True,
        "reason": reason,
        "provenance": dict(provenance),
    }
    store.create(trials_key(pack.pack_id, pack.epochs), encode(pa.Table.from_pylist(rows, schema=TRIALS), footer))


def _ended_row(trial: Trial, pack: Pack, own_last: int, last: int) -> dict[str, Any]:
    return {
        **dict.fromkeys(TRIALS.names),
        "schema_version": SCHEMA_VERSION,
        "trial_id": trial.trial_id,
        "pack_id": pack.pack_id,
        **{name: value_of(trial.settings, name) for name in FACTORS},
        "status": FAILED if own_last == last else DIVERGED,
        "epochs": pack.epochs,
        "last_epoch": own_last,
    }
