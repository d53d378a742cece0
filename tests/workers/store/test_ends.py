"""The laws of ends and of rows, against plain loops over the same rows."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers import tiny
from workers.contract.columns import EPOCHS
from workers.store.ends import ends_among, is_over, last_epochs, newest_rows, reached
from workers.store.keys import epochs_key
from workers.store.memory import MemoryStore
from workers.store.parquet import encode
from workers.store.placement import repeated_rows, stored_and_due

ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), max_size=30)
"""(trial, epoch) of rows."""


def ends(*rows):
    columns = ("trial_id", "pack_id", "status", "epochs", "last_epoch")
    return pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows])


def test_the_longest_row_of_a_trial_says_how_it_ended():
    rows = ends(
        ("a", "p", "completed", 9, 9),
        ("a", "p", "completed", 5, 5),
        ("b", "p", "diverged", 5, 3),
        ("c", "p", "failed", 5, 2),
        ("d", "p", "failed", 5, 2),
        ("d", "q", "completed", 5, 5),
        ("e", "p", "failed", 5, -1),
    )
    # c was tried again in another pack and has not ended there; e was not.
    found = ends_among(rows, {"a": "p", "b": "p", "c": "q", "d": "q", "e": "p"})
    assert {row["trial_id"]: (row["pack_id"], row["status"], row["epochs"]) for row in found.to_pylist()} == {
        "a": ("p", "completed", 9),
        "b": ("p", "diverged", 5),
        "d": ("q", "completed", 5),
        "e": ("p", "failed", 5),
    }
    assert len(found) == 4
    assert last_epochs(rows) == {"a": 9, "b": 3, "c": 2, "d": 5, "e": -1}


def test_the_order_of_files_makes_no_difference():
    """A failure at the very epochs at which the second try completed: once in the one order, once in the other."""
    rows = [("d", "p", "failed", 5, 2), ("d", "q", "completed", 5, 5)]
    for order in (rows, rows[::-1]):
        assert ends_among(ends(*order), {"d": "q"})["status"].to_pylist() == ["completed"]


@pytest.mark.parametrize(
    ("status", "epochs", "goal", "over"),
    [("completed", 5, 5, True), ("completed", 5, 9, False), ("diverged", 5, 9, True), ("failed", 5, 9, True)],
)
def test_what_completed_may_be_made_longer(status, epochs, goal, over):
    assert bool(is_over(status, epochs, goal)) is over


@given(ROWS)
def test_a_row_is_repeated_if_it_was_there_before(rows):
    trials, epochs = np.array(rows, np.int32).reshape(-1, 2).T
    assert repeated_rows(trials, epochs).tolist() == [row in rows[:place] for place, row in enumerate(rows)]


@given(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 6))), st.lists(st.integers(-1, 8), min_size=4, max_size=4))
def test_every_epoch_up_to_the_newest_row_or_the_end_is_due(rows, last):
    trials, epochs = np.array(sorted(rows), np.int32).reshape(-1, 2).T
    stored, due = stored_and_due(trials, epochs, np.array(last, np.int32))
    for trial in range(4):
        own = {epoch for one, epoch in rows if one == trial}
        assert stored[trial] == len(own)
        wanted = {epoch for epoch in range(9) if epoch <= last[trial] or any(epoch <= there for there in own)}
        assert due[trial] == len(wanted)
        assert (stored[trial] < due[trial]) == bool(wanted - own)


def test_a_trial_that_ended_before_its_first_epoch_lacks_nothing():
    nothing = np.zeros(0, np.int32)
    stored, due = stored_and_due(nothing, nothing, np.array([-1]))
    assert (stored.tolist(), due.tolist()) == ([0], [0])


def test_the_newest_rows_of_a_pack_are_its_own_before_those_of_the_pack_it_continues():
    store = MemoryStore()
    parent = tiny.pack_of(tuple(tiny.trial(seed=seed) for seed in (0, 1)), (1,))
    child = tiny.pack_of(parent.trials[:1], (1, 2), parent, 1)
    first, second = (trial.trial_id for trial in parent.trials)
    for pack, segment, rows in (
        (parent, (0, 1), [(first, 0, 0.5), (second, 0, 1.5), (first, 1, 2.5), (second, 1, 3.5)]),
        (child, (2, 2), [(first, 2, 4.5)]),
    ):
        columns = [
            {**dict.fromkeys(EPOCHS.names), "trial_id": trial_id, "epoch": epoch, "test_bound": bound}
            for trial_id, epoch, bound in rows
        ]
        table = pa.Table.from_pylist(columns, schema=EPOCHS)
        store.create(epochs_key(pack.pack_id, *segment), encode(table, {"kind": "epochs", "pack_id": pack.pack_id}))
    assert newest_rows(store, (child, parent), ["test_bound"]) == {
        first: {"trial_id": first, "epoch": 2, "test_bound": 4.5},
        second: {"trial_id": second, "epoch": 1, "test_bound": 3.5},
    }
    assert newest_rows(store, (parent,)) == {one: {"trial_id": one, "epoch": 1} for one in (first, second)}
    assert reached(store) == {}
