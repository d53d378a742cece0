"""When a run that was asked to stop is over: once nothing runs any more that ran when the first pack stopped."""

import pytest

from study.drive.executors.stopping import Stopping


@pytest.fixture
def three():
    stopping = Stopping()
    for pack_id in "abc":
        stopping.started(pack_id)
    return stopping


def test_a_run_that_nobody_stops_is_never_over(three):
    for pack_id in "abc":
        three.ended(pack_id, "done")
        assert not three.is_over()


def test_it_is_over_with_the_last_of_those_that_ran(three):
    three.ended("a", "stopped")
    assert not three.is_over()
    three.started("d")  # Tune fills the place; the worker hears that it is not to run
    three.ended("b", "stopped")
    assert not three.is_over()
    three.ended("c")  # it failed
    assert three.is_over(), "d is not waited for: it has trained nothing"


def test_a_pack_that_alone_may_not_go_on_stops_nobody_else(three):
    """The driver forbids a pack that has died too often to start again."""
    three.died("a")
    three.ended("a", "stopped")
    three.ended("b", "done")
    three.ended("c", "done")
    assert not three.is_over()
