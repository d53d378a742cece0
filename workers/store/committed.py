"""Find the committed borders of a pack, and delete the checkpoints that are no longer needed."""

from workers.store.listing import Segment, checkpoints, segments
from workers.store.parquet import read_footer
from workers.store.protocol import Store


def committed(store: Store, pack_id: str) -> list[Segment]:
    """Return the committed segments of a pack, oldest first, without the fence of a closed pack."""
    found = list(segments(store, pack_id))
    return found[:-1] if found and is_fence(store, found[-1].key) else found


def is_fence(store: Store, key: str) -> bool:
    """Return whether a file was written to keep workers from committing there; see closing.py."""
    return bool(read_footer(store.read(key), key).get("closed"))


def prune_checkpoints(store: Store, pack_id: str, keep: int) -> list[str]:
    """Delete all checkpoints of a pack except those that its newest `keep` commits name; only the driver may call this.

    Checkpoints of epochs after the newest commit are kept, because a worker may be about to commit them.

    Returns:
        The keys of the checkpoints that these commits name, oldest first.
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
    """Return the key of the checkpoint that a rows file names; empty if the file is a fence."""
    return str(read_footer(store.read(key), key).get("checkpoint", ""))
