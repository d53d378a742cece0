"""The Arrow schemas of everything stored, and files whose content can be checked; builds no path, trains nothing."""

import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workers.settings import Settings, default_of, leaves

SCHEMA_VERSION = 3
_FOOTER_KEY, _FOOTER_SHA256_KEY = b"study", b"study_sha256"
_VECTOR = pa.list_(pa.float32())


class RecordError(ValueError):
    """A stored file is damaged or of a kind that this version does not read; `path` names it."""

    def __init__(self, path: str, problem: str, next_step: str) -> None:
        """Say which file, what is wrong with it, and what to do."""
        self.path = path
        # One line for the terminal, whatever the name of a file holds.
        text = f"{path}: {problem}; {next_step}"
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in text))


class VersionError(RecordError):
    """A stored file is whole, but was written by a version with another schema."""


EPOCHS = pa.schema(
    [
        ("schema_version", pa.int32()),
        ("trial_id", pa.string()),
        ("decoder", pa.string()),
        ("k", pa.int32()),
        ("batch_norm", pa.bool_()),
        ("warmup", pa.int32()),
        ("n_z", pa.int32()),
        ("seed", pa.int64()),
        ("epoch", pa.int32()),
        ("beta", pa.float64()),
        ("train_objective", pa.float64()),
        ("train_bound", pa.float64()),
        ("test_bound", pa.float64()),
        ("test_elbo", pa.float64()),
        ("test_reconstruction", pa.float64()),
        ("test_kl", pa.float64()),
        ("ess", pa.float64()),
        ("saturated_mean", pa.float64()),
        ("saturated_log_variance", pa.float64()),
        ("active_units", pa.int32()),
        ("activity", _VECTOR),
        ("activity_test", _VECTOR),
        ("activity_pca", _VECTOR),
        ("kl_per_unit", _VECTOR),
        ("kl_per_unit_test", _VECTOR),
        ("posterior_mean", _VECTOR),
        ("posterior_variance", _VECTOR),
        ("reconstruction_per_class", _VECTOR),
        ("seconds", pa.float64()),
    ]
)
"""A row a (trial, epoch); epoch 0 is before training. Nats per example; vectors have an entry a latent unit, layer by layer.

What a trial does not have (the saturated share of a head that is not bounded) is null.
"""

TRIALS = pa.schema(
    [
        ("schema_version", pa.int32()),
        ("trial_id", pa.string()),
        ("pack_id", pa.string()),
        ("decoder", pa.string()),
        ("k", pa.int32()),
        ("batch_norm", pa.bool_()),
        ("warmup", pa.int32()),
        ("n_z", pa.int32()),
        ("seed", pa.int64()),
        ("status", pa.string()),
        ("epochs", pa.int32()),
        ("last_epoch", pa.int32()),
        ("train_bound", pa.float64()),
        ("test_bound", pa.float64()),
        ("test_elbo", pa.float64()),
        ("nll", pa.float64()),
        ("nll_samples", pa.int32()),
        ("l_1", pa.float64()),
        ("l_5", pa.float64()),
        ("l_64", pa.float64()),
        ("nll_comparable", pa.float64()),
        ("test_mse", pa.float64()),
        ("test_cross_entropy", pa.float64()),
        ("saturated_pixels", pa.float64()),
        ("mutual_information", pa.float64()),
        ("marginal_kl", pa.float64()),
        ("ablation_low", pa.float64()),
        ("ablation_between", pa.float64()),
        ("ablation_low_elbo", pa.float64()),
        ("ablation_between_elbo", pa.float64()),
        ("bound_bin", pa.float64()),
        ("secondary_samples", pa.int32()),
        ("activity_bin", _VECTOR),
        ("activity_grey", _VECTOR),
        ("active_units", pa.int32()),
        ("baseline_bound", pa.float64()),
        ("seconds", pa.float64()),
        ("device", pa.string()),
    ]
)
"""A row a finished trial. status: completed | diverged (then the bounds are those of last_epoch, and what is measured at the
end is null, as is what a trial does not have).
"""


def _column_type(name: str) -> pa.DataType:
    value = default_of(name)
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int):
        return pa.int64()
    if isinstance(value, float):
        return pa.float64()
    if isinstance(value, tuple):
        return pa.list_(pa.int32())
    return pa.string()


PLAN = pa.schema(
    [
        ("schema_version", pa.int32()),
        ("trial_id", pa.string()),
        ("pack_id", pa.string()),
        ("parent_pack", pa.string()),
        ("from_epoch", pa.int32()),
        ("borders", pa.list_(pa.int32())),
        ("layer_sizes", pa.list_(pa.int32())),
        ("fingerprint", pa.string()),
        *((name, _column_type(name)) for name in leaves(Settings)),
    ]
)
"""A row a planned trial: its pack, its borders and every setting under its dotted name."""

# Wall time and the machine's name are not content: the same trial elsewhere has the same content.
NOT_CONTENT = ("seconds", "device")


def content_sha256(table: pa.Table) -> str:
    """Hash of the decoded columns but `seconds` and `device`: names, types and values, however they are stored."""
    return _hash_of(table, is_content=True)


