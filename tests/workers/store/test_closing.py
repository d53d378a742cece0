"""Closed packs: nobody commits behind the fence, and what a closed pack's trials had goes on in smaller packs."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.plan.packing import halves
from tests.workers import tiny
from workers.contract.errors import PackClosedError
from workers.store.closing import closing_reasons, end_as_failed, fence, last_epoch, mark_closed
from workers.store.ends import committed, prune_checkpoints
from workers.store.keys import epochs_key, trials_key
from workers.store.listing import segments
from workers.store.memory import MemoryStore
from workers.store.parquet import decode, read_footer

BORDERS = (1, 2, 4)
MEMBERS = ({"seed": 0}, {"seed": 1, "warmup": 2}, {"seed": 2})


def begun(borders_stored: int, *members: dict) -> tuple[MemoryStore, tiny.Pack]:
    pack, store = tiny.pack(*(members or MEMBERS), borders=BORDERS), MemoryStore()
    if borders_stored:
        tiny.run(pack, store, should_stop=tiny.stop_after(borders_stored))
    return store, pack


@pytest.mark.parametrize("stored", [0, 1, 2])
def test_a_worker_cut_off_commits_nothing_behind_the_fence(stored):
    store, pack = begun(stored)
    before = tiny.rows(store)

    def fence_it():
        mark_closed(store, pack.pack_id, "error", "ValueError: x")
        fence(store, pack)

    # It has passed every check, trained to its border, and is about to commit.
    with pytest.raises(PackClosedError):
        tiny.run(pack, tiny.overtaken(store, fence_it))
    assert tiny.rows(store) == before
    assert last_epoch(store, pack) == (-1, 1, 2)[stored]
    assert store.list("trials") == []


def test_without_the_fence_the_same_worker_does_commit():
    store, pack = begun(1)
    # The mark alone is a flag that a worker may have read too early.
    assert tiny.run(pack, tiny.overtaken(store, lambda: mark_closed(store, pack.pack_id, "error", "x"))).status == "done"
    assert last_epoch(store, pack) == 4


def test_a_worker_that_was_faster_moves_the_fence_behind_its_border():
    store, pack = begun(1)
    fenced = tiny.Around(store, lambda key: None)
    tried = []

    def create(key, raw):
        if not tried:
            tried.append(key)
            tiny.run(pack, store, should_stop=tiny.stop_after(1))
        return store.create(key, raw)

    fenced.create = create
    fence(fenced, pack)
    assert tried == [epochs_key(pack.pack_id, 2, 2)]
    assert last_epoch(store, pack) == 2
    assert [s.key for s in segments(store)][-1] == epochs_key(pack.pack_id, 3, 4)
    assert decode(store.read(epochs_key(pack.pack_id, 3, 4)), "fence").num_rows == 0


def test_a_pack_that_fails_at_its_end_is_fenced_at_its_end():
    store, pack = begun(2)

    def fence_it():
        fence(store, pack)

    assert tiny.run(pack, store, should_stop=tiny.stop_after(1)).status == "done"
    whole = tiny.everything(store)
    fence(store, pack)
    assert tiny.everything(store) == whole, "what is done stays"

    store, pack = begun(2)
    trials = tiny.Around(store, lambda key: fence_it() if key.startswith("trials/") and not store.list("trials") else None)
    with pytest.raises(PackClosedError):
        tiny.run(pack, trials)
    assert decode(store.read(trials_key(pack.pack_id, 4)), "fence").num_rows == 0


def test_fencing_twice_changes_nothing():
    store, pack = begun(1)
    fence(store, pack)
    before = tiny.everything(store)
    fence(store, pack)
    assert tiny.everything(store) == before


def test_a_marked_pack_is_not_begun():
    store, pack = begun(0)
    mark_closed(store, pack.pack_id, "memory", "out of memory")
    mark_closed(store, pack.pack_id, "error", "another")
    assert closing_reasons(store) == {pack.pack_id: "out of memory"}, "the first reason stays"
    with pytest.raises(PackClosedError):
        tiny.run(pack, store)
    assert not list(segments(store))


def test_the_state_behind_a_fence_is_kept_by_pruning():
    store, pack = begun(2)
    fence(store, pack)
    prune_checkpoints(store, pack.pack_id, keep=1)
    (newest,) = store.list("checkpoints")
    assert tiny.checkpoint_of(store, newest).epoch == 2


@tiny.LAWS
@given(stored=st.integers(0, 2))
def test_split_packs_have_the_numbers_of_the_whole(stored):
    """Alone, in halves and together agree up to rounding."""
    whole = tiny.pack(*MEMBERS, borders=BORDERS)
    expected = MemoryStore()
    tiny.run(whole, expected)
    store, pack = begun(stored)
    mark_closed(store, pack.pack_id, "error", "x")
    fence(store, pack)
    last = last_epoch(store, pack)
    for members in halves(pack.trials):
        child = tiny.pack_of(tuple(members), tuple(b for b in BORDERS if b > last), pack, max(last, 0))
        mark_closed(store, child.pack_id, "error", "x")
        fence(store, child)
        # Split again before it stored anything: the grandchild goes on from the grandparent.
        for one in members:
            grandchild = tiny.pack_of((one,), tuple(b for b in BORDERS if b > last), child, max(last, 0))
            assert tiny.run(grandchild, store, ancestors=(child, pack)).status == "done"
    rows = tiny.rows(store)
    assert rows.keys() == tiny.rows(expected).keys()
    for key, row in tiny.rows(expected).items():
        tiny.assert_close(rows[key], row, rtol=1e-5, atol=1e-6)
    assert len(tiny.ended(store)) == len(MEMBERS)


def test_a_trial_that_failed_keeps_its_rows_and_says_why():
    store, pack = begun(2, {"seed": 5})
    mark_closed(store, pack.pack_id, "error", "ValueError: planted")
    fence(store, pack)
    end_as_failed(store, pack, (), "ValueError: planted", {"commit": "c"})
    (row,) = tiny.ended(store).values()
    assert (row["status"], row["last_epoch"], row["epochs"], row["test_bound"]) == ("failed", 2, 4, None)
    assert read_footer(store.read(trials_key(pack.pack_id, 4)), "trials")["reason"] == "ValueError: planted"
    assert len(tiny.rows(store)) == 3
    assert len(committed(store, pack)) == 2


def test_a_trial_without_rows_can_fail_too():
    store, pack = begun(0, {"seed": 5})
    fence(store, pack)
    end_as_failed(store, pack, (), "x", {})
    (row,) = tiny.ended(store).values()
    assert (row["status"], row["last_epoch"]) == ("failed", -1)


def test_marks_are_text():
    store, pack = begun(0)
    mark_closed(store, pack.pack_id, "memory", "out of memory")
    (key,) = store.list("checkpoints")
    assert json.loads(store.read(key)) == {"kind": "memory", "reason": "out of memory"}
