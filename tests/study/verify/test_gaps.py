"""Two runs of a trial: every bit, the band, and what no rounding explains."""

import numpy as np
import pyarrow as pa
import pytest

from study.verify.gaps import BAND as PUBLISHED
from study.verify.gaps import NATS, Band, gaps, weights_gap
from tests import ROOT
from workers.contract.columns import EPOCHS, TRIALS

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


@pytest.mark.parametrize(
    "name", [field.name for field in TRIALS if pa.types.is_floating(field.type) and field.name != "seconds"]
)
def test_bounds_are_measured_against_the_bound_and_others_against_themselves(name):
    rows = {field.name: None for field in TRIALS} | {"test_bound": -50.0, name: -8.0}
    was = pa.Table.from_pylist([rows], schema=TRIALS)
    now = pa.Table.from_pylist([rows | {name: -8.0 + 0.004}], schema=TRIALS)
    scale = 8.0 if name == "test_bound" else 50.0
    gap = only(gaps(was, now, BAND, THRESHOLD))
    expected = 0.004 / (1e-4 * scale) if name in NATS else 0.004 / (1e-2 + 1e-1 * 8)
    assert gap.of_band == pytest.approx(expected)
    assert gap.absolute == pytest.approx(0.004)
    assert gap.relative == pytest.approx(0.004 / (scale if name in NATS else 8))


def test_every_name_of_a_bound_is_a_column():
    assert set(NATS) <= set(EPOCHS.names) | set(TRIALS.names)


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
    assert f"| {unit}, and {share} of the number itself |" in page
