"""A worker that wakes after another driver made its pack longer ends its own part, with the numbers of its own end."""

import dataclasses
import itertools
from functools import cache

import pytest

from tests.workers import tiny
from workers.replicas.device import describe_device
from workers.store.ends import parts_of
from workers.store.keys import epochs_key, trials_key, weights_key
from workers.store.listing import checkpoints, segments
from workers.store.memory import MemoryStore
from workers.store.parquet import decode
from workers.store.weights_file import decode_weights

SHORT, LONG = (4, 8, 10), (4, 8, 10, 11)
MEMBERS = ({"seed": 0}, {"seed": 1, "warmup": 6})


def data():
    return tiny.digits(50, 10)


def pack_to(borders):
    return tiny.pack(*MEMBERS, borders=borders)


@cache
def undisturbed():
    """What is stored if the pack is trained to its first end and then made longer."""
    store = MemoryStore()
    for borders in (SHORT, LONG):
        assert tiny.run(pack_to(borders), store, data()).status == "done"
    return tiny.content(store)


def taken_over(store, ends_first=False):
    """What the driver that takes over does: it makes the pack longer, with or without its first end."""
    for borders in (SHORT, LONG) if ends_first else (LONG,):
        assert tiny.run(pack_to(borders), store, data()).status == "done"


def sleeping_before_commit(store, number, **how):
    """The store of a worker that sleeps just before it stores its n-th border."""
    calls = itertools.count(1)

    def before(key):
        if key.startswith("epochs/") and next(calls) == number:
            taken_over(store, **how)

    return tiny.Around(store, before)


def sleeping_after_the_last_commit(store, **how):
    def report(progress):
        if progress.committed == SHORT[-1]:
            taken_over(store, **how)

    return report


@pytest.mark.parametrize("ends_first", [False, True], ids=["made longer", "ended and made longer"])
@pytest.mark.parametrize("number", [1, 3])
def test_a_worker_that_sleeps_before_a_commit_ends_at_its_own_end(number, ends_first):
    store = MemoryStore()
    asleep = sleeping_before_commit(store, number, ends_first=ends_first)
    assert tiny.run(pack_to(SHORT), asleep, data()).status == "done"
    assert tiny.content(store) == undisturbed()


@pytest.mark.parametrize("ends_first", [False, True], ids=["made longer", "ended and made longer"])
def test_a_worker_that_sleeps_before_its_end_is_measured_has_the_rows_of_its_own_end(ends_first):
    store = MemoryStore()
    report = sleeping_after_the_last_commit(store, ends_first=ends_first)
    assert tiny.run(pack_to(SHORT), store, data(), report=report).status == "done"
    assert tiny.content(store) == undisturbed()


@pytest.mark.parametrize("are_pruned", [False, True])
def test_a_worker_that_begins_late_goes_on_from_its_own_part(are_pruned):
    """Its driver slept before it began. The checkpoints of its part may have been deleted since."""
    store, trained = MemoryStore(), []
    taken_over(store)
    for _, epoch, key in list(checkpoints(store)) if are_pruned else ():
        if epoch <= SHORT[-1]:
            store.delete(key)
    report = lambda progress: trained.append(progress.epoch)  # noqa: E731
    assert tiny.run(pack_to(SHORT), store, data(), report=report).status == "done"
    assert tiny.content(store) == undisturbed()
    assert sorted(set(trained)) == (list(range(SHORT[-1] + 1)) if are_pruned else [])


def test_a_pack_that_has_ended_is_not_trained_again():
    """Not even if a longer plan has left no state of its end."""
    store, reports = MemoryStore(), []
    taken_over(store, ends_first=True)
    for _, _, key in list(checkpoints(store)):
        store.delete(key)
    assert tiny.run(pack_to(SHORT), store, data(), report=reports.append).status == "done"
    assert reports == []
    assert tiny.content(store) == undisturbed()


def test_a_worker_that_lost_to_another_machine_takes_its_state_at_the_own_end(monkeypatch):
    """Other images stand for whatever makes another machine's numbers differ."""
    theirs = dataclasses.replace(data(), train=data().train.flip(0) * 0.5)

    def before(key):
        if key == epochs_key(pack_to(SHORT).pack_id, 9, 10):
            with monkeypatch.context() as patch:
                there = {"device_name": "other"}
                patch.setattr("workers.train.loop.describe_device", lambda device: describe_device(device) | there)
                # It begins at the border before, and commits to the end of the longer pack.
                tiny.run(pack_to(LONG), store, theirs)

    store = MemoryStore()
    assert tiny.run(pack_to(SHORT), tiny.Around(store, before), data()).status == "done"
    holds_its_own_end(store)


def holds_its_own_end(store):
    """The trials file and the weights of the shorter pack are those of its own last epoch."""
    pack, rows = pack_to(SHORT), tiny.rows(store)
    assert max(epoch for _, epoch in rows) == LONG[-1]
    key = trials_key(pack.pack_id, SHORT[-1])
    for end in decode(store.read(key), key).to_pylist():
        assert end["test_bound"] == rows[end["trial_id"], SHORT[-1]]["test_bound"]
        assert end["test_bound"] != rows[end["trial_id"], LONG[-1]]["test_bound"]
        weights = weights_key(end["trial_id"], SHORT[-1])
        assert decode_weights(store.read(weights), weights)[1]["epoch"] == SHORT[-1]


def test_reading_beyond_the_own_end_is_seen(monkeypatch):
    """The control: a worker that takes whatever is newest stores other numbers under the name of its end."""
    everything = lambda store, pack, until=None: list(segments(store, pack.pack_id))  # noqa: E731
    for place in ("workers.store.ends.committed", "workers.train.commit.committed"):
        monkeypatch.setattr(place, everything)
    store = MemoryStore()
    report = sleeping_after_the_last_commit(store)
    assert tiny.run(pack_to(SHORT), store, data(), report=report).status == "done"
    assert tiny.content(store) != undisturbed()
    with pytest.raises(AssertionError):
        holds_its_own_end(store)
    late = MemoryStore()
    taken_over(late)
    assert tiny.run(pack_to(SHORT), late, data()).status == "done"
    with pytest.raises(AssertionError):
        holds_its_own_end(late)


def test_an_ancestor_counts_up_to_where_its_child_began():
    grandparent = tiny.pack({"seed": 0}, {"seed": 1}, borders=(2, 4, 9))
    parent = tiny.pack_of(grandparent.trials, (6, 8), grandparent, 4)
    child = tiny.pack_of(parent.trials[:1], (8,), parent, 6)
    assert list(parts_of((child, parent, grandparent))) == [(child, 8), (parent, 6), (grandparent, 4)]
