"""A driver on another machine, or in another process namespace: new heartbeats decide whether it lives, and no clock does."""

import itertools
import json
import os
import threading
import time
from types import SimpleNamespace

import pytest

from study.drive import lease
from study.drive.lease import Watch, glance, hold, sentence
from study.forecast.amounts import moment
from tests.study.drive.planted_leases import keys, plant
from workers.store.folder import FolderStore
from workers.store.protocol import Store

YEAR = 3e7


@pytest.fixture
def store(tmp_path) -> FolderStore:
    return FolderStore(tmp_path / "s")


class Clock:
    """The observer's own time: it passes while it sleeps, and at every sleep something may happen."""

    def __init__(self, wall: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.wall, self.at = 1000.0, wall, {}
        names = {"monotonic": lambda: self.now, "time": lambda: self.wall, "sleep": self.sleep}
        monkeypatch.setattr(lease, "time", SimpleNamespace(**names))

    def sleep(self, seconds: float) -> None:
        before, self.now = self.now, self.now + seconds
        self.wall += seconds
        for due in [due for due in self.at if before < 1000 + due <= self.now]:
            self.at.pop(due)()

    @property
    def passed(self) -> float:
        return self.now - 1000


@pytest.fixture
def clock(monkeypatch) -> Clock:
    return Clock(time.time(), monkeypatch)


BY_ITS_CLOCK = [0, -55, 55, -65, 65, -YEAR, YEAR]
"""Seconds by which the clock over there is ahead."""


@pytest.mark.parametrize("ahead", BY_ITS_CLOCK)
def test_a_new_heartbeat_shows_life_whatever_the_clocks_say(store, clock, ahead):
    plant(store, 7, beat=clock.wall + ahead)
    clock.at[9.5] = lambda: plant(store, 8, beat=clock.wall + ahead)
    said: list[str] = []
    found = Watch(store).holder(said.append)
    assert (found.alive, found.number) == (True, 8)
    assert clock.passed == 10
    assert len(said) == 1
    assert said[0].endswith("watching for a new heartbeat, 60 s at most")


@pytest.mark.parametrize("ahead", BY_ITS_CLOCK)
def test_without_one_it_is_silent_after_a_minute_of_the_observers_time(store, clock, ahead):
    plant(store, 7, beat=clock.wall + ahead)
    found = Watch(store).holder()
    assert (found.alive, found.lease.run_id) == (False, "aa")
    assert clock.passed == lease.SILENT_AFTER_S == 60


def test_a_clock_that_is_set_while_one_watches_changes_nothing(store, clock):
    plant(store)
    clock.at[5.0] = lambda: setattr(clock, "wall", clock.wall + YEAR)
    clock.at[20.0] = lambda: setattr(clock, "wall", clock.wall - 2 * YEAR)
    assert not Watch(store).holder().alive
    assert clock.passed == 60


def test_a_driver_whose_lease_was_cleared_away_counts_from_one_again(store, clock):
    """It slept, another one took over and deleted its lease, and it woke."""
    old = plant(store, 900)

    def wakes() -> None:
        store.delete(old)
        plant(store, 1)

    clock.at[30.0] = wakes
    assert Watch(store).holder().alive
    assert clock.passed == 30


def test_an_observer_that_sleeps_itself_takes_nobody_for_silent_who_went_on(store, clock, monkeypatch):
    plant(store, 1)
    sleep, calls = clock.sleep, itertools.count()

    def sleep_long(seconds: float) -> None:
        if next(calls) == 3:
            plant(store, 12)
            seconds = 120.0
        sleep(seconds)

    monkeypatch.setattr(lease.time, "sleep", sleep_long)
    assert Watch(store).holder().alive


def test_one_that_ends_while_it_is_watched_is_nobody(store, clock):
    key = plant(store)
    clock.at[5.0] = lambda: store.delete(key)
    assert Watch(store).holder() is None
    assert clock.passed == 5


def test_what_a_watch_has_seen_counts_for_its_next_question(store, clock):
    plant(store)
    watch = Watch(store)
    assert not watch.holder().alive
    assert not watch.holder().alive
    assert clock.passed == 60, "it is not watched for another minute"
    plant(store, 2)
    assert watch.holder().alive, "but a heartbeat since then counts at once"
    assert clock.passed == 60


def test_the_same_host_name_on_another_boot_is_another_machine(store, clock):
    with hold(store, "aa", print):
        content = json.loads(store.read(keys(store)[0]))
    plant(store, **(content | {"machine": "another boot", "run_id": "bb"}))
    assert not Watch(store).holder().is_here
    assert clock.passed >= 60


# ---- A glance, for showing it ----


@pytest.mark.parametrize(("ahead", "passed"), [(0, 0), (55, 0), (-55, 0), (65, 13), (-65, 13), (YEAR, 13), (-YEAR, 13)])
def test_a_glance_believes_a_recent_heartbeat_and_otherwise_watches_for_one(store, clock, ahead, passed):
    plant(store, beat=clock.wall + ahead)
    assert glance(store).alive is (passed == 0)
    assert clock.passed == passed
    clock.at[clock.passed + 10] = lambda: plant(store, 2, beat=clock.wall + ahead)
    assert glance(store).alive, "a living driver is seen, whatever its clock says"


def test_the_living_comes_before_the_dead_and_the_newer_dead_before_the_older(store, clock):
    plant(store, 9, "dd", beat=clock.wall - 500)
    plant(store, 7, "ee", beat=clock.wall - 900)
    assert glance(store).lease.run_id == "dd"
    plant(store, 1, "aa", beat=clock.wall)
    assert glance(store).lease.run_id == "aa"


def test_its_times_are_named_as_those_of_its_own_clock(store):
    plant(store, beat=0.0)
    assert sentence(glance_now(store)).endswith(f"last heartbeat at {moment(0.0)}, both by the clock of that host")
    with hold(FolderStore(store.root / "other"), "bb", print):
        assert "s ago" in sentence(glance(FolderStore(store.root / "other")))


def glance_now(store: Store) -> lease.Holder:
    (one,) = Watch(store).look()
    return one


# ---- A driver that starts ----


def test_waiting_ends_when_the_heartbeat_elsewhere_stops(store, clock):
    plant(store, beat=clock.wall - YEAR)
    said: list[str] = []
    with hold(store, "bb", said.append):
        assert [key.split("-")[1] for key in keys(store)] == ["bb.json"], "the silent one's key is gone"
    assert 60 <= clock.passed < 62
    assert len(said) == 2
    assert said[0].startswith("this study is already being run, or was (host elsewhere, pid 1, since ")
    assert "waiting until that run ends or has shown no new heartbeat for 60 s, then running what is left" in said[0]
    assert said[1].startswith("its driver elsewhere has shown no new heartbeat for 60 s (host elsewhere, pid 1, since ")


def test_a_driver_elsewhere_with_an_old_clock_is_waited_for_as_long_as_it_beats(store, clock):
    """By the clocks it has been dead for a year; before, another driver would have begun at once."""
    for number in range(1, 20):
        clock.at[10.0 * number] = lambda number=number: plant(store, number, beat=clock.wall - YEAR)
    plant(store, 0, beat=clock.wall - YEAR)
    with hold(store, "bb", lambda text: None):
        assert 190 + 60 <= clock.passed < 190 + 62


def test_a_driver_whose_study_is_removed_while_it_waits_ends(store, clock, tmp_path):
    plant(store)
    clock.at[5.0] = lambda: os.rename(store.root, tmp_path / "elsewhere")
    with pytest.raises(lease.FolderGoneError), hold(store, "bb", lambda text: None):
        pass
    assert not store.root.exists()


def test_a_heart_does_not_bring_a_removed_study_back(store, monkeypatch, tmp_path):
    monkeypatch.setattr(lease, "BEAT_EVERY_S", 0.01)
    said: list[str] = []
    with hold(store, "aa", said.append):
        os.rename(store.root, tmp_path / "elsewhere")
        heart = next(thread for thread in threading.enumerate() if thread.name == "lease")
        heart.join(timeout=60)
        assert not heart.is_alive()
    assert not store.root.exists()
    assert said == []
