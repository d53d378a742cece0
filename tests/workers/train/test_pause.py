"""A pack that is asked to stop between two borders stores what it has, trains no epoch twice, and ends with the same bits."""

from itertools import count

import pytest

from tests.workers import tiny
from tests.workers.train.test_crashes_and_races import other_data
from tests.workers.train.undisturbed import CELLS, cells, flip, undisturbed
from workers.contract.version import SAME_NUMBERS
from workers.measure.at_the_end import measure_final
from workers.replicas.device import describe_device
from workers.store.ends import prune_checkpoints
from workers.store.keys import epochs_key, trials_key
from workers.store.listing import checkpoints, pauses, segments
from workers.store.memory import MemoryStore
from workers.store.parquet import read_footer
from workers.train.learner import Learner

BORDERS = (4, 9)
LAST = BORDERS[-1]


def after(looks):
    """A `should_pause` that is true once it has been asked so often."""
    asked = count(1)
    return lambda: next(asked) >= looks


def pack_of(members, borders=BORDERS):
    return tiny.pack(*members, borders=borders)


@pytest.fixture
def trained(monkeypatch):
    """The epochs that were trained, in order."""
    seen = []
    inner = Learner.train_epoch

    def train_epoch(self, epoch):
        seen.append(epoch)
        return inner(self, epoch)

    monkeypatch.setattr(Learner, "train_epoch", train_epoch)
    return seen


def pause_at(pack, store, epoch, begun=-1, **options):
    """Let a worker that continues after epoch `begun` train up to this epoch, which is no border, and stop there."""
    looks = sum(1 for each in range(begun + 1, epoch + 1) if each not in pack.borders)
    assert tiny.run(pack, store, should_pause=after(looks), **options).status == "stopped"


@cells
@pytest.mark.parametrize("epoch", [0, 2, 3, 5, 8])
def test_a_pause_after_any_epoch_loses_nothing(members, epoch, trained):
    pack, store = pack_of(members), MemoryStore()
    expected = tiny.content(undisturbed(pack))
    trained.clear()
    pause_at(pack, store, epoch)
    assert [last for _, last, _ in pauses(store)] == [epoch]
    assert all(segment.last < epoch for segment in segments(store)), "nothing of the pause is visible to readers"
    assert tiny.run(pack, store).status == "done"
    assert trained == list(range(LAST + 1)), "no epoch is trained twice"
    assert tiny.content(store) == expected


def test_a_pause_after_every_epoch_loses_nothing(trained):
    pack, store = pack_of(CELLS["batch_norm_k5"]), MemoryStore()
    expected = tiny.content(undisturbed(pack))
    trained.clear()
    while len(trained) < LAST:
        assert tiny.run(pack, store, should_pause=after(1)).status == "stopped"
    assert tiny.run(pack, store).status == "done"
    assert trained == list(range(LAST + 1))
    assert tiny.content(store) == expected


def test_a_pause_before_and_after_a_member_diverges_loses_nothing(monkeypatch):
    healthy = Learner.train_epoch

    def train_epoch(self, epoch):
        objective, bound = healthy(self, epoch)
        if epoch == 6:
            bound = bound.clone()
            bound[1] = float("nan")
        return objective, bound

    monkeypatch.setattr(Learner, "train_epoch", train_epoch)
    pack, alone = pack_of(CELLS["plain"]), MemoryStore()
    tiny.run(pack, alone)
    for epoch in (5, 6, 7):
        store = MemoryStore()
        pause_at(pack, store, epoch)
        outcome = tiny.run(pack, store)
        assert (outcome.status, list(outcome.diverged.values())) == ("done", [6])
        assert tiny.content(store) == tiny.content(alone)


@pytest.mark.parametrize("name", [*SAME_NUMBERS, "commit", "version"])
def test_a_pause_from_elsewhere_is_not_continued(name, trained, monkeypatch):
    """One rows file has one provenance, so the epochs since the border are trained again."""
    pack, store = pack_of(CELLS["plain"]), MemoryStore()
    expected = tiny.content(undisturbed(pack))
    with monkeypatch.context() as patch:
        patch.setattr("workers.train.loop.describe_device", lambda device: describe_device(device) | {name: "other"})
        pause_at(pack, store, 2, data=other_data())
    trained.clear()
    assert tiny.run(pack, store).status == "done"
    assert trained == list(range(LAST + 1))
    assert tiny.content(store) == expected


