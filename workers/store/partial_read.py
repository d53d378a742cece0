"""Some columns of a stored file: no more of its bytes are read than they need, and every one of them is verified."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workers.contract.errors import damaged
from workers.store.parquet import decode_with_footer, open_file, read_file
from workers.store.protocol import Store

_END = 2**15
"""Bytes at the end that are read first: the footer of a rows file, or the whole of a small one."""

_GAP = 2**15
"""So few bytes between two ranges are read with them: a request costs more."""

_TRAILER = 8
"""The length of the metadata, in four bytes, and PAR1."""


def read_columns(store: Store, key: str, columns: Sequence[str]) -> tuple[pa.Table, dict[str, Any]]:
    """Some columns of a file that `records.encode` made, and what its footer says; the checksums of all that hold.

    Raises:
        VersionError: the file's schema_version is not this version's.
        RecordError: what was read is damaged, not Parquet, or not written by this project.
        OSError: as Store.read_range.
    """
    end, size = store.read_range(key, -_END, None)
    if len(end) >= size:
        return decode_with_footer(end, key, columns)
    # Stands for the whole file; memory is taken only where something is put in.
    raw = np.zeros(size, np.uint8)
    known = size - len(end)
    raw[known:] = np.frombuffer(end, np.uint8)

    def fetch(start: int, stop: int) -> None:
        part, _ = store.read_range(key, start, stop)
        if len(part) != stop - start:
            raise damaged(key, "it ends earlier than before")
        raw[start:stop] = np.frombuffer(part, np.uint8)

    metadata_begin = size - _TRAILER - int.from_bytes(end[-_TRAILER : -_TRAILER // 2], "little")
    if 0 <= metadata_begin < known:
        fetch(metadata_begin, known)
        known = metadata_begin
    file, footer = open_file(raw, key)
    try:
        ranges = list(_joined(_ranges(file, columns)))
    except (pa.ArrowException, OSError, ValueError, IndexError) as error:
        raise damaged(key, "it does not say where its columns are") from error
    if not all(0 <= start <= stop <= size for start, stop in ranges):
        raise damaged(key, "its columns lie beyond its end")
    for start, stop in ranges:
        if start < known:
            fetch(start, min(stop, known))
    return read_file(file, footer, key, columns), footer


def _ranges(file: pq.ParquetFile, columns: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where the pages of some columns lie; neighbours lie one after the other, as they were written."""
    metadata, names = file.metadata, file.schema_arrow.names
    places = sorted({names.index(name) for name in columns if name in names})
    firsts = [place for place in places if place - 1 not in places]
    lasts = [place for place in places if place + 1 not in places]
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for first, last in zip(firsts, lasts, strict=True):
            yield _place(group.column(first))[0], sum(_place(group.column(last)))


def _place(chunk: pq.ColumnChunkMetaData) -> tuple[int, int]:
    """Where the pages of a column begin, and how many bytes they have."""
    begins = (chunk.dictionary_page_offset, chunk.data_page_offset)
    return min(begin for begin in begins if begin is not None), chunk.total_compressed_size


def _joined(ranges: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The ranges in order, neighbours made one."""
    first: tuple[int, int] | None = None
    for start, stop in sorted(ranges):
        if first is not None and start <= first[1] + _GAP:
            first = first[0], max(first[1], stop)
            continue
        if first is not None:
            yield first
        first = start, stop
    if first is not None:
        yield first
