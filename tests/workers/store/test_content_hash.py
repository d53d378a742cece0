"""The hash of a file's content: of values, not of their storage."""

import hashlib
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.store.some_tables import FEW, VALUES, rows, schemas, some_epochs, table_of
from workers.contract.columns import EPOCHS, NOT_CONTENT, TRIALS
from workers.store.parquet import column_sha256, content_sha256


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
