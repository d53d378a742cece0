"""Read how far packs and trials have come: which borders are committed, and how trials ended."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from workers.contract.errors import RecordError, damaged
from workers.contract.trial import Pack
from workers.store.keys import CHECKPOINT_KEY, EPOCHS_KEY, ID, trials_key
from workers.store.listing import Segment, checkpoints, ended_packs, pauses, segments
from workers.store.parquet import decode, read_footer
from workers.store.protocol import Store

COMPLETED, DIVERGED, FAILED = "completed", "diverged", "failed"
"""The statuses of a trial that has ended."""

_OF_AN_END = ("trial_id", "pack_id", "status", "epochs")


def committed(store: Store, pack: Pack, until: int | None = None) -> list[Segment]:
    """Return the committed segments of a pack up to its end, or up to epoch `until`, oldest first; a fence is no segment.

    Another driver may have made the pack longer since it was planned, and its workers commit beyond this end. A worker that
    slept in the meantime must not take their commits for its own.
    """
    end = pack.epochs if until is None else until
    return _without_fence(store, [segment for segment in segments(store, pack.pack_id) if segment.last <= end])


def parts_of(lineage: Sequence[Pack]) -> Iterator[tuple[Pack, int]]:
    """Yield each pack of a line with its last epoch that belongs to the past of the first pack.

    For the first pack that is its end. For an ancestor it is the epoch from which the pack before it in the line began; what
    the ancestor stored after that epoch belongs to other trials or to nobody.

    Args:
        lineage: a pack, the pack that it continues, and so on.
    """
    until = lineage[0].epochs
    for pack in lineage:
        yield pack, until
        until = pack.from_epoch


def _without_fence(store: Store, found: list[Segment]) -> list[Segment]:
    return found[:-1] if found and is_fence(store, found[-1].key) else found


def is_fence(store: Store, key: str) -> bool:
    """Return whether a file was written to keep workers from committing there; see closing.py."""
    return bool(read_footer(store.read(key), key).get("closed"))


def prune_checkpoints(store: Store, pack_id: str, keep: int) -> list[str]:
    """Delete all checkpoints of a pack except those that its newest `keep` commits name; only the driver may call this.

    Rows that were set aside before the newest commit are deleted as well. Checkpoints of epochs after the newest commit are
    kept, because a worker may be about to commit them. All commits count, also those beyond the end that this driver knows,
    so that no worker of a longer plan loses the state that it needs.

    Returns:
        The keys of the checkpoints that these commits name, oldest first.
    """
    commits = _without_fence(store, list(segments(store, pack_id)))
    if not commits:
        return []
    named = [checkpoint_named_by(store, segment.key) for segment in commits[-keep:]]
    for _, epoch, key in [*checkpoints(store, pack_id), *pauses(store, pack_id)]:
        if epoch <= commits[-1].last and key not in named:
            store.delete(key)
    return named


def checkpoint_named_by(store: Store, key: str) -> str:
    """Return the key of the checkpoint that a rows file names; see named_checkpoint."""
    return named_checkpoint(read_footer(store.read(key), key), key)


def named_checkpoint(footer: Mapping[str, Any], key: str) -> str:
    """Return the key of the checkpoint that the footer of the rows file `key` names; empty if it names none, as a fence.

    A checksum shows that a footer is what was written, and not who wrote it. The driver deletes checkpoints by these names.

    Raises:
        RecordError: what it names is not a checkpoint of the pack and the epochs in the name of the rows file.
    """
    named, rows = footer.get("checkpoint", ""), EPOCHS_KEY.fullmatch(key)
    if named is None or named == "":
        return ""
    match = CHECKPOINT_KEY.fullmatch(named) if isinstance(named, str) else None
    if match and rows and match[1] == rows[1] and int(rows[2]) <= int(match[2]) <= int(rows[3]):
        return match[0]
    raise damaged(key, f"it names {str(named)[:100]} as its checkpoint, which is no checkpoint of these epochs")


def reached(store: Store) -> dict[str, int]:
    """Return the number of epochs at which each ended pack ended, by pack_id; the largest if the pack was extended later."""
    found: dict[str, int] = {}
    for pack_id, epochs in ended_packs(store):
        found[pack_id] = max(epochs, found.get(pack_id, 0))
    return found


def statuses_of_pack(store: Store, pack_id: str, epochs: int) -> dict[str, str]:
    """Return the status of each trial of a pack that ended after `epochs` epochs, by trial_id.

    Raises:
        RecordError: the file is damaged.
    """
    table = _rows_of_end(store, pack_id, epochs)
    return dict(zip(table["trial_id"].to_pylist(), table["status"].to_pylist(), strict=True))


def end_rows(store: Store, unreadable: list[str] | None = None) -> tuple[pa.Table, dict[str, int]]:
    """Return all rows of `trials/` (trial_id, pack_id, status, epochs), and at how many epochs each readable pack ended.

    The keys of damaged files are appended to `unreadable` if it is given.

    Raises:
        RecordError: a file is damaged, and `unreadable` is None.
    """
    tables, packs = [], dict[str, int]()
    for pack_id, epochs in sorted(ended_packs(store), key=lambda ended: ended[::-1]):
        try:
            table = _rows_of_end(store, pack_id, epochs)
        except RecordError:
            if unreadable is None:
                raise
            unreadable.append(trials_key(pack_id, epochs))
            continue
        packs[pack_id] = epochs
        tables.append(table)
    return pa.concat_tables(tables) if tables else pa.table({name: [] for name in _OF_AN_END}), packs


def _rows_of_end(store: Store, pack_id: str, epochs: int) -> pa.Table:
    """Return trial_id, pack_id, status and epochs of a file of `trials/`, after comparing its ids with its name."""
    key = trials_key(pack_id, epochs)
    table = decode(store.read(key), key, _OF_AN_END).select(_OF_AN_END).replace_schema_metadata(None)
    ids = table["trial_id"].to_pylist()
    # Files are found by these ids.
    is_its_own = not set(table["pack_id"].to_pylist()) - {pack_id} and not set(table["epochs"].to_pylist()) - {epochs}
    if not is_its_own or not all(isinstance(one, str) and ID.fullmatch(one) for one in ids):
        raise damaged(key, "it has a row of another pack, or of something that is no trial, or of other epochs")
    return table


def ends_among(rows: pa.Table, pack_of: Mapping[str, str]) -> pa.Table:
    """Return, from rows of `trials/`, the row with the status in which each trial ended: the one with the most epochs.

    When a failed trial is tried again, it continues in another pack, and its failure no longer counts as its end.

    Args:
        rows: rows with the columns trial_id, pack_id, status and epochs.
        pack_of: the live pack of every planned trial.
    """
    newest: dict[str, tuple[int, int]] = {}
    columns = (rows[name].to_pylist() for name in _OF_AN_END)
    for place, (trial_id, pack_id, status, epochs) in enumerate(zip(*columns, strict=True)):
        if status == FAILED and pack_of.get(trial_id, pack_id) != pack_id:
            continue
        newest[trial_id] = max((epochs, place), newest.get(trial_id, (-1, -1)))
    return rows.take(pa.array(sorted(place for _, place in newest.values()), pa.int64()))


def last_epochs(rows: pa.Table) -> dict[str, int]:
    """Return the newest stored epoch of each trial according to rows of `trials/`, by trial_id; -1 if none is stored."""
    found: dict[str, int] = {}
    for trial_id, last in zip(rows["trial_id"].to_pylist(), rows["last_epoch"].to_pylist(), strict=True):
        found[trial_id] = max(-1 if last is None else last, found.get(trial_id, -1))
    return found


def is_over(status: Any, epochs: Any, goal: Any) -> Any:
    """Return whether a trial needs no more training; one that completed with fewer epochs than `goal` is extended.

    Status and epochs are those of its newest row. Takes and returns single values or whole columns.
    """
    return (status != COMPLETED) | (epochs >= goal)


def newest_rows(store: Store, lineage: Sequence[Pack], columns: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Return the newest stored row of `epochs/` of every trial that has one, by trial_id, up to the end of the first pack.

    Args:
        store: the store of the study.
        lineage: a pack, the pack that it continues, and so on.
        columns: the columns to return besides trial_id and epoch.
    """
    newest: dict[str, dict[str, Any]] = {}
    for pack, until in parts_of(lineage):
        for segment in committed(store, pack, until):
            for row in decode(store.read(segment.key), segment.key, ["trial_id", "epoch", *columns]).to_pylist():
                if row["epoch"] > newest.get(row["trial_id"], {"epoch": -1})["epoch"]:
                    newest[row["trial_id"]] = row
    return newest
