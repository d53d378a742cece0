"""Stored files: whole, checked, and read back as they were written."""

import hashlib
import math

import hypothesis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers import tiny
from workers.contract.columns import EPOCHS, NOT_CONTENT, PLAN, SCHEMA_VERSION, TRIALS
from workers.contract.errors import RecordError, VersionError
from workers.store import parquet as records
from workers.store.parquet import column_sha256, content_sha256, decode, decode_with_footer, encode, read_footer

# A row of an epochs table is 26 columns to draw.
FEW = hypothesis.settings(tiny.LAWS, max_examples=10)

SCHEMAS = {"epochs": EPOCHS, "trials": TRIALS, "plan": PLAN}
schemas = pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)

VALUES = {
    pa.bool_(): st.booleans(),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(),
    pa.string(): st.text(max_size=8),
    pa.list_(pa.int32()): st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
    pa.list_(pa.float32()): st.lists(st.floats(width=32), max_size=4),
}


def rows(schema, min_size=0):
    row = st.fixed_dictionaries({field.name: st.none() | VALUES[field.type] for field in schema})
    return st.lists(row, min_size=min_size, max_size=3)


def table_of(values, schema):
    return pa.Table.from_pylist(values, schema=schema)


def some_epochs(n=20):
    rng = np.random.default_rng(0)

    def value(field, i):
        if pa.types.is_list(field.type):
            return rng.standard_normal(5)
        if pa.types.is_string(field.type):
            return f"{field.name}{i}"
        return bool(i % 2) if pa.types.is_boolean(field.type) else i if pa.types.is_integer(field.type) else rng.random()

    return table_of([{field.name: value(field, i) for field in EPOCHS} for i in range(n)], EPOCHS)


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


@schemas
@FEW
@given(data=st.data())
def test_content_is_of_values_and_not_of_their_storage(schema, data):
    table = table_of(data.draw(rows(schema)), schema)
    cut = data.draw(st.integers(0, len(table)))
    pieces = pa.concat_tables([table.slice(0, cut), table.slice(cut)])
    assert content_sha256(pieces) == content_sha256(table)
    copied = table_of(table.slice(cut).to_pylist(), schema)
    assert content_sha256(table.slice(cut)) == content_sha256(copied)


@schemas
@FEW
@given(data=st.data())
def test_any_other_value_is_other_content(schema, data):
    values = data.draw(rows(schema, min_size=1))
    row = data.draw(st.integers(0, len(values) - 1))
    field = schema.field(data.draw(st.sampled_from([name for name in schema.names if name not in NOT_CONTENT])))
    old = values[row][field.name]
    new = data.draw((st.none() | VALUES[field.type]).filter(lambda value: repr(value) != repr(old)))
    changed = [dict(r) for r in values]
    changed[row][field.name] = new
    assert content_sha256(table_of(changed, schema)) != content_sha256(table_of(values, schema))


def plain_hash(table):
    """The format of the hash, column by column and value by value."""
    digest = hashlib.sha256()
    for name in table.column_names:
        if name not in NOT_CONTENT:
            digest.update(f"{name}:{plain_column_hash(table, name)};".encode())
    return digest.hexdigest()


def plain_column_hash(table, name):
    column = table.column(name)
    kind = f"list<{column.type.value_type}>" if pa.types.is_list(column.type) else str(column.type)
    digest = hashlib.sha256(f"{name}:{kind};".encode())
    hash_array(digest, column.combine_chunks())
    return digest.hexdigest()


def hash_array(digest, array):
    digest.update(len(array).to_bytes(8, "little"))
    digest.update(np.packbits(array.is_valid().to_numpy(zero_copy_only=False)).tobytes())
    if pa.types.is_list(array.type):
        lengths = array.value_lengths().fill_null(0)
        digest.update(lengths.to_numpy(zero_copy_only=False).tobytes())
        hash_array(digest, array.flatten())
    elif pa.types.is_string(array.type):
        texts = [text.encode() for text in array.fill_null("").to_pylist()]
        digest.update(np.array([len(text) for text in texts], np.int32).tobytes())
        digest.update(b"".join(texts))
    else:
        zero = pa.scalar(0).cast(array.type)
        digest.update(array.fill_null(zero).to_numpy(zero_copy_only=False).tobytes())


column = st.one_of(
    st.lists(st.one_of(st.none(), st.text(max_size=5)), min_size=4, max_size=4).map(lambda v: pa.array(v, pa.string())),
    st.lists(st.one_of(st.none(), st.integers(-5, 5)), min_size=4, max_size=4).map(lambda v: pa.array(v, pa.int32())),
    st.lists(st.one_of(st.none(), st.booleans()), min_size=4, max_size=4).map(lambda v: pa.array(v, pa.bool_())),
    st.lists(st.one_of(st.none(), st.floats(allow_nan=True)), min_size=4, max_size=4).map(
        lambda v: pa.array(v, pa.float64())
    ),
    st.lists(
        st.one_of(st.none(), st.lists(st.one_of(st.none(), st.floats(width=32)), max_size=3)), min_size=4, max_size=4
    ).map(lambda v: pa.array(v, pa.list_(pa.float32()))),
)


@FEW
@given(st.lists(column, min_size=1, max_size=4), st.integers(0, 4), st.booleans())
def test_the_hash_is_that_of_its_format(columns, start, in_parts):
    table = pa.table({f"c{place}": one for place, one in enumerate(columns)}).slice(start)
    if in_parts and len(table) > 1:
        table = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert content_sha256(table) == plain_hash(table)
    for name in table.column_names:
        assert column_sha256(table, name) == plain_column_hash(table, name)


