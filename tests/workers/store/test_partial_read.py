"""Some columns of a file: the same as from the whole of it, from few of its bytes, and damage to them is told."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.store.some_tables import FEW, some_epochs
from workers.contract.columns import EPOCHS
from workers.contract.errors import RecordError
from workers.store.memory import MemoryStore
from workers.store.parquet import decode_with_footer, encode
from workers.store.partial_read import read_columns

SCALARS = [field.name for field in EPOCHS if not pa.types.is_list(field.type)]
KEY = "epochs/a.parquet"


class Counting(MemoryStore):
    """Tells which bytes were asked for."""

    def __init__(self, raw):
        super().__init__()
        self.create(KEY, raw)
        self.asked = []

    def read_range(self, key, start, stop):
        part, size = super().read_range(key, start, stop)
        first = start if start >= 0 else size - len(part)
        self.asked.append((first, first + len(part)))
        return part, size


@pytest.fixture(scope="module")
def table():
    """Rows enough for vectors of a megabyte."""
    rng, n = np.random.default_rng(0), 800
    few = some_epochs(20)
    columns = [
        pa.array(rng.standard_normal((n, 40), np.float32).tolist(), field.type)
        if pa.types.is_list(field.type)
        else few[field.name].take(pa.array(np.arange(n) % 20))
        for field in EPOCHS
    ]
    return pa.Table.from_arrays(columns, schema=EPOCHS)


@pytest.fixture(scope="module")
def raw(table):
    return encode(table, {"kind": "epochs", "threshold": 0.1})


@FEW
@given(st.lists(st.sampled_from(EPOCHS.names), min_size=1, unique=True))
def test_columns_are_those_of_the_whole_file(table, raw, columns):
    whole, footer = decode_with_footer(raw, KEY)
    found, said = read_columns(Counting(raw), KEY, columns)
    assert set(found.column_names) == set(columns)
    assert found.equals(whole.select(found.column_names))
    assert said == footer


def test_small_files_are_one_request():
    store = Counting(encode(some_epochs(2), {"kind": "epochs"}))
    assert read_columns(store, KEY, ["epoch"])[0].num_rows == 2
    assert len(store.asked) == 1


def test_bytes_of_other_columns_are_not_read(raw):
    def read(columns):
        store = Counting(raw)
        read_columns(store, KEY, columns)
        return sum(stop - start for start, stop in store.asked) / len(raw), len(store.asked)

    share, requests = read(SCALARS)
    assert share < 0.25
    assert requests == 2
    assert read(["activity"])[0] < 0.25
    assert read(EPOCHS.names)[0] > 0.999


def test_a_footer_longer_than_what_is_read_first(table):
    store = Counting(encode(table, {"kind": "epochs", "grid": "x" * 100_000}))
    found, footer = read_columns(store, KEY, ["epoch"])
    assert found["epoch"].equals(table["epoch"])
    assert len(footer["grid"]) == 100_000


@pytest.mark.parametrize("columns", [SCALARS, ["activity"]], ids=["scalars", "a vector"])
def test_a_flipped_bit_is_told_or_changes_nothing_that_is_read(raw, columns):
    whole, footer = decode_with_footer(raw, KEY, columns)
    begin = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
    rng = np.random.default_rng(0)
    bits = [*rng.integers(0, 8 * begin, 60), *rng.integers(8 * begin, 8 * len(raw), 240)]
    told = 0
    for bit in bits:
        bad = bytearray(raw)
        bad[bit // 8] ^= 1 << (bit % 8)
        try:
            found, said = read_columns(Counting(bytes(bad)), KEY, columns)
        except RecordError as error:
            assert error.path == KEY
            told += 1
        else:
            assert found.equals(whole)
            assert said == footer
    assert told > 150


@pytest.mark.parametrize("length", [0, 1, 7, 8, 100, 40_000, -1, -9, -70_000])
def test_a_file_cut_short_is_told(raw, length):
    with pytest.raises(RecordError, match=rf"{KEY}: damaged"):
        read_columns(Counting(raw[:length]), KEY, ["epoch"])


def test_a_file_that_shrinks_while_it_is_read_is_told(raw):
    class Shrinking(Counting):
        def read_range(self, key, start, stop):
            part, size = super().read_range(key, start, stop)
            return (part if stop is None else part[:-1]), size

    with pytest.raises(RecordError, match="it ends earlier than before"):
        read_columns(Shrinking(raw), KEY, SCALARS)


def test_a_column_that_is_not_there_is_named(raw):
    with pytest.raises(RecordError, match="has no column nll"):
        read_columns(Counting(raw), KEY, ["epoch", "nll"])
