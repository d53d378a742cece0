"""Damage, crashes and races: what is stored in the end is what an undisturbed run stores."""

import dataclasses
import itertools

import pytest

from tests.workers import tiny
from tests.workers.train.undisturbed import BORDERS, CELLS, damage_newest, epochs_trained, finished, flip, undisturbed
from workers.contract.errors import ConflictError, RecordError
from workers.contract.version import SAME_NUMBERS
from workers.replicas.device import describe_device
from workers.store.folder import FolderStore
from workers.store.keys import checkpoint_key, epochs_key
from workers.store.memory import MemoryStore

DAMAGE = {
    "flipped": flip,
    "flipped_header": lambda raw: bytes([raw[0] ^ 1]) + raw[1:],
    "truncated": lambda raw: raw[:-7],
    "empty": lambda raw: b"",
    "deleted": None,
}


@pytest.mark.parametrize("how", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_leads_to_the_border_before(how):
    pack, store = tiny.pack(*CELLS["plain"], borders=BORDERS), MemoryStore()
    tiny.run(pack, store, should_stop=tiny.stop_after(2))
    damage_newest(store, how)
    assert epochs_trained(pack, store) == [2, 3, 4]
    assert tiny.content(store) == tiny.content(undisturbed(pack))


def test_without_any_checkpoint_the_pack_begins_anew():
    pack, store = tiny.pack(*CELLS["plain"], borders=BORDERS), MemoryStore()
    tiny.run(pack, store, should_stop=tiny.stop_after(2))
    damage_newest(store, flip, n=2)
    assert epochs_trained(pack, store) == [0, 1, 2, 3, 4]
    assert tiny.content(store) == tiny.content(undisturbed(pack))


def test_a_checkpoint_damaged_at_the_end_is_only_missed_by_a_longer_study():
    pack, longer = (tiny.pack({}, borders=borders) for borders in ((1, 2), (1, 2, 3)))
    store = finished(pack)
    damage_newest(store, flip)
    assert epochs_trained(longer, store) == [2, 3]
    assert tiny.content(store).items() >= tiny.content(undisturbed(longer)).items()


def test_a_checkpoint_without_its_rows_is_ignored():
    pack = tiny.pack({}, borders=BORDERS)
    store, other = MemoryStore(), undisturbed(tiny.pack({"seed": 1}, borders=BORDERS))
    tiny.run(pack, store, should_stop=tiny.stop_after(1))
    for epoch, raw in ((2, b"half a checkp"), (4, other.read(other.list("checkpoints")[-1]))):
        store.create(checkpoint_key(pack.pack_id, epoch, "f" * 16), raw)
    assert epochs_trained(pack, store) == [2, 3, 4]
    assert tiny.content(store) == tiny.content(undisturbed(pack))


class CrashError(Exception):
    pass


def test_a_crash_before_any_write_loses_nothing():
    pack, data = tiny.pack({"warmup": 2}, borders=(1, 2)), tiny.digits(50, 10)
    whole = finished(pack, data)
    writes = len(tiny.everything(whole))
    assert writes == 2 + 2 + 1 + 1
    for n in range(writes):
        store, counter = MemoryStore(), itertools.count()

        def crash(key, counter=counter, n=n):
            if next(counter) == n:
                raise CrashError(key)

        with pytest.raises(CrashError):
            tiny.run(pack, tiny.Around(store, before=crash), data)
        stored = tiny.content(store)
        assert stored.items() <= tiny.content(whole).items()
        tiny.run(pack, store, data)
        assert tiny.content(store) == tiny.content(whole), f"crash before write {n}"


def test_a_full_disk_ends_with_an_oserror_and_can_go_on(tmp_path):
    pack = tiny.pack({}, borders=(1, 2))
    store = FolderStore(tmp_path)

    def full(key):
        # Of the second border; the name of an attempt may hold these digits too.
        if "-000002-" in key:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        tiny.run(pack, tiny.Around(store, before=full))
    assert epochs_trained(pack, store) == [2]
    assert tiny.content(store) == tiny.content(undisturbed(pack))


def test_two_workers_of_one_pack_store_it_once():
    pack = tiny.pack(*CELLS["plain"], borders=BORDERS)
    store = MemoryStore()
    first = tiny.overtaken(store, lambda: tiny.run(pack, store))
    assert tiny.run(pack, first).status == "done"
    assert tiny.content(store) == tiny.content(undisturbed(pack))


def winner_on(store, pack, data, borders=1):
    """Another worker's commits: other data stand for whatever made its numbers differ."""
    return lambda: tiny.run(pack, store, data, should_stop=tiny.stop_after(borders))


def other_data():
    """Other images under the fingerprint of the usual ones."""
    data = tiny.digits()
    return dataclasses.replace(data, train=data.train.flip(0) * 0.5)


def test_other_numbers_from_the_same_machine_are_a_conflict():
    pack = tiny.pack({}, borders=BORDERS)
    store = MemoryStore()
    with pytest.raises(ConflictError, match="--out") as conflict:
        tiny.run(pack, tiny.overtaken(store, winner_on(store, pack, other_data())))
    key = epochs_key(pack.pack_id, 0, 1)
    assert conflict.value.key == key
    assert key in str(conflict.value)
    # What stood there stands.
    alone = MemoryStore()
    winner_on(alone, pack, other_data())()
    assert tiny.content(store) == tiny.content(alone)


@pytest.mark.parametrize("name", SAME_NUMBERS)
def test_other_numbers_are_no_conflict_where_the_provenance_may_explain_them(name, monkeypatch):
    pack = tiny.pack({}, borders=BORDERS)
    store = MemoryStore()
    theirs = winner_on(store, pack, other_data())

    def winner():
        with monkeypatch.context() as patch:
            patch.setattr("workers.train.loop.describe_device", lambda device: describe_device(device) | {name: "other"})
            return theirs()

    assert tiny.run(pack, tiny.overtaken(store, winner)).status == "done"


@pytest.fixture
def elsewhere(monkeypatch):
    """Run something as if on another machine."""

    def call(function):
        with monkeypatch.context() as patch:
            patch.setattr(
                "workers.train.loop.describe_device", lambda device: describe_device(device) | {"device_name": "other"}
            )
            return function()

    return call


def test_who_loses_to_another_machine_goes_on_from_its_state(elsewhere):
    pack = tiny.pack(*CELLS["plain"], borders=BORDERS)
    expected, store = MemoryStore(), MemoryStore()
    elsewhere(winner_on(expected, pack, other_data()))
    tiny.run(pack, expected)
    loser = tiny.overtaken(store, lambda: elsewhere(winner_on(store, pack, other_data())))
    assert tiny.run(pack, loser).status == "done"
    assert tiny.content(store) == tiny.content(expected)
    assert tiny.rows(store).keys() == {(trial.trial_id, epoch) for trial in pack.trials for epoch in range(5)}


def test_a_lost_checkpoint_of_another_machine_wedges_nothing(elsewhere):
    """Its rows stand and cannot be computed again here bit for bit; the pack must still come to an end."""
    pack = tiny.pack({}, borders=BORDERS)
    store = MemoryStore()
    elsewhere(winner_on(store, pack, other_data(), borders=2))
    damage_newest(store, None)
    calls = itertools.count()

    def patience():
        assert next(calls) < 20, "the same border is computed again and again"
        return False

    assert tiny.run(pack, store, should_stop=patience).status == "done"
    assert tiny.rows(store).keys() == {(trial.trial_id, epoch) for trial in pack.trials for epoch in range(5)}


def test_equal_numbers_from_another_machine_are_no_conflict(elsewhere):
    pack = tiny.pack({}, borders=BORDERS)
    store = MemoryStore()
    loser = tiny.overtaken(store, lambda: elsewhere(winner_on(store, pack, tiny.digits())))
    assert tiny.run(pack, loser).status == "done"
    assert tiny.content(store) == tiny.content(undisturbed(pack))


@pytest.mark.parametrize("lost", [(0, 1), (2, 2)])
def test_lost_rows_before_the_newest_border_are_damage(lost):
    """What lies before the newest state is never computed again, so the rows would be missing for ever."""
    pack, store = tiny.pack({}, borders=BORDERS), MemoryStore()
    tiny.run(pack, store)
    for key in (*store.list("trials"), epochs_key(pack.pack_id, *lost)):
        store.delete(key)
    before = tiny.everything(store)
    with pytest.raises(RecordError, match="is missing, although pack") as caught:
        tiny.run(pack, store)
    assert caught.value.path == epochs_key(pack.pack_id, *lost)
    assert tiny.everything(store) == before


def test_lost_rows_of_the_newest_border_are_computed_again():
    pack, store = tiny.pack({}, borders=BORDERS), MemoryStore()
    tiny.run(pack, store)
    for key in (*store.list("trials"), epochs_key(pack.pack_id, 3, 4)):
        store.delete(key)
    assert tiny.run(pack, store).status == "done"
    assert tiny.content(store) == tiny.content(undisturbed(pack))
