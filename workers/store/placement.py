"""Check that stored files have the names and borders of the plan, and that no (trial, epoch) is repeated or missing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from workers.contract.errors import RecordError, reason_of
from workers.contract.trial import Pack
from workers.store.ends import parts_of
from workers.store.keys import EPOCHS_FOLDER, PLAN_FOLDER, TRIALS_FOLDER, epochs_key, plan_key, trials_key
from workers.store.listing import Segment, ended_packs, segments
from workers.store.parquet import decode_with_footer
from workers.store.plan_log import Plan
from workers.store.protocol import Store, exists

_AWAY = "move it away, or restore its original name"

_MOST_LOST = 100
"""If more entries than this are missing before a file, the number in its name is taken for a wrong name."""


class Checked:
    """A store that hides keys with a problem and names a key that cannot be read."""

    def __init__(self, store: Store, problems: Mapping[str, str]) -> None:
        """Hide every key in `problems`, also those that are added later."""
        self.store, self.problems, self.url = store, problems, store.url

    def list(self, folder: str, beginning: str = "") -> list[str]:
        """See Store.list, without the hidden keys.

        Raises:
            RecordError: the folder exists but cannot be read.
        """
        if folder in self.problems:
            return []
        try:
            return [key for key in self.store.list(folder, beginning) if key not in self.problems]
        except OSError as error:
            raise _unreadable(folder, error) from error

    def read(self, key: str) -> bytes:
        """See Store.read.

        Raises:
            RecordError: the key is there and cannot be read.
        """
        try:
            return self.store.read(key)
        except OSError as error:
            raise _unreadable(key, error) from error

    def read_range(self, key: str, start: int, stop: int | None) -> tuple[bytes, int]:
        """See Store.read_range.

        Raises:
            RecordError: the key is there and cannot be read.
        """
        try:
            return self.store.read_range(key, start, stop)
        except OSError as error:
            raise _unreadable(key, error) from error

    def create(self, key: str, raw: bytes) -> bool:
        """See Store.create."""
        return self.store.create(key, raw)

    def delete(self, key: str) -> None:
        """See Store.delete."""
        self.store.delete(key)


def _unreadable(key: str, error: OSError) -> RecordError:
    return RecordError(
        key, f"cannot be read ({reason_of(error)})", "check the disk and the permissions, or restore it from a copy"
    )


def keys_of(store: Store, folder: str, problems: dict[str, str] | None = None) -> list[str]:
    """Return the sorted keys of epochs/ or trials/ whose names are valid for a file of that folder.

    Raises:
        RecordError: another name is found, or the folder cannot be listed; with `problems` it is left out and noted there.
    """
    try:
        keys = store.list(folder)
    except RecordError as error:
        _refuse(error, problems)
        return []
    if folder == EPOCHS_FOLDER:
        good = {epochs_key(one.pack_id, one.first, one.last) for one in segments(store)}
    else:
        good = {trials_key(pack_id, epochs) for pack_id, epochs in ended_packs(store)}
    for key in keys:
        if key not in good:
            _refuse(RecordError(key, f"has a name that is not valid in {folder}/", _AWAY), problems)
    return [key for key in keys if key in good]


def refuse_renamed(key: str, table: pa.Table, footer: Mapping[str, Any]) -> None:
    """Compare the name of a file of epochs/ or trials/ with what is in it.

    Raises:
        RecordError: the file contains rows of another pack or of other epochs.
    """
    folder, _, name = key.partition("/")
    pack_id, *numbers = name.removesuffix(".parquet").split("-")
    first, last = int(numbers[0]), int(numbers[-1])
    packs = {footer.get("pack_id"), *(table["pack_id"].unique().to_pylist() if folder == TRIALS_FOLDER else ())}
    if packs != {pack_id}:
        other = next(str(pack) for pack in packs if pack != pack_id)
        raise RecordError(key, f"belongs to pack {other}, not to the pack in its name", _AWAY)
    column = "epochs" if folder == TRIALS_FOLDER else "epoch"
    if table["trial_id"].null_count or table[column].null_count:
        raise RecordError(key, "has a row without a trial or an epoch", "move it away")
    epochs = table[column].to_numpy()
    if not len(epochs):
        # If every trial has diverged, rows end before the border, or there are none; the fence of a closed pack has none.
        if folder == EPOCHS_FOLDER or footer.get("closed"):
            return
        raise RecordError(key, "contains no rows", _AWAY)
    low, high = int(epochs.min()), int(epochs.max())
    is_right = low == first and high <= last if folder == EPOCHS_FOLDER else low == high == last
    if not is_right:
        found = f"epochs {low} to {high}" if low != high else f"epoch {low}"
        raise RecordError(key, f"contains {found}, which does not match its name", _AWAY)


def refuse_other_borders(keys: Iterable[str], plan: Plan, problems: dict[str, str] | None = None) -> set[str]:
    """Compare the names of rows files and trials files with the borders of their packs.

    Returns:
        The keys that do not fit; they are also noted in `problems`.

    Raises:
        RecordError: a file begins or ends where its pack has no border; never raised with `problems`.
    """
    if any(key.startswith(f"{PLAN_FOLDER}/") for key in problems or ()):
        # The newest borders may be in the entry that cannot be read.
        return set()
    wrong = at_other_borders(keys, plan)
    for error in wrong:
        _refuse(error, problems)
    return {error.path for error in wrong}


def at_other_borders(keys: Iterable[str], plan: Plan) -> list[RecordError]:
    """Return an error for each rows file and trials file that begins or ends where its pack has no border."""
    good: set[str] = set()
    for pack in plan.packs.values():
        good |= {*keys_at_borders(pack, pack.epochs), *(trials_key(pack.pack_id, border) for border in pack.borders)}
    wrong = []
    for key in keys:
        pack_id = key.partition("/")[2].partition("-")[0]
        # Rows of a pack that no entry names are reported elsewhere.
        if pack_id in plan.packs and key not in good:
            wrong.append(_at_no_border(key, pack_id))
    return wrong


def _at_no_border(key: str, pack_id: str) -> RecordError:
    return RecordError(key, f"begins or ends where pack {pack_id} has no border", _AWAY)


def keys_at_borders(pack: Pack, until: int) -> Iterator[str]:
    """Yield the keys of the rows files that a pack stores up to epoch `until`, oldest first.

    A pack that begins at its own end stores none: its trials were trained, and only their end is measured again.
    """
    for before, border in pairwise((pack.from_epoch or -1, *pack.borders)):
        if before < border <= until:
            yield epochs_key(pack.pack_id, before + 1, border)


def refuse_lost_rows(
    store: Store, lineage: Sequence[Pack], stored: Mapping[str, Sequence[Segment]] | None = None, has_ended: bool = False
) -> None:
    """Check that the stored borders of a line of packs follow each other from epoch 0 to the newest one.

    A worker continues from the newest border, so nothing would ever store again what is missing before it.

    Args:
        store: the store of the study.
        lineage: a pack, the pack that it continues, and so on.
        stored: the segments of every pack, by pack_id, if they have been listed already.
        has_ended: the first pack must have all its borders, because a trial of it is completed.

    Raises:
        RecordError: a rows file is missing, or begins or ends where its pack has no border.
    """
    for pack, until in parts_of(lineage):
        due = list(keys_at_borders(pack, until))
        found = segments(store, pack.pack_id) if stored is None else stored.get(pack.pack_id, ())
        there = {segment.key: segment for segment in found if segment.last <= until}
        if wrong := there.keys() - set(due):
            raise _at_no_border(min(wrong), pack.pack_id)
        # An ancestor has stored everything up to where its child began. What the pack itself has not reached is yet to come.
        if pack is lineage[0] and not has_ended:
            due = due[: max((due.index(key) for key in there), default=0)]
        for key in due:
            # A listing that is made while another worker commits may show a file and not the one before it.
            if key not in there and not exists(store, key):
                raise RecordError(
                    key,
                    f"is missing, although pack {lineage[0].pack_id} has stored what follows it",
                    "restore it from a copy",
                )


def repeated_rows(trials: NDArray[np.integer[Any]], epochs: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Return a mask of the rows of `epochs/` that repeat an earlier (trial, epoch); trials are numbered from 0."""
    _, first = np.unique((trials.astype(np.int64) << 32) + epochs, return_index=True)
    is_repeated = np.ones(len(trials), bool)
    is_repeated[first] = False
    return is_repeated


