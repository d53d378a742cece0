"""The commit of a border: checkpoint first, then the rows that name it; and the way back from the newest commit.

The rows file is the commit. A checkpoint that no rows file names is ignored, so nothing waits for it or trusts it.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import safetensors
import torch

from workers.borders import committed
from workers.checkpoint import State, from_bytes, sha256, take, to_bytes
from workers.records import content_sha256, encode, read_footer
from workers.store import Store, checkpoint_key, epochs_key
from workers.trial import Pack

SAME_NUMBERS = ("device", "device_name", "torch", "numpy", "precision", "generator", "platform")
"""Where these agree, the same epoch has the same bits; where not, the same up to rounding."""


class ConflictError(RuntimeError):
    """Two runs of the same epochs on the same device and versions stored different numbers; `key` names the file."""

    def __init__(self, key: str) -> None:
        """Say which file, and what to do."""
        self.key = key
        super().__init__(
            f"{key}: holds other numbers than this run computed on the same device type and versions; "
            "keep both results apart: run into another --out folder and compare"
        )


def commit(
    store: Store,
    pack: Pack,
    segment: tuple[int, int],
    table: pa.Table,
    state: State,
    attempt: str,
    provenance: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> bool:
    """Store the epochs of a segment (first, last); False if another worker's rows with other numbers stood there first.

    Raises:
        ConflictError: the other rows come from the same device type and versions, and still differ.
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
    winner = read_footer(store.read(key), key)
    if winner["content_sha256"] == content_sha256(table):
        return True
    if all(winner["provenance"].get(name) == provenance.get(name) for name in SAME_NUMBERS):
        raise ConflictError(key)
    return False


def newest_state(store: Store, pack: Pack, parent: Pack | None, device: torch.device) -> State | None:
    """Where a pack goes on: its newest commit with a whole checkpoint, else its parent's state, else None (epoch 0)."""
    if state := _newest(store, pack.pack_id, device):
        return state
    if parent is None:
        return None
    state = _newest(store, parent.pack_id, device)
    if state is None or state.epoch != pack.from_epoch:
        raise LookupError(
            f"pack {pack.pack_id} goes on from epoch {pack.from_epoch} of pack {parent.pack_id}, whose checkpoint is gone; "
            "restore the folder checkpoints/, or run the study into another --out folder"
        )
    ids = [trial.trial_id for trial in parent.trials]
    return take(state, [ids.index(trial.trial_id) for trial in pack.trials])


def _newest(store: Store, pack_id: str, device: torch.device) -> State | None:
    for segment in reversed(committed(store, pack_id)):
        footer = read_footer(store.read(segment.key), segment.key)
        try:
            raw = store.read(footer["checkpoint"])
            if sha256(raw) == footer["checkpoint_sha256"]:
                return from_bytes(raw, device)
        except (FileNotFoundError, safetensors.SafetensorError):
            pass
        # Damaged or gone: the border before it still leads here, by computing these epochs again.
    return None
