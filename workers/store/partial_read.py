"""Read and verify some columns of a stored file, and fetch little more than the bytes of those columns."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workers.contract.errors import damaged
from workers.store.parquet import decode_with_footer, open_file, read_file
from workers.store.protocol import Store

_END = 2**15
"""Number of bytes at the end of a file that are read first: enough for the footer of a rows file, or a whole small file."""

_GAP = 2**15
"""Two ranges with at most this many bytes between them are read together, because another request would cost more."""

_TRAILER = 8
"""Number of bytes at the very end of a Parquet file: the length of its metadata in four bytes, then PAR1."""


def read_columns(store: Store, key: str, columns: Sequence[str]) -> tuple[pa.Table, dict[str, Any]]:
    """Return some columns of a file that parquet.encode wrote, and its footer, after checking their checksums.

    Raises:
        VersionError: the schema_version of the file is not the one that this version reads.
        RecordError: the bytes that were read are damaged, not Parquet, or not written by this project.
        OSError: see Store.read_range.
    """
    end, size = store.read_range(key, -_END, None)
    if len(end) >= size:
        return decode_with_footer(end, key, columns)
    # A buffer of the size of the file; the system allocates memory only for the parts that are filled.
    raw = np.zeros(size, np.uint8)
    known = size - len(end)
    raw[known:] = np.frombuffer(end, np.uint8)

    def fetch(start: int, stop: int) -> None:
        part, _ = store.read_range(key, start, stop)
        if len(part) != stop - start:
            raise damaged(key, "it is shorter than a moment ago")
        raw[start:stop] = np.frombuffer(part, np.uint8)

    metadata_begin = size - _TRAILER - int.from_bytes(end[-_TRAILER : -_TRAILER // 2], "little")
    if 0 <= metadata_begin < known:
        fetch(metadata_begin, known)
        known = metadata_begin
    file, footer = open_file(raw, key)
    try:
        ranges = list(_joined(_ranges(file, columns)))
    except (pa.ArrowException, OSError, ValueError, IndexError) as error:
        raise damaged(key, "the positions of its columns cannot be read") from error
    if not all(0 <= start <= stop <= size for start, stop in ranges):
        raise damaged(key, "it ends before the positions of its columns")
    for start, stop in ranges:
        if start < known:
            fetch(start, min(stop, known))
    return read_file(file, footer, key, columns), footer


def _ranges(file: pq.ParquetFile, columns: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the byte ranges of the pages of some columns; neighbouring columns are contiguous and form one range."""
    metadata, names = file.metadata, file.schema_arrow.names
    places = sorted({names.index(name) for name in columns if name in names})
    firsts = [place for place in places if place - 1 not in places]
    lasts = [place for place in places if place + 1 not in places]
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for first, last in zip(firsts, lasts, strict=True):
            yield _place(group.column(first))[0], sum(_place(group.column(last)))


def _place(chunk: pq.ColumnChunkMetaData) -> tuple[int, int]:
    """Return the offset of the pages of a column, and their size in bytes."""
    begins = (chunk.dictionary_page_offset, chunk.data_page_offset)
    return min(begin for begin in begins if begin is not None), chunk.total_compressed_size


def _joined(ranges: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the ranges in order, with close neighbours joined."""
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
