"""Damage to a stored file is noticed by whoever reads it."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.workers.store.some_tables import some_epochs, with_metadata
from workers.contract.columns import EPOCHS, SCHEMA_VERSION
from workers.contract.errors import RecordError, VersionError
from workers.store.parquet import content_sha256, decode, decode_with_footer, encode, read_footer

VERSION = f'"schema_version": {SCHEMA_VERSION}'.encode()


def test_a_flipped_bit_is_noticed_or_harmless():
    """Every bit of the metadata and some of the pages; `seconds`, which is no content, included."""
    table = some_epochs()
    raw = encode(table, {"kind": "epochs", "threshold": 0.1})
    footer = read_footer(raw, "epochs/x.parquet")
    rng = np.random.default_rng(0)
    begin = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
    bits = [*rng.integers(0, 8 * begin, 200), *rng.choice(np.arange(8 * begin, 8 * len(raw)), 800, replace=False)]
    errors = []
    for bit in bits:
        damaged = bytearray(raw)
        damaged[bit // 8] ^= 1 << (bit % 8)
        try:
            found, said = decode_with_footer(bytes(damaged), "epochs/x.parquet")
        except RecordError as error:
            errors.append(error)
        else:
            assert found.equals(table)
            assert said == footer
    assert len(errors) > 500
    assert all(error.path == "epochs/x.parquet" and str(error).startswith("epochs/x.parquet: ") for error in errors)
    assert not any("\n" in str(error) for error in errors)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"threshold"', b'"thresho1d"'), (b"0.125", b"0.126"), (VERSION, VERSION[:-1] + b"3")],
    ids=["a name", "a value", "the version"],
)
def test_a_footer_that_is_not_what_was_written_is_refused(old, new):
    raw = encode(some_epochs(), {"kind": "epochs", "threshold": 0.125})
    text = pq.read_schema(pa.BufferReader(raw)).metadata[b"study"]
    assert old in text
    for read in (decode, read_footer):
        with pytest.raises(RecordError, match=r"a\.parquet: damaged: its footer is not what was written") as refusal:
            read(with_metadata(raw, {b"study": text.replace(old, new)}), "a.parquet")
        assert not isinstance(refusal.value, VersionError)


@pytest.mark.parametrize("read", [decode, read_footer])
def test_a_footer_without_its_checksum_is_refused(read):
    raw = encode(some_epochs(), {"kind": "epochs"})
    metadata = pq.read_schema(pa.BufferReader(raw)).metadata
    with pytest.raises(RecordError, match=r"a\.parquet: damaged: its footer has no checksum"):
        read(
            with_metadata(raw, {b"study": metadata[b"study"], b"study_sha25v": metadata[b"study_sha256"]}, keep=False),
            "a.parquet",
        )


def test_a_time_that_is_not_what_was_written_is_refused():
    """`seconds` is no content: another run of the same epochs has the same hash. Damage to it is damage all the same."""
    raw = encode(some_epochs(), {})
    table = pq.read_table(pa.BufferReader(raw))
    slower = table.set_column(table.schema.get_field_index("seconds"), "seconds", pa.array([9.0] * len(table)))
    assert content_sha256(slower) == content_sha256(table)
    sink = pa.BufferOutputStream()
    pq.write_table(slower, sink)
    with pytest.raises(RecordError, match="its content is not what was written"):
        decode(sink.getvalue().to_pybytes(), "a.parquet")


def test_only_what_is_read_is_verified():
    """A page of `kl_per_unit` is damaged: whoever reads it, or all, is told; whoever does not goes on."""
    table = some_epochs(2000)
    raw = bytearray(encode(table, {}))
    chunk = pq.read_metadata(pa.BufferReader(raw)).row_group(0).column(EPOCHS.names.index("kl_per_unit"))
    raw[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 1
    assert decode(bytes(raw), "a.parquet", ["activity", "seconds"]).equals(table.select(["activity", "seconds"]))
    for columns in (None, ["epoch", "kl_per_unit"]):
        with pytest.raises(RecordError, match=r"a\.parquet: damaged"):
            decode(bytes(raw), "a.parquet", columns)


def test_every_column_is_verified_when_it_is_read_alone():
    """Each column of a file is exchanged for another: whoever reads it is told."""
    table = some_epochs()
    footer = pq.read_schema(pa.BufferReader(encode(table, {}))).metadata
    for place, field in enumerate(EPOCHS):
        other = table.set_column(place, field, table.column(place).take(pa.array([1, 0, *range(2, len(table))])))
        sink = pa.BufferOutputStream()
        pq.write_table(other.replace_schema_metadata(footer), sink)
        raw = sink.getvalue().to_pybytes()
        rest = [name for name in EPOCHS.names if name != field.name]
        assert decode(raw, "a.parquet", rest).equals(table.select(rest))
        with pytest.raises(RecordError, match="its content is not what was written"):
            decode(raw, "a.parquet", [field.name])


@pytest.mark.parametrize("length", [0, 1, 7, 8, 100, -1, -9])
def test_a_truncated_file_is_noticed(length):
    raw = encode(some_epochs(), {})
    with pytest.raises(RecordError, match=r"a\.parquet: damaged: .*; restore it from a copy"):
        decode(raw[:length], "a.parquet")


def test_a_file_of_somebody_else_is_refused(tmp_path):
    pq.write_table(some_epochs(), tmp_path / "theirs.parquet")
    with pytest.raises(RecordError, match="not a whole Parquet file of a study"):
        decode((tmp_path / "theirs.parquet").read_bytes(), "theirs.parquet")


def test_content_that_is_not_its_hash_is_refused():
    table = some_epochs()
    forged = io_with_footer_of(encode(table.slice(1), {}), table)
    with pytest.raises(RecordError, match="its content is not what was written"):
        decode(forged, "forged.parquet")


def io_with_footer_of(raw, table):
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(pq.read_schema(pa.BufferReader(raw)).metadata), sink)
    return sink.getvalue().to_pybytes()