def stored_and_due(
    trials: NDArray[np.integer[Any]], epochs: NDArray[np.integer[Any]], last_epochs: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many rows of `epochs/` each trial has, and how many it must have.

    The epochs of a trial are stored in order and before its end, so every row missing before its newest row, or before
    its end, has been lost.

    Args:
        trials: the trial of each row, numbered from 0; no row repeats another.
        epochs: the epoch of each row.
        last_epochs: the last epoch of each trial, from `ends.last_epochs`; -1 if the trial has not ended.
    """
    newest = last_epochs.astype(np.int64)
    np.maximum.at(newest, trials, epochs)
    return np.bincount(trials, minlength=len(newest)), newest + 1


class Entries(Checked):
    """A store that checks each entry of the plan: it must belong to this study and be newer than the entries before it."""

    def __init__(self, store: Store, problems: Mapping[str, str]) -> None:
        """Prepare to read the entries once, from the first to the last."""
        super().__init__(store, problems)
        self._borders: dict[str, list[int]] = {}
        self._study: str | None = None

    def list(self, folder: str, beginning: str = "") -> list[str]:
        """See Checked.list; lists the whole folder, whatever `beginning` is.

        Raises:
            RecordError: an entry is missing, or the name of a file is not valid for an entry.
        """
        keys = super().list(folder)
        there = {*keys, *(key for key in self.problems if key.startswith(f"{folder}/"))}
        lost = next(key for key in map(plan_key, count(1)) if key not in there)
        for key in keys:
            number = key.removeprefix(f"{folder}/").removesuffix(".parquet")
            if not number.isdecimal() or key != plan_key(int(number)) or int(number) > len(there) + _MOST_LOST:
                raise RecordError(key, f"has a name that is not valid in {folder}/", _AWAY)
            if key > lost:
                raise RecordError(lost, f"is missing, although {key} exists", "restore it from a copy")
        return keys

    def read(self, key: str) -> bytes:
        """See Checked.read.

        Raises:
            RecordError: the file is not an entry of this study's plan, or is older than an entry before it.
        """
        raw = super().read(key)
        table, footer = decode_with_footer(raw, key)
        if footer.get("kind") != PLAN_FOLDER:
            raise RecordError(key, f"is not an entry of the plan; its kind is {footer.get('kind')}", _AWAY)
        if self._study not in (None, footer.get("study")):
            raise RecordError(key, f"is an entry of study {footer.get('study')}, not of {self._study}", _AWAY)
        self._study = footer.get("study")
        entry = dict(zip(*(table[name].to_pylist() for name in ("pack_id", "borders")), strict=True))
        for pack_id, borders in entry.items():
            before = self._borders.get(pack_id, [])
            # Borders are only ever appended.
            if before and (len(borders) <= len(before) or borders[: len(before)] != before):
                raise RecordError(
                    key, f"is not a new entry: it adds no border to pack {pack_id}, or changes earlier ones", _AWAY
                )
        parents = set(table["parent_pack"].drop_null().to_pylist())
        if not self.problems and parents - self._borders.keys():
            raise RecordError(
                key, f"continues pack {min(parents - self._borders.keys())}, which no earlier entry has", _AWAY
            )
        self._borders |= entry
        return raw


def _refuse(error: RecordError, problems: dict[str, str] | None) -> None:
    if problems is None:
        raise error
    problems[error.path] = str(error)
