"""What the driver makes of processes that die: counted between two borders, and ended when they die again and again."""

import pytest

from study.drive.driver import _Watch
from study.drive.progress import Display
from study.plan.packing import make_pack, pack_seconds
from tests.study.small_study import DIGITS, trials_from
from workers.contract.settings import RunSettings
from workers.store.keys import stop_key
from workers.store.memory import MemoryStore
from workers.store.protocol import exists

REASON = "ray.exceptions.ActorDiedError: the actor died unexpectedly\nmore"


@pytest.fixture
def pack():
    return make_pack(trials_from("factors: {seed: [0, 1]}"), RunSettings(), "cpu", DIGITS)


@pytest.fixture
def watch(pack):
    display = Display({pack.pack_id: pack_seconds(pack, DIGITS, "cpu")}, {pack.pack_id: pack}, 0)
    return _Watch(MemoryStore(), display, run_id="ab", max_failures=2)


def asked_to_stop(watch, pack) -> bool:
    return exists(watch.store, stop_key("ab", pack.pack_id))


def test_a_process_that_dies_once_too_often_between_borders_is_stopped(watch, pack):
    for _ in range(2):
        watch.died(pack.pack_id, REASON)
    assert not watch.failures
    assert not asked_to_stop(watch, pack)
    watch.died(pack.pack_id, REASON)
    assert watch.failures[pack.pack_id].kind == "death"
    assert "died (ray.exceptions.ActorDiedError: the actor died unexpectedly)" in watch.failures[pack.pack_id].sentence
    assert asked_to_stop(watch, pack)


def test_a_border_begins_the_count_anew(watch, pack):
    for border in range(1, 10):
        watch.died(pack.pack_id, REASON)
        watch.died(pack.pack_id, REASON)
        watch.epoch(pack.pack_id, border, border, {})
    assert not watch.failures
    assert not asked_to_stop(watch, pack)


def test_a_machine_that_goes_away_counts_as_nothing(watch, pack):
    for _ in range(20):
        watch.lost_machine(pack.pack_id)
    assert not watch.failures
    assert not asked_to_stop(watch, pack)


def test_what_was_stopped_stays_failed(watch, pack):
    for _ in range(3):
        watch.died(pack.pack_id, REASON)
    watch.ended(pack.pack_id, "stopped")
    assert pack.pack_id in watch.failures
