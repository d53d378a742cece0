"""Tables of any values in the stored schemas, and one of plain epochs."""

import hypothesis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from tests.workers import tiny
from workers.contract.columns import EPOCHS, PLAN, TRIALS

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


def with_metadata(raw, metadata, keep=True):
    """The same table with other entries beside it."""
    table = pq.read_table(pa.BufferReader(raw))
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({**(table.schema.metadata if keep else {}), **metadata}), sink)
    return sink.getvalue().to_pybytes()
