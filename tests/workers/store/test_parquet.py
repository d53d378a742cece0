"""Stored files are read back as they were written, and have the schemas of their version."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.store.some_tables import FEW, rows, schemas, some_epochs, table_of, with_metadata
from workers.contract.columns import EPOCHS, SCHEMA_VERSION
from workers.contract.errors import RecordError, VersionError
from workers.store import parquet as records
from workers.store.parquet import column_sha256, content_sha256, decode, encode, read_footer


@schemas
@FEW
@given(data=st.data())
def test_what_is_written_is_read(schema, data):
    table = table_of(data.draw(rows(schema)), schema)
    raw = encode(table, {"kind": "law", "n": 1})
    again = decode(raw, "file")
    # repr: NaN equals itself there, and -0.0 is not 0.0.
    assert repr(again.to_pylist()) == repr(table.to_pylist())
    assert [(field.name, field.type) for field in again.schema] == [(field.name, field.type) for field in schema]
    assert content_sha256(again) == content_sha256(table)
    footer = read_footer(raw, "file")
    hashes = {name: column_sha256(table, name) for name in schema.names}
    assert footer == {
        "kind": "law",
        "n": 1,
        "schema_version": SCHEMA_VERSION,
        "content_sha256": content_sha256(table),
        "columns_sha256": hashes,
    }
    some = data.draw(st.lists(st.sampled_from(schema.names), unique=True, min_size=1))
    assert repr(decode(raw, "file", some).select(some).to_pylist()) == repr(table.select(some).to_pylist())


def test_a_plain_reader_sees_the_rows(tmp_path):
    table = some_epochs()
    (tmp_path / "a.parquet").write_bytes(encode(table, {}))
    frame = pq.read_table(tmp_path).to_pandas()
    assert list(frame.columns) == EPOCHS.names
    assert len(frame) == 20
    np.testing.assert_array_equal(frame["activity"][3], table.column("activity")[3].as_py())


def test_some_columns_can_be_read_alone():
    raw = encode(some_epochs(), {"kind": "epochs"})
    table = decode(raw, "file", columns=["epoch", "activity"])
    assert table.column_names == ["epoch", "activity"]
    with pytest.raises(RecordError, match="file: has no column nll"):
        decode(raw, "file", columns=["epoch", "nll"])


def test_a_plain_reader_sees_the_types_of_the_schema():
    """Arrow's own copy of the schema is left out: Parquet's own types say the same."""
    raw = encode(some_epochs(), {})
    assert pq.read_table(pa.BufferReader(raw)).schema.remove_metadata() == EPOCHS
    assert b"ARROW:schema" not in raw


@pytest.mark.parametrize("read", [decode, read_footer])
@pytest.mark.parametrize("version", [0, 1, 2, 3, 99])
def test_another_schema_version_is_refused_by_name(read, version, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(records, "SCHEMA_VERSION", version)
        raw = encode(some_epochs(), {})
    words = rf"plan/1\.parquet: has schema_version {version}, but this program reads {SCHEMA_VERSION}; use the program that"
    with pytest.raises(VersionError, match=words):
        read(raw, "plan/1.parquet")


def test_a_file_of_version_2_had_no_checksum_and_is_refused_by_name():
    raw = encode(some_epochs(), {})
    now = f'"schema_version": {SCHEMA_VERSION}'.encode()
    text = pq.read_schema(pa.BufferReader(raw)).metadata[b"study"].replace(now, b'"schema_version": 2')
    with pytest.raises(VersionError, match="has schema_version 2"):
        read_footer(with_metadata(raw, {b"study": text}, keep=False), "a.parquet")
