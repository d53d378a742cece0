"""Write and read Parquet files whose whole content is protected by checksums."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workers.contract.columns import NOT_CONTENT, SCHEMA_VERSION
from workers.contract.errors import RecordError, VersionError, damaged, printable

_FOOTER_KEY, _FOOTER_SHA256_KEY = b"study", b"study_sha256"


def content_sha256(table: pa.Table) -> str:
    """Return a hash of the names, types and decoded values of all columns except those in NOT_CONTENT.

    It is the SHA-256 of "name:hash;" of every such column, in the order of the table; see column_sha256.
    """
    return _content_of({name: column_sha256(table, name) for name in table.column_names}, table.column_names)


def column_sha256(table: pa.Table, name: str) -> str:
    """Return a hash of one decoded column: its name, its type, its length, which values are null, and the values."""
    column = table.column(name)
    # Not str(type), which contains the name of a list's items, because Parquet renames them.
    kind = f"list<{column.type.value_type}>" if pa.types.is_list(column.type) else str(column.type)
    digest = hashlib.sha256(f"{name}:{kind};".encode())
    _feed(digest, column.chunk(0) if column.num_chunks == 1 else column.combine_chunks())
    return digest.hexdigest()


def _content_of(hashes: Mapping[str, str], names: Sequence[str]) -> str:
    text = "".join(f"{name}:{hashes[name]};" for name in names if name not in NOT_CONTENT)
    return hashlib.sha256(text.encode()).hexdigest()


def _feed(digest: "hashlib._Hash", array: pa.Array) -> None:
    rows = len(array)
    digest.update(rows.to_bytes(8, "little"))
    whole = array.null_count == 0
    digest.update(_all_valid(rows) if whole else np.packbits(array.is_valid().to_numpy(zero_copy_only=False)).data)
    if pa.types.is_list(array.type):
        lengths = array.value_lengths() if whole else array.value_lengths().fill_null(0)
        digest.update(_bytes_of(lengths))
        _feed(digest, array.flatten())
    elif pa.types.is_string(array.type):
        # The lengths and all characters as Arrow stores them, which needs no loop over rows.
        texts = array if whole else array.fill_null("")
        _, places, letters = texts.buffers()
        edges = np.frombuffer(places, np.int32)[texts.offset : texts.offset + rows + 1] if rows else np.zeros(1, np.int32)
        digest.update(np.diff(edges).data)
        digest.update(memoryview(letters)[edges[0] : edges[-1]] if letters else b"")
    elif array.null_count == rows:
        digest.update(bytes(rows * max(1, array.type.bit_width // 8)))
    else:
        digest.update(_bytes_of(array if whole else array.fill_null(pa.scalar(0).cast(array.type))))


@lru_cache(maxsize=64)
def _all_valid(rows: int) -> bytes:
    return np.packbits(np.ones(rows, bool)).tobytes()


def _bytes_of(array: pa.Array) -> Any:
    """Return the values as one buffer."""
    return np.ascontiguousarray(array.to_numpy(zero_copy_only=False)).data if len(array) else b""


def encode(table: pa.Table, footer: Mapping[str, Any]) -> bytes:
    """Return a Parquet file with page checksums, whose footer holds `footer`, one hash per column and its own hash."""
    hashes = {name: column_sha256(table, name) for name in table.column_names}
    content = {"content_sha256": _content_of(hashes, table.column_names), "columns_sha256": hashes}
    text = json.dumps({**footer, "schema_version": SCHEMA_VERSION, **content}, sort_keys=True).encode()
    lists = {field.name for field in table.schema if pa.types.is_list(field.type)}
    sink = io.BytesIO()
    with pq.ParquetWriter(
        sink,
        table.schema.remove_metadata(),
        write_page_checksum=True,
        # Scalars are read at every load, and their pages are so small that decompressing takes longer than reading.
        compression={_leaf(field): "zstd" if field.name in lists else "none" for field in table.schema},
        # A dictionary of random floats only costs time and space.
        use_dictionary=[
            field.name for field in table.schema if not (field.name in lists or pa.types.is_floating(field.type))
        ],
        # Arrow's own copy of the schema would store the footer a second time.
        store_schema=False,
    ) as writer:
        writer.write_table(table.replace_schema_metadata(None))
        writer.add_key_value_metadata({_FOOTER_KEY: text, _FOOTER_SHA256_KEY: hashlib.sha256(text).hexdigest()})
    return sink.getvalue()


def _leaf(field: pa.Field) -> str:
    """Return Parquet's name for the values of a column."""
    return f"{field.name}.list.element" if pa.types.is_list(field.type) else str(field.name)