@pytest.mark.parametrize("what", ["rows", "checkpoint"])
@pytest.mark.parametrize("how", [flip, lambda raw: raw[:-9], lambda raw: b"", None], ids=["flipped", "cut", "empty", "lost"])
def test_a_damaged_pause_is_not_continued(what, how, trained):
    pack, store = pack_of(CELLS["plain"]), MemoryStore()
    expected = tiny.content(undisturbed(pack))
    pause_at(pack, store, 6)
    ((_, _, key),) = pauses(store)
    if what == "checkpoint":
        key = read_footer(store.read(key), key)["checkpoint"]
    raw = store.read(key)
    store.delete(key)
    if how is not None:
        store.create(key, how(raw))
    trained.clear()
    assert tiny.run(pack, store).status == "done"
    assert tiny.content(store) == expected
    # A Parquet file has some bytes that nobody believes.
    assert trained == list(range(BORDERS[0] + 1, LAST + 1)) or (what, how) == ("rows", flip)


def test_of_two_pauses_the_newest_is_continued(trained):
    pack, store = pack_of(CELLS["plain"]), MemoryStore()
    pause_at(pack, store, 6)
    pause_at(pack, store, 8, begun=6)
    trained.clear()
    assert tiny.run(pack, store).status == "done"
    assert trained == [9]


def test_a_worker_that_wakes_up_pauses_behind_another_and_harms_nothing(trained):
    """The other has stored the border and the end in the meantime."""
    pack, store = pack_of(CELLS["plain"]), MemoryStore()
    expected = tiny.content(undisturbed(pack))
    looks = count(1)

    def other_was_faster():
        if next(looks) == 2:
            assert tiny.run(pack, store).status == "done"
            return True
        return False

    assert tiny.run(pack, store, should_pause=other_was_faster).status == "stopped"
    assert tiny.content(store) == expected
    trained.clear()
    assert tiny.run(pack, store).status == "done"
    assert trained == []
    longer = pack_of(CELLS["plain"], (*BORDERS, 12))
    assert tiny.run(longer, store).status == "done"
    assert trained == [10, 11, 12]


def test_a_pack_is_made_longer_while_it_pauses(trained):
    short, longer, store = pack_of(CELLS["plain"]), pack_of(CELLS["plain"], (*BORDERS, 12)), MemoryStore()
    expected = MemoryStore()
    assert tiny.run(short, expected).status == tiny.run(longer, expected).status == "done"
    trained.clear()
    pause_at(short, store, 7)
    assert tiny.run(short, store).status == tiny.run(longer, store).status == "done"
    assert trained == list(range(13))
    assert tiny.content(store) == tiny.content(expected)


def test_a_child_pauses_too(trained):
    parent, store = pack_of(CELLS["plain"]), MemoryStore()
    tiny.run(parent, store, should_stop=tiny.stop_after(1))
    child = tiny.pack_of(parent.trials[:1], (6, 9), parent, BORDERS[0])
    trained.clear()
    assert tiny.run(child, store, ancestors=(parent,), should_pause=after(1)).status == "stopped"
    assert trained == [5]
    assert tiny.run(child, store, ancestors=(parent,)).status == "done"
    assert trained == [5, 6, 7, 8, 9]


def test_measuring_the_end_is_stopped_within_a_part_of_it(monkeypatch):
    pack, store = pack_of(CELLS["plain"]), MemoryStore()
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return measure_final(*arguments)

    monkeypatch.setattr("workers.train.loop.measure_final", counted)
    assert tiny.run(pack, store, should_pause=lambda: bool(calls)).status == "stopped"
    assert not store.list("trials")
    assert store.list("epochs")[-1] == epochs_key(pack.pack_id, BORDERS[0] + 1, LAST)
    calls.clear()
    assert tiny.run(pack, store).status == "done"
    assert store.list("trials") == [trials_key(pack.pack_id, LAST)]
    assert tiny.content(store) == tiny.content(undisturbed(pack))


def test_a_pause_that_forgets_its_rows_would_be_seen(monkeypatch):
    """The negative control: continued from the state alone, the border lacks what was measured before."""
    pack, store = pack_of(CELLS["plain"]), MemoryStore()
    pause_at(pack, store, 2)
    inner = tiny.train.__globals__["paused"]

    def forgetful(*arguments):
        found = inner(*arguments)
        return found and (found[0], found[1].slice(0, 0))

    monkeypatch.setattr("workers.train.loop.paused", forgetful)
    assert tiny.run(pack, store).status == "done"
    assert tiny.content(store) != tiny.content(undisturbed(pack))


def test_what_was_set_aside_is_deleted_with_the_border():
    pack, store = pack_of(CELLS["plain"]), MemoryStore()
    pause_at(pack, store, 2)
    pause_at(pack, store, 6, begun=2)
    prune_checkpoints(store, pack.pack_id, 1)
    assert [last for _, last, _ in pauses(store)] == [6]
    tiny.run(pack, store)
    prune_checkpoints(store, pack.pack_id, 1)
    assert not list(pauses(store))
    assert len(list(checkpoints(store))) == 1