def test_wall_time_and_machine_are_no_content():
    table = some_epochs()
    slower = table.set_column(table.schema.get_field_index("seconds"), "seconds", pa.array([9.0] * len(table)))
    assert content_sha256(slower) == content_sha256(table)
    ends = table_of([{"trial_id": "a", "device": "one", "seconds": 1.0}], TRIALS)
    elsewhere = table_of([{"trial_id": "a", "device": "two", "seconds": 2.0}], TRIALS)
    assert content_sha256(ends) == content_sha256(elsewhere)


@pytest.mark.parametrize(
    ("a", "b"),
    [([[1.0], [2.0, 3.0]], [[1.0, 2.0], [3.0]]), ([[], None], [None, []]), ([[0.0]], [[None]]), ([[math.nan]], [[None]])],
    ids=["where lists end", "null or empty", "null or 0", "null or nan"],
)
def test_lists_do_not_run_into_each_other(a, b):
    tables = [table_of([{"activity": value} for value in values], EPOCHS) for values in (a, b)]
    assert content_sha256(tables[0]) != content_sha256(tables[1])


def test_order_of_rows_is_content():
    table = some_epochs(2)
    assert content_sha256(table.take([1, 0])) != content_sha256(table)


def test_another_name_or_type_is_other_content():
    table = some_epochs()
    assert content_sha256(table.rename_columns({"epoch": "step"})) != content_sha256(table)
    index = table.schema.get_field_index("epoch")
    wider = table.set_column(index, "epoch", table.column("epoch").cast(pa.int64()))
    assert content_sha256(wider) != content_sha256(table)


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


# ---- Damage ----


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
    [(b'"threshold"', b'"thresho1d"'), (b"0.125", b"0.126"), (b'"schema_version": 4', b'"schema_version": 3')],
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


def with_metadata(raw, metadata, keep=True):
    """The same table with other entries beside it."""
    table = pq.read_table(pa.BufferReader(raw))
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({**(table.schema.metadata if keep else {}), **metadata}), sink)
    return sink.getvalue().to_pybytes()


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


@pytest.mark.parametrize("read", [decode, read_footer])
@pytest.mark.parametrize("version", [0, 1, 2, 3, 99])
def test_another_schema_version_is_refused_by_name(read, version, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(records, "SCHEMA_VERSION", version)
        raw = encode(some_epochs(), {})
    words = rf"plan/1\.parquet: has schema_version {version}, this program reads 4; use the program that wrote it"
    with pytest.raises(VersionError, match=words):
        read(raw, "plan/1.parquet")


def test_a_file_of_version_2_had_no_checksum_and_is_refused_by_name():
    raw = encode(some_epochs(), {})
    text = pq.read_schema(pa.BufferReader(raw)).metadata[b"study"].replace(b'"schema_version": 4', b'"schema_version": 2')
    with pytest.raises(VersionError, match="has schema_version 2"):
        read_footer(with_metadata(raw, {b"study": text}, keep=False), "a.parquet")


def test_schemas_are_those_of_version_4():
    """A change of a schema needs another SCHEMA_VERSION: old and new files would lie in one folder."""
    texts = {name: [f"{field.name}: {field.type}" for field in schema] for name, schema in SCHEMAS.items()}
    assert SCHEMA_VERSION == 4
    assert texts["epochs"] == EPOCHS_4
    assert texts["trials"] == TRIALS_4


EPOCHS_4 = [
    "schema_version: int32",
    "trial_id: string",
    "decoder: string",
    "k: int32",
    "batch_norm: bool",
    "warmup: int32",
    "n_z: int32",
    "seed: int64",
    "epoch: int32",
    *(
        f"{name}: double"
        for name in (
            "beta",
            "train_objective",
            "train_bound",
            "test_bound",
            "test_elbo",
            "test_reconstruction",
            "test_kl",
            "ess",
            "saturated_mean",
            "saturated_log_variance",
        )
    ),
    "active_units: int32",
    *(
        f"{name}: list<item: float>"
        for name in (
            "activity",
            "activity_test",
            "activity_pca",
            "kl_per_unit",
            "kl_per_unit_test",
            "posterior_mean",
            "posterior_variance",
            "reconstruction_per_class",
        )
    ),
    "seconds: double",
]

TRIALS_4 = [
    "schema_version: int32",
    "trial_id: string",
    "pack_id: string",
    "decoder: string",
    "k: int32",
    "batch_norm: bool",
    "warmup: int32",
    "n_z: int32",
    "seed: int64",
    "status: string",
    "epochs: int32",
    "last_epoch: int32",
    "train_bound: double",
    "test_bound: double",
    "test_elbo: double",
    "nll: double",
    "nll_samples: int32",
    "l_1: double",
    "l_5: double",
    "l_64: double",
    "nll_comparable: double",
    "test_mse: double",
    "test_cross_entropy: double",
    "saturated_pixels: double",
    "mutual_information: double",
    "marginal_kl: double",
    "ablation_low: double",
    "ablation_between: double",
    "ablation_low_elbo: double",
    "ablation_between_elbo: double",
    "bound_bin: double",
    "secondary_samples: int32",
    "activity_bin: list<item: float>",
    "activity_grey: list<item: float>",
    "active_units: int32",
    "baseline_bound: double",
    "seconds: double",
    "device: string",
]