def _hash_of(table: pa.Table, *, is_content: bool) -> str:
    digest = hashlib.sha256()
    for field, column in zip(table.schema, table.columns, strict=True):
        if (field.name not in NOT_CONTENT) is not is_content:
            continue
        # Not str(type): it names the list's items, and Parquet renames them.
        kind = f"list<{field.type.value_type}>" if pa.types.is_list(field.type) else str(field.type)
        digest.update(f"{field.name}:{kind};".encode())
        _feed(digest, column.chunk(0) if column.num_chunks == 1 else column.combine_chunks())
    return digest.hexdigest()


def _feed(digest: "hashlib._Hash", array: pa.Array) -> None:
    rows = len(array)
    digest.update(rows.to_bytes(8, "little"))
    whole = array.null_count == 0
    valid = np.ones(rows, bool) if whole else array.is_valid().to_numpy(zero_copy_only=False)
    digest.update(np.packbits(valid).data)
    if pa.types.is_list(array.type):
        lengths = array.value_lengths() if whole else array.value_lengths().fill_null(0)
        digest.update(_bytes_of(lengths))
        _feed(digest, array.flatten())
    elif pa.types.is_string(array.type):
        # Few texts, many rows.
        coded = (array if whole else array.fill_null("")).dictionary_encode()
        texts = [text.encode() for text in coded.dictionary.to_pylist()]
        parts = [len(text).to_bytes(8, "little") + text for text in texts]
        digest.update(b"".join([parts[code] for code in coded.indices.to_numpy().tolist()]))
    else:
        digest.update(_bytes_of(array if whole else array.fill_null(pa.scalar(0).cast(array.type))))


def _bytes_of(array: pa.Array) -> Any:
    """The values as one buffer."""
    return np.ascontiguousarray(array.to_numpy(zero_copy_only=False)).data if len(array) else b""


def encode(table: pa.Table, footer: Mapping[str, Any]) -> bytes:
    """A whole Parquet file as bytes: page checksums on; the footer carries `footer`, hashes of the table and its own."""
    hashes = {"content_sha256": content_sha256(table), "not_content_sha256": _hash_of(table, is_content=False)}
    text = json.dumps({**footer, "schema_version": SCHEMA_VERSION, **hashes}, sort_keys=True).encode()
    vectors = {field.name for field in table.schema if field.type == _VECTOR}
    sink = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata({_FOOTER_KEY: text, _FOOTER_SHA256_KEY: hashlib.sha256(text).hexdigest()}),
        sink,
        write_page_checksum=True,
        compression="zstd",
        # A dictionary of random floats only costs time and space.
        use_dictionary=[field.name for field in table.schema if field.name not in vectors],
    )
    return sink.getvalue()


def decode(raw: bytes, path: str, columns: list[str] | None = None) -> pa.Table:
    """The table of a file that `encode` made, or some of its columns; all of it is verified either way.

    Raises:
        VersionError: the file's schema_version is not this version's.
        RecordError: the bytes are damaged, not Parquet, or not written by this project.
    """
    table = decode_with_footer(raw, path)[0]
    return table if columns is None else table.select(columns)


def decode_with_footer(raw: bytes, path: str) -> tuple[pa.Table, dict[str, Any]]:
    """The whole table of a file and what its footer says; page checksums and all hashes hold.

    Raises:
        VersionError, RecordError: as decode.
    """
    file, footer = _opened(raw, path)
    try:
        # A thread a file, if at all, not a thread a column: the columns of one border are small.
        table = file.read(use_threads=False)
        hashes = content_sha256(table), _hash_of(table, is_content=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(path, " ".join(str(error).split())) from error
    # Page checksums leave out the pages' headers and where pages begin.
    if hashes != (footer.get("content_sha256"), footer.get("not_content_sha256")):
        raise _damaged(path, "its content is not what was written")
    return table, footer


def read_footer(raw: bytes, path: str) -> dict[str, Any]:
    """What `encode` was given beside the table, with schema_version and the hashes of the table; its own checksum holds.

    Raises:
        VersionError: the file's schema_version is not this version's.
        RecordError: the bytes are damaged, not Parquet, or not written by this project.
    """
    return _opened(raw, path)[1]


def _opened(raw: bytes, path: str) -> tuple[pq.ParquetFile, dict[str, Any]]:
    """A file whose metadata are parsed, once, and its verified footer."""
    try:
        file = pq.ParquetFile(pa.BufferReader(raw), page_checksum_verification=True)
        metadata = file.schema_arrow.metadata or {}
        text, checksum = metadata[_FOOTER_KEY], metadata.get(_FOOTER_SHA256_KEY)
        footer: dict[str, Any] = json.loads(text)
        version = footer.get("schema_version")
    except (pa.ArrowException, OSError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise _damaged(path, f"not a whole Parquet file of a study ({type(error).__name__})") from error
    if checksum is not None and checksum != hashlib.sha256(text).hexdigest().encode():
        raise _damaged(path, "its footer is not what was written")
    if version != SCHEMA_VERSION:
        raise VersionError(
            path, f"has schema_version {version}, this program reads {SCHEMA_VERSION}", "use the program that wrote it"
        )
    # Of another version that is as it should be; here a flipped bit has renamed the key.
    if checksum is None:
        raise _damaged(path, "its footer has no checksum")
    return file, footer


def _damaged(path: str, problem: str) -> RecordError:
    return RecordError(path, f"damaged: {problem}", "restore it from a copy, or move it away and run the study again")
