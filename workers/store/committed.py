"""Which borders of a pack are committed, and which checkpoints nobody needs any more; no torch."""

from workers.store.listing import Segment, checkpoints, segments
from workers.store.parquet import read_footer
from workers.store.protocol import Store


def committed(store: Store, pack_id: str) -> list[Segment]:
    """The committed segments of a pack, oldest first; without the fence of a closed pack."""
    found = list(segments(store, pack_id))
    return found[:-1] if found and is_fence(store, found[-1].key) else found


def is_fence(store: Store, key: str) -> bool:
    """Whether a file was written to keep workers from committing there; see closing.py."""
    return bool(read_footer(store.read(key), key).get("closed"))


def prune_checkpoints(store: Store, pack_id: str, keep: int) -> list[str]:
    """Delete a pack's checkpoints but those named by its newest `keep` commits; for the driver alone.

    One above the newest commit is left: a worker may be about to name it.

    Returns:
        The checkpoints that are named by these commits, oldest first.
    """
    commits = committed(store, pack_id)
    if not commits:
        return []
    named = [checkpoint_named_by(store, segment.key) for segment in commits[-keep:]]
    for _, epoch, key in list(checkpoints(store, pack_id)):
        if epoch <= commits[-1].last and key not in named:
            store.delete(key)
    return named


def checkpoint_named_by(store: Store, key: str) -> str:
    """The checkpoint that a rows file names; empty if it is a fence."""
    return str(read_footer(store.read(key), key).get("checkpoint", ""))
