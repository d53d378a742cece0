"""Find out how far a study has come from its files alone, without torch or Ray."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workers.contract.errors import RecordError
from workers.contract.trial import Pack
from workers.store.bucket import BucketStore
from workers.store.ends import COMPLETED, end_rows, ends_among, is_over
from workers.store.folder import FolderStore
from workers.store.keys import EPOCHS_FOLDER
from workers.store.listing import Segment, segments
from workers.store.placement import refuse_lost_rows
from workers.store.plan_log import Plan, lineage_of, read_plan
from workers.store.protocol import Store

LOST = "rows lost"
"""The status of a trial that has ended, but of whose pack rows are missing."""


@dataclass(frozen=True)
class PackStanding:
    """How far one pack has come."""

    pack: Pack
    last_border: int | None
    """None before the first border."""
    has_ended: bool


@dataclass(frozen=True)
class Standing:
    """How far a study has come."""

    plan: Plan
    status_of: Mapping[str, str]
    """Status of every planned trial: completed | diverged | failed as stored; LOST if it has ended but rows of its pack are
    missing; otherwise begun | to do."""
    rows: int
    """Number of stored (trial, epoch) pairs."""
    rows_at_most: bool
    """Whether `rows` is an upper bound, computed from file names and not from footers: diverged trials have fewer rows."""
    newest: float | None
    """When the newest rows were stored, in seconds since 1970; None without rows."""
    packs: tuple[PackStanding, ...]
    """The packs to which trials belong now, in the order in which they were planned."""
    unreadable: tuple[str, ...]
    """Files that could not be read."""
    lost: tuple[str, ...]
    """One sentence per pack of which rows are missing, without the path of the study."""

    def count(self, status: str) -> int:
        """Return how many trials have this status."""
        return sum(each == status for each in self.status_of.values())


def standing(store: Store) -> Standing:
    """Read how far a study has come, running or not.

    Raises:
        RecordError: the plan is damaged.
    """
    unreadable: list[str] = []
    # A running study grows in the order plan, epochs, trials. Reading in the opposite order finds no file without its plan.
    rows_of_ends, packs_ended = end_rows(store, unreadable)
    stored = list(segments(store))
    plan = read_plan(store)
    ended = {row["trial_id"]: row for row in ends_among(rows_of_ends, plan.pack_of).to_pylist()}
    last: dict[str, int] = {}
    for segment in stored:
        last[segment.pack_id] = max(segment.last, last.get(segment.pack_id, 0))
    lost = _lost(store, plan, ended, stored)
    status_of = {}
    for trial_id, pack_id in plan.pack_of.items():
        row, goal = ended.get(trial_id), plan.packs[pack_id].epochs
        if row is not None and is_over(row["status"], row["epochs"], goal):
            status_of[trial_id] = LOST if row["pack_id"] in lost else str(row["status"])
        else:
            status_of[trial_id] = "begun" if row is not None or pack_id in last or plan.packs[pack_id].parent else "to do"
    if in_bucket := isinstance(store, BucketStore):
        rows, newest = _rows_in_bucket(store, stored, plan)
    else:
        rows, newest = _rows(store, stored, unreadable)
    packs = tuple(
        PackStanding(pack, last.get(pack.pack_id), packs_ended.get(pack.pack_id, 0) >= pack.epochs)
        for pack in plan.live_packs()
    )
    return Standing(plan, status_of, rows, in_bucket, newest, packs, tuple(unreadable), tuple(lost.values()))


def _lost(store: Store, plan: Plan, ended: Mapping[str, Mapping[str, Any]], stored: Sequence[Segment]) -> dict[str, str]:
    """Return what is wrong with the rows of each pack that must have rows and lacks some, by pack_id."""
    files: dict[str, list[Segment]] = {}
    for segment in stored:
        files.setdefault(segment.pack_id, []).append(segment)
    completed: dict[str, int] = {}
    for row in ended.values():
        if row["status"] == COMPLETED:
            completed[row["pack_id"]] = max(row["epochs"], completed.get(row["pack_id"], 0))
    lost: dict[str, str] = {}
    for pack_id in dict.fromkeys([*completed, *files, *(row["pack_id"] for row in ended.values())]):
        if (pack := plan.packs.get(pack_id)) is None:
            lost[pack_id] = f"pack {pack_id} has files, but no entry of the plan names it"
            continue
        try:
            line = (pack, *lineage_of(pack, plan))
            refuse_lost_rows(store, line, files, completed.get(pack_id))
            refuse_lost_rows(store, line, files)
        except RecordError as error:
            lost[pack_id] = str(error)
    return lost


def _rows(store: Store, stored: list[Segment], unreadable: list[str]) -> tuple[int, float | None]:
    count, newest = 0, None
    folder = FolderStore(store.url)
    for segment in stored:
        try:
            # Only the footer is read, because a study has gigabytes of rows.
            with folder.open(segment.key) as file:
                count += pq.read_metadata(file).num_rows
                newest = max(os.fstat(file.fileno()).st_mtime, newest or 0.0)
        except (pa.ArrowException, OSError):
            unreadable.append(segment.key)
    return count, newest


def _rows_in_bucket(store: BucketStore, stored: list[Segment], plan: Plan) -> tuple[int, float | None]:
    # One request per footer would take minutes.
    count = sum(
        (segment.last - segment.first + 1) * len(plan.packs[segment.pack_id].trials)
        for segment in stored
        if segment.pack_id in plan.packs
    )
    return count, max((at for _, at in store.stored(EPOCHS_FOLDER).values()), default=None)
