"""Two runs of a trial: every bit, the band, and what no rounding explains."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from study.verify.gaps import BAND as PUBLISHED
from study.verify.gaps import Band, gaps, weights_gap
from tests import ROOT
from tests.workers.contract.test_columns import IN_NATS
from workers.contract.columns import COLUMNS, EPOCHS, TRIALS

BAND = Band(nats=1e-4, unit=1e-2, unit_share=1e-1)
THRESHOLD = 0.1


def epochs_table(**columns: list) -> pa.Table:
    """Two epochs of a trial with two units; whatever is not given has some value of its type."""
    values = {}
    for field in EPOCHS:
        if pa.types.is_list(field.type):
            values[field.name] = [[0.5, 2.0], [0.25, 1.0]]
        elif pa.types.is_string(field.type):
            values[field.name] = ["a", "a"]
        elif pa.types.is_boolean(field.type):
            values[field.name] = [True, True]
        elif pa.types.is_integer(field.type):
            values[field.name] = [1, 2]
        else:
            values[field.name] = [-3.0, -4.0]
    return pa.table(values | {"test_bound": [-50.0, -40.0]} | columns, schema=EPOCHS)


def only(found):
    assert len(found) == 1
    return found[0]


def test_equal_rows_have_no_gap():
    assert gaps(epochs_table(), epochs_table(), BAND, THRESHOLD) == []


def test_wall_time_and_the_place_are_no_content():
    assert gaps(epochs_table(), epochs_table(seconds=[9.0, 9.0]), BAND, THRESHOLD) == []


@pytest.mark.parametrize("name", [name for name in EPOCHS.names if name != "seconds"])
def test_a_change_in_any_other_column_is_seen(name):
    """Also by the least that the type can change; and at its epoch."""
    was = epochs_table()
    values = was[name].to_pylist()
    last = values[1]
    if isinstance(last, list):
        values[1] = [last[0], float(np.nextafter(np.float32(last[1]), np.float32(9)))]
    elif isinstance(last, bool):
        values[1] = not last
    elif isinstance(last, str):
        values[1] = "b"
    else:
        values[1] = last + 1 if isinstance(last, int) else float(np.nextafter(last, 9))
    now = epochs_table(**{name: values})
    gap = only(gaps(was, now, BAND, THRESHOLD))
    assert gap.column == name
    assert gap.epoch == 2
    floating = isinstance(last, float | list)
    assert (0 < gap.of_band < 1e-3) if floating else gap.of_band == np.inf


NUMBERS = {
    (part, field.name)
    for part, schema in (("epochs", EPOCHS), ("trials", TRIALS))
    for field in schema
    if (pa.types.is_floating(field.type) or pa.types.is_list(field.type)) and field.name != "seconds"
}


def gap_of(part, name):
    """A column that is -8 and then -8 + 2^-8, in a row with the test bound -50."""
    schema = {"epochs": EPOCHS, "trials": TRIALS}[part]
    is_list = pa.types.is_list(schema.field(name).type)
    rows = [{"test_bound": -50.0, name: [value] if is_list else value} for value in (-8.0, -8.0 + 2**-8)]
    return only(gaps(*(pa.Table.from_pylist([row], schema=schema) for row in rows), BAND, THRESHOLD))


def bands():
    """Which numbers are compared in the band of nats, found by what `gaps` gives."""
    found = {}
    for part, name in NUMBERS:
        gap = gap_of(part, name)
        scale = 8.0 if name == "test_bound" else 50.0
        in_nats = (2**-8 / (1e-4 * scale), 2**-8 / scale)
        others = (2**-8 / (1e-2 + 1e-1 * 8), 2**-8 / 8)
        assert gap.absolute == 2**-8
        is_nats = (gap.of_band, gap.relative) == pytest.approx(in_nats)
        assert is_nats or (gap.of_band, gap.relative) == pytest.approx(others)
        found[part, name] = is_nats
    return found


def test_nats_are_measured_against_the_bound_and_others_against_themselves():
    assert bands() == {(part, name): name in IN_NATS for part, name in NUMBERS}


@pytest.mark.parametrize(
    ("name", "unit"), [("nll", "share"), ("test_cross_entropy", "nats per unit"), ("ess", "nats per example")]
)
def test_a_column_with_the_wrong_unit_gets_another_band(monkeypatch, name, unit):
    """The planted fault that the test above has to see."""
    monkeypatch.setitem(COLUMNS, name, replace(COLUMNS[name], unit=unit))
    found = bands()
    wrong = {column for (_, column), is_nats in found.items() if is_nats is not (column in IN_NATS)}
    assert wrong == {name}


@pytest.mark.parametrize(("off", "is_within"), [(0.0039, True), (0.0041, False)])
def test_the_edge_of_the_band(off, is_within):
    now = epochs_table(train_bound=[-3.0, -4.0 + off])
    assert (only(gaps(epochs_table(), now, BAND, THRESHOLD)).of_band <= 1) is is_within


def test_the_worst_column_comes_first_with_its_worst_epoch():
    now = epochs_table(test_kl=[-3.0 + 1e-3, -4.0], ess=[-3.0, -4.0 + 5.0], test_elbo=[-3.1, -4.0 + 1e-3])
    found = gaps(epochs_table(), now, BAND, THRESHOLD)
    assert [(gap.column, gap.epoch) for gap in found] == [("test_elbo", 1), ("ess", 2), ("test_kl", 1)]


def test_null_and_number_have_no_distance_and_null_and_null_none():
    was = epochs_table(saturated_mean=[None, -4.0])
    assert gaps(was, was, BAND, THRESHOLD) == []
    for now in (epochs_table(), epochs_table(saturated_mean=[None, None])):
        assert only(gaps(was, now, BAND, THRESHOLD)).of_band == np.inf


def test_infinities_agree_with_themselves_alone():
    was = epochs_table(test_kl=[np.inf, -4.0])
    assert gaps(was, was, BAND, THRESHOLD) == []
    for other in (-np.inf, 1.0):
        assert only(gaps(was, epochs_table(test_kl=[other, -4.0]), BAND, THRESHOLD)).of_band == np.inf


def test_the_sign_of_zero_is_a_bit():
    gap = only(gaps(epochs_table(test_kl=[0.0, 1.0]), epochs_table(test_kl=[-0.0, 1.0]), BAND, THRESHOLD))
    assert (gap.absolute, gap.of_band) == (0, 0)


def test_other_vectors_lengths_are_no_rounding():
    now = epochs_table(activity=[[0.5, 2.0], [0.25]])
    assert only(gaps(epochs_table(), now, BAND, THRESHOLD)).of_band == np.inf
    # As many entries in all, but shared out otherwise.
    now = epochs_table(activity=[[0.5], [2.0, 0.25, 1.0]])
    assert only(gaps(epochs_table(), now, BAND, THRESHOLD)).of_band == np.inf


def test_lost_rows_are_no_rounding():
    found = gaps(epochs_table(), epochs_table().slice(0, 1), BAND, THRESHOLD)
    assert (only(found).column, only(found).of_band) == ("rows", np.inf)


@pytest.mark.parametrize(("activity", "is_within"), [(0.11, True), (0.2, False)])
def test_a_count_may_differ_by_the_units_at_the_threshold(activity, is_within):
    was = epochs_table(active_units=[2, 2], activity=[[0.5, 2.0], [0.5, activity]])
    now = epochs_table(active_units=[2, 1], activity=[[0.5, 2.0], [0.5, activity]])
    assert (only(gaps(was, now, BAND, THRESHOLD)).of_band <= 1) is is_within
    two = epochs_table(active_units=[2, 0], activity=[[0.5, 2.0], [0.5, activity]])
    assert only(gaps(was, two, BAND, THRESHOLD)).of_band == np.inf


def test_weights_are_equal_bit_by_bit():
    one = {"a": np.zeros(3, np.float32), "b": np.ones((2, 2), np.float32)}
    assert not weights_gap(one, {name: array.copy() for name, array in one.items()})
    assert weights_gap(one, {"a": one["a"]})
    assert weights_gap(one, one | {"b": one["b"].reshape(4)})
    assert weights_gap(one, one | {"a": np.array([0, 0, -0.0], np.float32)})


def test_the_page_publishes_the_band_of_the_code():
    page = (ROOT / "docs" / "verify.md").read_text()
    nats, unit, share = (f"{number:.0e}".replace("e-0", "e-") for number in vars(PUBLISHED).values())
    assert f"| {nats} of the row's \\|test_bound\\| |" in page
    assert f"| {unit}, plus {share} of the number itself |" in page
