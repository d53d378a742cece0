"""Commit a border by storing the checkpoint first and then the rows that name it, and restore the newest commit.

The rows file is the commit. A checkpoint that no rows file names is ignored.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import safetensors
import torch

from workers.contract.errors import ConflictError, PackClosedError
from workers.contract.trial import Pack
from workers.contract.version import SAME_NUMBERS
from workers.store.ends import committed, named_checkpoint, parts_of
from workers.store.keys import checkpoint_key, epochs_key
from workers.store.listing import Segment
from workers.store.parquet import content_sha256, encode, read_footer
from workers.store.placement import refuse_lost_rows
from workers.store.protocol import Store
from workers.train.checkpoint import State, from_bytes, sha256, take, to_bytes


def commit(
    store: Store,
    pack: Pack,
    segment: tuple[int, int],
    table: pa.Table,
    state: State,
    attempt: str,
    provenance: Mapping[str, Any],
    facts: Mapping[str, Any],
    is_exact: bool = True,
) -> bool:
    """Store the epochs of a segment (first, last); return False if another worker stored other numbers there first.

    Raises:
        PackClosedError, ConflictError: see agrees.
        OSError: the store cannot be written; nothing is committed.
    """
    footer = {
        "kind": "epochs",
        "pack_id": pack.pack_id,
        "attempt": attempt,
        **store_state(store, pack, state, attempt),  # (1)
        "provenance": dict(provenance),
        **facts,
    }
    key = epochs_key(pack.pack_id, *segment)
    if store.create(key, encode(table, footer)):  # (2) the commit
        return True
    return agrees(store, key, table, provenance, is_exact)


def store_state(store: Store, pack: Pack, state: State, attempt: str) -> dict[str, str]:
    """Store a checkpoint; return the entries of a footer that name it.

    Raises:
        OSError: the store cannot be written.
    """
    raw = to_bytes(state)
    key = checkpoint_key(pack.pack_id, state.epoch, attempt)
    # The key may exist if this attempt wrote it and then lost the connection; the bytes are the same.
    store.create(key, raw)
    return {"checkpoint": key, "checkpoint_sha256": sha256(raw)}


def state_named_by(store: Store, footer: Mapping[str, Any], checkpoint: str, device: torch.device) -> State | None:
    """Return the state in the checkpoint that a footer names; None if it is damaged or missing."""
    try:
        raw = store.read(checkpoint) if checkpoint else b""
        if sha256(raw) == footer.get("checkpoint_sha256"):
            return from_bytes(raw, device)
    except (FileNotFoundError, safetensors.SafetensorError):
        pass
    return None


def agrees(store: Store, key: str, table: pa.Table, provenance: Mapping[str, Any], is_exact: bool = True) -> bool:
    """Return whether the stored file has the same numbers as `table`; False if they differ but may differ by rounding.

    Other machines and versions round differently, and so does a pack with other members: `is_exact` is False if lost
    checkpoints made this pack compute an ancestor's epochs again.

    Raises:
        PackClosedError: the stored file is a fence.
        ConflictError: the stored file comes from the same type of device and the same versions, and still differs.
    """
    winner = read_footer(store.read(key), key)
    if winner.get("closed"):
        raise PackClosedError(key)
    if winner["content_sha256"] == content_sha256(table):
        return True
    if is_exact and all((winner.get("provenance") or {}).get(name) == provenance.get(name) for name in SAME_NUMBERS):
        raise ConflictError(key)
    return False


def newest_state(store: Store, pack: Pack, ancestors: Sequence[Pack], device: torch.device) -> State | None:
    """Return the state from which a pack continues: that of its newest commit with an intact checkpoint, or an ancestor's.

    It is None if there is no such commit, so that the pack starts from the beginning. An ancestor's state may be older than
    `from_epoch` if its newest checkpoint is damaged or missing. No state is newer than the pack's own end, whatever a longer
    plan of the same pack has committed.

    Args:
        store: the store of the study.
        pack: the pack; an ancestor's state is reduced to its members.
        ancestors: the parent of the pack, the parent of that pack, and so on.
        device: the device of the tensors.

    Raises:
        RecordError: rows before the newest commit are lost, or a rows file names something that is no checkpoint of its own.
    """
    refuse_lost_rows(store, (pack, *ancestors))
    for source, until in parts_of((pack, *ancestors)):
        for segment in reversed(committed(store, source, until)):
            if state := _state_at(store, segment, device):
                ids = [trial.trial_id for trial in source.trials]
                return state if source is pack else take(state, [ids.index(trial.trial_id) for trial in pack.trials])
    return None


def _state_at(store: Store, segment: Segment, device: torch.device) -> State | None:
    footer = read_footer(store.read(segment.key), segment.key)
    # Without it, the pack continues from the border before and computes these epochs again.
    return state_named_by(store, footer, named_checkpoint(footer, segment.key), device)
