"""Every executor of the registry keeps the laws, and one that breaks the protocol does not."""

import os
import sys
from pathlib import Path

import pytest

from study.cluster import local_ray
from study.drive.executors import EXECUTORS, executor_named
from study.drive.executors.inline import Inline
from tests.study.drive.executors import broken, laws

IN_THIS_PROCESS = {"inline"}
"""Executors without worker processes: quick, and nothing but the command itself can be killed."""

ON_LINUX = pytest.mark.skipif(
    not Path("/proc/self/maps").exists(), reason="finds processes that train in /proc, which only Linux has"
)
LAWS = [*laws.IN_ONE_PROCESS, laws.interrupted, pytest.param(laws.killed, marks=ON_LINUX)]


def cases(names):
    return [pytest.param(name, marks=[] if name in IN_THIS_PROCESS else [pytest.mark.slow]) for name in names]


@pytest.fixture(autouse=True, scope="module")
def leave_no_ray_behind():
    """Ray stays up from law to law, as from round to round of a command."""
    environment = dict(os.environ)
    yield
    if "ray" in sys.modules:
        local_ray._ending.set()
        sys.modules["ray"].shutdown()
    os.environ.clear()
    os.environ.update(environment)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", cases(EXECUTORS))
def test_an_executor_keeps(name, law, tmp_path):
    law(executor_named(name), tmp_path)


@ON_LINUX
@pytest.mark.parametrize("name", cases(sorted(set(EXECUTORS) - IN_THIS_PROCESS)))
def test_an_executor_outlives_the_processes_that_train(name, tmp_path):
    laws.died(executor_named(name), tmp_path)
    with pytest.raises(AssertionError, match=r"assert \[\] == \['|epochs do not fall|only with a new border"):
        laws.died(broken.Tampered(executor_named(name), broken.SwallowsDeaths), tmp_path / "silent")


@pytest.mark.parametrize("law", laws.IN_ONE_PROCESS, ids=lambda law: law.__name__)
def test_passing_reports_on_as_they_are_breaks_nothing(law, tmp_path):
    law(broken.Tampered(Inline()), tmp_path)


@pytest.mark.parametrize(
    ("how", "law", "words"),
    [
        (broken.ForgetsEnded, laws.done, "each pack ends once, .* did 0 times"),
        (broken.EndsTwice, laws.done, "each pack ends once, .* did 2 times"),
        (broken.GoesOnBehindTheEnd, laws.done, "nothing is reported of a pack that has ended"),
        (broken.BordersTooEarly, laws.done, "the border 2 is not stored, only -1 is"),
        (broken.BordersAboveTheEpoch, laws.done, "the border 2 lies above the epoch 1"),
        (broken.BordersKeptBack, laws.done, "every border is reported|only with a new border"),
        (broken.EpochsTwice, laws.done, "an epoch is reported again only with a new border"),
        (broken.EpochsBackwards, laws.done, "epochs do not fall|lies above the epoch"),
        (broken.FromAnotherThread, laws.done, "all calls come from the thread that called run"),
        (broken.SwallowsFailures, laws.failed, "each pack ends once, .* did 0 times"),
        (broken.CallsFailuresDone, laws.failed, "failed"),
        (broken.SwallowsRetries, laws.retried, "done"),
        (broken.CallsAllDone, laws.stopped, "every border is reported"),
        (broken.CallsAllDone, laws.closed, "closed"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_one_that_breaks_the_protocol_is_caught(how, law, words, tmp_path):
    with pytest.raises(AssertionError, match=words):
        law(broken.Tampered(Inline(), how), tmp_path)


def test_one_that_gives_up_at_the_first_failure_is_caught(tmp_path):
    with pytest.raises(AssertionError, match=r"each pack ends once, .* did 0 times"):
        laws.failed(broken.GivesUp(Inline()), tmp_path)
