"""Check that stored files fit the plan: their names, borders, trials and measurements; and that no row is twice or lost."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from workers.contract.errors import RecordError, unreadable
from workers.contract.settings_table import default_of, leaves
from workers.contract.trial import Pack, measured_with
from workers.store.ends import parts_of
from workers.store.keys import EPOCHS_FOLDER, PLAN_FOLDER, TRIALS_FOLDER, epochs_key, trials_key
from workers.store.listing import Segment, ended_packs, segments
from workers.store.plan_log import Plan
from workers.store.protocol import Store, exists

_AWAY = "move it away, or restore its original name"


class Checked:
    """A store that hides keys with a problem and names a key that is there and cannot be read."""

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
            raise unreadable(folder, error) from error

    def read(self, key: str) -> bytes:
        """See Store.read.

        Raises:
            RecordError: the key is there and cannot be read.
        """
        try:
            return self.store.read(key)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise unreadable(key, error) from error

    def read_range(self, key: str, start: int, stop: int | None) -> tuple[bytes, int]:
        """See Store.read_range.

        Raises:
            RecordError: the key is there and cannot be read.
        """
        try:
            return self.store.read_range(key, start, stop)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise unreadable(key, error) from error

    def create(self, key: str, raw: bytes) -> bool:
        """See Store.create."""
        return self.store.create(key, raw)

    def delete(self, key: str) -> None:
        """See Store.delete."""
        self.store.delete(key)


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
        pack_id = pack_in(key)
        # Rows of a pack that no entry names are reported elsewhere.
        if pack_id in plan.packs and key not in good:
            wrong.append(_at_no_border(key, pack_id))
    return wrong


def pack_in(key: str) -> str:
    """Return the pack_id in the name of a file of epochs/ or trials/."""
    return key.partition("/")[2].partition("-")[0]


def unlike_the_plan(key: str, table: pa.Table, footer: Mapping[str, Any], plan: Plan) -> RecordError | None:
    """Return what is wrong with a file of epochs/ or trials/ of another pack or other trials, or measured in another way.

    Rows of trials that no entry names are not reported here, nor are measurements of files that do not say how they were
    made: those of earlier versions.

    Args:
        key: the file, whose name and content agree (refuse_renamed).
        table: its rows, with the column trial_id at least.
        footer: its footer.
        plan: the plan of the study.
    """
    pack, is_end = plan.packs.get(pack_in(key)), key.startswith(f"{TRIALS_FOLDER}/")
    ids = table["trial_id"].unique().to_pylist()
    if pack is None:
        is_foreign = is_end or any(trial_id in plan.trials for trial_id in ids)
        return (
            RecordError(key, f"is of pack {pack_in(key)}, which no entry of the plan names", _AWAY) if is_foreign else None
        )
    strangers = set(ids) - {trial.trial_id for trial in pack.trials}
    if strangers := {trial_id for trial_id in strangers if is_end or trial_id in plan.trials}:
        return RecordError(key, f"has a row of trial {min(strangers)}, which is not in pack {pack.pack_id}", _AWAY)
    planned = measured_with(pack)
    stored = footer.get("measure", planned)
    ways = [(name, stored.get(name, _measured_before(name))) for name in dict.fromkeys([*planned, *stored])]
    if is_end:
        columns = [name for name in planned if name in table.column_names]
        ways += [(name, value) for name in columns for value in table[name].unique().drop_null().to_pylist()]
    for name, value in ways:
        if value != planned.get(name):
            text = f"was measured with measure.{name}: {value}, but the plan says {planned.get(name)}"
            return RecordError(key, text, "move it away, or restore the file that was there")
    return None


def _measured_before(name: str) -> Any:
    """Return how a file that lacks a setting of measure.* was measured: it is older than the setting."""
    return default_of(f"measure.{name}") if f"measure.{name}" in leaves() else None


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
    store: Store, lineage: Sequence[Pack], stored: Mapping[str, Sequence[Segment]] | None = None, ended_at: int | None = None
) -> None:
    """Check that the stored borders of a line of packs follow each other from epoch 0 to the newest one.

    A worker continues from the newest border, so nothing would ever store again what is missing before it.

    Args:
        store: the store of the study.
        lineage: a pack, the pack that it continues, and so on.
        stored: the segments of every pack, by pack_id, if they have been listed already.
        ended_at: the epoch at which a trial of the first pack is completed. All rows up to there must be stored, and later
            ones do not count.

    Raises:
        RecordError: a rows file is missing, or begins or ends where its pack has no border.
    """
    if ended_at is not None:
        first, *ancestors = lineage
        borders = tuple(border for border in first.borders if border <= ended_at)
        lineage = (first.model_copy(update={"borders": borders or (ended_at,)}), *ancestors)
    for pack, until in parts_of(lineage):
        due = list(keys_at_borders(pack, until))
        found = segments(store, pack.pack_id) if stored is None else stored.get(pack.pack_id, ())
        there = {segment.key: segment for segment in found if segment.last <= until}
        if wrong := there.keys() - set(due):
            raise _at_no_border(min(wrong), pack.pack_id)
        # An ancestor has stored everything up to where its child began. What the pack itself has not reached is yet to come.
        if pack is lineage[0] and ended_at is None:
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


def _refuse(error: RecordError, problems: dict[str, str] | None) -> None:
    if problems is None:
        raise error
    problems[error.path] = str(error)