def decode(raw: bytes, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the table of a file that `encode` wrote, or some of its columns; see decode_with_footer.

    Raises:
        VersionError: the schema_version of the file is not the one that this version reads.
        RecordError: the bytes are damaged, not Parquet, or not written by this project.
    """
    return decode_with_footer(raw, path, columns)[0]


def decode_with_footer(raw: bytes, path: str, columns: Sequence[str] | None = None) -> tuple[pa.Table, dict[str, Any]]:
    """Return the table of a file, or some of its columns, and its footer, after checking their checksums.

    Raises:
        VersionError, RecordError: see decode.
    """
    file, footer = open_file(raw, path)
    return read_file(file, footer, path, columns), footer


def read_footer(raw: bytes, path: str) -> dict[str, Any]:
    """Return the footer that was given to `encode`, with schema_version and the table's hashes, after checking its checksum.

    Raises:
        VersionError, RecordError: see decode.
    """
    return open_file(raw, path)[1]


def read_file(file: pq.ParquetFile, footer: Mapping[str, Any], path: str, columns: Sequence[str] | None) -> pa.Table:
    """Return some columns of an open file, or all for None, after checking their page checksums and hashes.

    Raises:
        RecordError: a column is damaged or missing.
    """
    hashes: dict[str, str] = footer.get("columns_sha256", {})
    try:
        names: list[str] = file.schema_arrow.names
        # Parquet has no checksum over its own description of the columns.
        is_whole = hashes.keys() == set(names) and _content_of(hashes, names) == footer.get("content_sha256")
        if is_whole and (lacking := [name for name in columns or () if name not in hashes]):
            raise RecordError(path, f"has no column {lacking[0]} (kind {footer.get('kind')})", "move it away")
        # Threads, if any, read different files rather than different columns: the columns of one border are small.
        table = file.read(columns=None if columns is None else list(columns), use_threads=False)
        is_whole = is_whole and all(hashes[name] == column_sha256(table, name) for name in table.column_names)
    except RecordError:
        raise
    except (pa.ArrowException, OSError, ValueError, AttributeError, TypeError, KeyError) as error:
        raise damaged(path, " ".join(str(error).split())) from error
    # Page checksums do not cover the headers of pages or where pages begin.
    if not is_whole:
        raise damaged(path, "its content is not what was written")
    return table


def open_file(raw: Any, path: str) -> tuple[pq.ParquetFile, dict[str, Any]]:
    """Return an open file, with its metadata parsed, and its verified footer; no column of the buffer `raw` is read.

    Raises:
        VersionError, RecordError: see decode.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(raw), page_checksum_verification=True)
        metadata = file.schema_arrow.metadata or {}
        text, checksum = metadata[_FOOTER_KEY], metadata.get(_FOOTER_SHA256_KEY)
        footer: dict[str, Any] = json.loads(text)
        version = footer.get("schema_version")
    except (pa.ArrowException, OSError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise damaged(path, f"not a whole Parquet file of a study ({type(error).__name__})") from error
    if checksum is not None and checksum != hashlib.sha256(text).hexdigest().encode():
        raise damaged(path, "its footer is not what was written")
    if version != SCHEMA_VERSION:
        raise VersionError(
            path, f"has schema_version {version}, but this program reads {SCHEMA_VERSION}", "use the program that wrote it"
        )
    # Another version may have no such key; in this version a flipped bit must have renamed it.
    if checksum is None:
        raise damaged(path, "its footer has no checksum")
    if wrong := _wrong_fact(footer):
        raise damaged(path, f"its footer has no {wrong} of the right kind")
    return file, footer


_KINDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("kind", "pack_id", "study", "grid", "created", "reason", "content_sha256"), (str,)),
    **dict.fromkeys(("checkpoint", "checkpoint_sha256"), (str, type(None))),
    **dict.fromkeys(("provenance", "factors", "columns_sha256", "measure"), (dict,)),
    "threshold": (int, float),
    "closed": (bool,),
}

_DEPTH = 8
"""Most levels of a footer; what this program writes has three."""


def _wrong_fact(footer: Mapping[str, Any]) -> str:
    """Return the first entry of a footer that has another type than readers rely on; empty if there is none.

    A checksum protects from damage, not from somebody who writes a footer and its checksum.
    """
    for name, value in footer.items():
        is_right = isinstance(value, _KINDS.get(name, (object,))) and not _is_deeper(value, _DEPTH)
        if name in ("kind", "pack_id", "study"):
            is_right = is_right and value.isprintable()
        elif name == "threshold":
            is_right = is_right and not isinstance(value, bool) and abs(value) < float("inf")
        elif name == "factors":
            is_right = is_right and all(isinstance(levels, list) for levels in value.values())
        if not is_right:
            return printable(name[:100])
    return ""


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    items = value.values() if isinstance(value, dict) else value
    return not levels or any(_is_deeper(item, levels - 1) for item in items)
