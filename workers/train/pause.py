"""Stop between two borders without a loss: set the state and the rows since the last border aside, and continue from them.

Nothing of this is a commit. The rows become visible with the border that they belong to, in the same file as ever. Readers
and other workers need not know whether a pack has paused.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import torch

from workers.contract.columns import EPOCHS
from workers.contract.errors import RecordError
from workers.contract.trial import Pack, next_border
from workers.contract.version import SAME_NUMBERS
from workers.store.keys import CHECKPOINT_KEY, pause_key
from workers.store.listing import pauses
from workers.store.parquet import decode_with_footer, encode
from workers.store.protocol import Store
from workers.train.checkpoint import State
from workers.train.commit import state_named_by, store_state

_SAME_RUN = (*SAME_NUMBERS, "package", "version", "commit", "dirty", "fingerprint")
"""Provenance that must agree: one rows file has one provenance."""


def pause(
    store: Store, pack: Pack, first: int, rows: pa.Table, state: State, attempt: str, provenance: Mapping[str, Any]
) -> None:
    """Store the state after an epoch between two borders, and the rows from epoch `first` on.

    Raises:
        OSError: the store cannot be written; what was trained since the last border is lost.
    """
    footer = {
        "kind": "pause",
        "pack_id": pack.pack_id,
        "first": first,
        **store_state(store, pack, state, attempt),
        "provenance": dict(provenance),
    }
    store.create(pause_key(pack.pack_id, state.epoch, attempt), encode(rows, footer))


def paused(
    store: Store, pack: Pack, committed: int, provenance: Mapping[str, Any], device: torch.device
) -> tuple[State, pa.Table] | None:
    """Return the state and the rows of the newest pause after epoch `committed`, a border; None if there is none to use.

    A pause that is damaged, or that comes from another machine, version or code, is not used: the epochs are trained again.
    """
    border = next_border(pack.borders, committed)
    found = sorted(((epoch, key) for _, epoch, key in pauses(store, pack.pack_id)), reverse=True)
    for epoch, key in found:
        if border is None or not committed < epoch < border:
            continue
        try:
            rows, footer = decode_with_footer(store.read(key), key)
        except (FileNotFoundError, RecordError):
            # A driver has deleted it since, or it is damaged.
            continue
        named = CHECKPOINT_KEY.fullmatch(str(footer.get("checkpoint")))
        if not named or named[1] != pack.pack_id or int(named[2]) != epoch or not _continues(rows, footer, pack, committed):
            continue
        if any(footer["provenance"].get(name) != provenance.get(name) for name in _SAME_RUN):
            continue
        if state := state_named_by(store, footer, named[0], device):
            return state, rows
    return None


def _continues(rows: pa.Table, footer: Mapping[str, Any], pack: Pack, committed: int) -> bool:
    ids = {trial.trial_id for trial in pack.trials}
    return (
        footer.get("kind") == "pause"
        and footer.get("pack_id") == pack.pack_id
        and footer.get("first") == committed + 1
        and isinstance(footer.get("provenance"), dict)
        and rows.schema.remove_metadata() == EPOCHS.remove_metadata()
        and set(rows["trial_id"].to_pylist()) <= ids
    )
