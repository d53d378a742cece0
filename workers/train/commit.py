"""The commit of a border: checkpoint first, then the rows that name it; and the way back from the newest commit.

The rows file is the commit. A checkpoint that no rows file names is ignored, so nothing waits for it or trusts it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import safetensors
import torch

from workers.contract.errors import ConflictError, PackClosedError
from workers.contract.trial import Pack
from workers.store.ends import committed
from workers.store.keys import checkpoint_key, epochs_key
from workers.store.listing import Segment
from workers.store.parquet import content_sha256, encode, read_footer
from workers.store.protocol import Store
from workers.train.checkpoint import State, from_bytes, sha256, take, to_bytes

SAME_NUMBERS = ("device", "device_name", "torch", "numpy", "precision", "generator", "platform")
"""Where these agree, the same epoch has the same bits; where not, the same up to rounding."""


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
    """Store the epochs of a segment (first, last); False if another worker's rows with other numbers stood there first.

    Raises:
        PackClosedError, ConflictError: see agrees.
        OSError: the store cannot be written; nothing is committed.
    """
    raw = to_bytes(state)
    checkpoint = checkpoint_key(pack.pack_id, state.epoch, attempt)
    # (1) may exist already if this attempt wrote it and lost the connection before it learnt so: the bytes are the same.
    store.create(checkpoint, raw)
    footer = {
        "kind": "epochs",
        "pack_id": pack.pack_id,
        "attempt": attempt,
        "checkpoint": checkpoint,
        "checkpoint_sha256": sha256(raw),
        "provenance": dict(provenance),
        **facts,
    }
    key = epochs_key(pack.pack_id, *segment)
    if store.create(key, encode(table, footer)):  # (2) the commit
        return True
    return agrees(store, key, table, provenance, is_exact)


def agrees(store: Store, key: str, table: pa.Table, provenance: Mapping[str, Any], is_exact: bool = True) -> bool:
    """Whether the file that stood there first holds the same numbers; False if it may differ by rounding, and does.

    Other machines and versions round otherwise, and so does a pack of other members: `is_exact` is False where lost
    checkpoints made this one compute an ancestor's epochs again.

    Raises:
        PackClosedError: it is a fence.
        ConflictError: it comes from the same device type and versions, and still differs.
    """
    winner = read_footer(store.read(key), key)
    if winner.get("closed"):
        raise PackClosedError(key)
    if winner["content_sha256"] == content_sha256(table):
        return True
    if is_exact and all(winner["provenance"].get(name) == provenance.get(name) for name in SAME_NUMBERS):
        raise ConflictError(key)
    return False


def newest_state(store: Store, pack: Pack, ancestors: Sequence[Pack], device: torch.device) -> State | None:
    """Where a pack goes on: its newest commit with a whole checkpoint, else that of an ancestor; None: from the beginning.

    An ancestor's state may be older than `from_epoch` if its newest checkpoint is damaged or gone.

    Args:
        store: where the study lies.
        pack: whose members the state is cut down to.
        ancestors: the pack that this one goes on from, the pack that that one went on from, and so on.
        device: where the tensors go.
    """
    for source in (pack, *ancestors):
        for segment in reversed(committed(store, source.pack_id)):
            # What an ancestor stored behind the branch is not this pack's past.
            if source is not pack and segment.last > pack.from_epoch:
                continue
            if state := _state_at(store, segment, device):
                ids = [trial.trial_id for trial in source.trials]
                return state if source is pack else take(state, [ids.index(trial.trial_id) for trial in pack.trials])
    return None


def _state_at(store: Store, segment: Segment, device: torch.device) -> State | None:
    footer = read_footer(store.read(segment.key), segment.key)
    try:
        raw = store.read(footer["checkpoint"])
        if sha256(raw) == footer["checkpoint_sha256"]:
            return from_bytes(raw, device)
    except (FileNotFoundError, safetensors.SafetensorError):
        pass
    # Damaged or gone: the border before it still leads here, by computing these epochs again.
    return None
