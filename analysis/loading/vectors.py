"""Reads the vectors of a stream from their files on demand, verifies them, and keeps some of them in memory."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from workers.contract.columns import VECTORS
from workers.contract.errors import RecordError, unreadable
from workers.store.partial_read import read_columns
from workers.store.protocol import Store

KEPT_BYTES = 500_000_000
"""Vectors that are read first stay in memory up to this size: those of about 500 trials of 300 epochs and 50 units."""

_REQUESTS = 32
"""Concurrent requests to a bucket; a request spends nearly all of its time waiting."""


One = TypeVar("One")


Other = TypeVar("Other")


class Block(NamedTuple):
    """The vectors of some rows of one file."""

    places: NDArray[np.int64]
    """Positions of the rows in `study.epochs`, in increasing order."""
    lengths: NDArray[np.int64]
    """Number of entries of each row."""
    values: NDArray[np.float32]
    """All entries, one row after the other."""


@dataclass(frozen=True, eq=False)
class Vectors:
    """Where the vectors of a study's rows are: in the files that were there when the study was loaded."""

    store: Store
    keys: tuple[str, ...]
    content: tuple[str, ...]
    """The content hash of each file when it was read first."""
    begins: NDArray[np.int64]
    """Position among all stored rows at which those of each file begin, and finally the number of stored rows."""
    rows: NDArray[np.int64]
    """Position of each row of `study.epochs` among all stored rows, in increasing order."""
    problems: dict[str, str] | None
    """None: the first damaged file ends the reading; otherwise damaged files are left out and added here by key."""
    kept: dict[tuple[str, str], pa.Array] = field(default_factory=dict)
    """Lists by key and column, up to KEPT_BYTES."""

    def blocks(self, column: str, places: NDArray[np.int64]) -> Iterator[Block]:
        """Yield a vector column of some rows of `study.epochs`, file by file; `places` are in increasing order.

        Raises:
            RecordError: a file is damaged, cannot be read, or has been replaced; not with `problems`.
        """
        stored = self.rows[places]
        edges = np.searchsorted(stored, self.begins)
        wanted = [number for number in range(len(self.keys)) if edges[number] < edges[number + 1]]
        kept = sum(lists.nbytes for lists in self.kept.values())

        def read(number: int) -> pa.Array | RecordError:
            found = self.kept.get((self.keys[number], column))
            return self._read(number, column) if found is None else found

        for number, lists in zip(wanted, in_order(read, wanted, threads_for(self.store)), strict=True):
            key = self.keys[number]
            if isinstance(lists, RecordError):
                if self.problems is None:
                    raise lists
                self.problems[key] = str(lists)
                continue
            if (key, column) not in self.kept and kept + lists.nbytes <= KEPT_BYTES:
                self.kept[key, column] = lists
                kept += lists.nbytes
            here = slice(edges[number], edges[number + 1])
            local = stored[here] - self.begins[number]
            is_run = local[-1] - local[0] + 1 == len(local)
            some = lists.slice(local[0], len(local)) if is_run else lists.take(pa.array(local))
            lengths = some.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
            yield Block(places[here], lengths, some.flatten().to_numpy(zero_copy_only=False))

    def _read(self, number: int, column: str) -> pa.Array | RecordError:
        key = self.keys[number]
        try:
            table, footer = read_columns(self.store, key, [column])
        except RecordError as error:
            return error
        except FileNotFoundError as error:
            return unreadable(key, error)
        if footer["content_sha256"] != self.content[number] or len(table) != np.diff(self.begins)[number]:
            return RecordError(key, "is not the file that was there when the study was loaded", "load the study again")
        return table.column(column).combine_chunks()


def keep(kept: dict[tuple[str, str], pa.Array], key: str, table: pa.Table, total: int) -> int:
    """Add the vectors of a whole table to `kept` while they fit into KEPT_BYTES; return the new total of bytes."""
    for column in VECTORS:
        lists = table.column(column).combine_chunks()
        if total + lists.nbytes <= KEPT_BYTES:
            kept[key, column] = lists
            total += lists.nbytes
    return total


def threads_for(store: Store) -> int:
    """Return how many files are read at once; Arrow, hashing and requests all release Python's lock."""
    return _REQUESTS if "://" in store.url else min(8, os.cpu_count() or 1)


def in_order(work: Callable[[One], Other], items: Iterable[One], threads: int) -> Iterator[Other]:
    """Yield the results of `work` in the order of the items, made by threads that run only a little ahead."""
    waiting: deque[Future[Other]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 4 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()
