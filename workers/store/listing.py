"""List the files of each kind that a study has, by their names."""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from workers.store.keys import (
    CHECKPOINT_KEY,
    CHECKPOINTS_FOLDER,
    CLOSED_KEY,
    EPOCHS_FOLDER,
    EPOCHS_KEY,
    LEASE_FOLDER,
    LEASE_KEY,
    PAUSE_KEY,
    TRIALS_FOLDER,
    TRIALS_KEY,
    WEIGHTS_FOLDER,
    WEIGHTS_KEY,
    plan_key,
)
from workers.store.protocol import Store


def identity(store: Store) -> str:
    """Return what tells a study from any other of its name: the hash of the first entry of its plan, which has a time.

    Raises:
        FileNotFoundError: the store holds no plan.
    """
    return hashlib.sha256(store.read(plan_key(1))).hexdigest()


class Segment(NamedTuple):
    """The epochs of one rows file, first and last included."""

    pack_id: str
    first: int
    last: int
    key: str


def segments(store: Store, pack_id: str = "") -> Iterator[Segment]:
    """Yield every committed rows file, or those of one pack, sorted by pack and epoch."""
    for key in store.list(EPOCHS_FOLDER, pack_id):
        if match := EPOCHS_KEY.fullmatch(key):
            yield Segment(match[1], int(match[2]), int(match[3]), key)


def segments_by_pack(store: Store) -> dict[str, list[Segment]]:
    """Return the committed rows files of every pack, by pack_id, each sorted by epoch."""
    found: dict[str, list[Segment]] = {}
    for segment in segments(store):
        found.setdefault(segment.pack_id, []).append(segment)
    return found


def ended_packs(store: Store) -> set[tuple[str, int]]:
    """Return (pack_id, epochs) of every pack that is done."""
    return {(match[1], int(match[2])) for key in store.list(TRIALS_FOLDER) if (match := TRIALS_KEY.fullmatch(key))}


def closed_packs(store: Store) -> list[str]:
    """Return the pack_id of every pack that is closed or about to be."""
    return [match[1] for key in store.list(CHECKPOINTS_FOLDER) if (match := CLOSED_KEY.fullmatch(key))]


def checkpoints(store: Store, pack_id: str = "") -> Iterator[tuple[str, int, str]]:
    """Yield (pack_id, epoch, key) of every checkpoint, or of those of one pack, committed or not."""
    for key in store.list(CHECKPOINTS_FOLDER, pack_id):
        if match := CHECKPOINT_KEY.fullmatch(key):
            yield match[1], int(match[2]), key


def pauses(store: Store, pack_id: str = "") -> Iterator[tuple[str, int, str]]:
    """Yield (pack_id, epoch, key) of every stop between two borders, or of those of one pack."""
    for key in store.list(CHECKPOINTS_FOLDER, f"pause-{pack_id}"):
        if match := PAUSE_KEY.fullmatch(key):
            yield match[1], int(match[2]), key


def trained_models(store: Store) -> Iterator[tuple[str, int, str]]:
    """Yield (trial_id, epochs, key) of every stored trained model."""
    for key in store.list(WEIGHTS_FOLDER):
        if match := WEIGHTS_KEY.fullmatch(key):
            yield match[1], int(match[2]), key


def leases(store: Store) -> Iterator[tuple[int, str, str]]:
    """Yield (number, run_id, key) of every stored heartbeat, oldest first."""
    for key in store.list(LEASE_FOLDER):
        if match := LEASE_KEY.fullmatch(key):
            yield int(match[1]), match[2], key
