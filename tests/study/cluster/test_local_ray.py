"""A gcs_server that died ends the process; one that this process has ended itself does not."""

import subprocess
import sys
import threading

import pytest

from study.cluster import local_ray as own_ray
from tests import ROOT


class ExitedError(Exception):
    """In the place of the end of the process."""


def exit_at_once(code: int) -> None:
    raise ExitedError(code)


@pytest.fixture
def without_gcs(monkeypatch) -> None:
    monkeypatch.setattr(own_ray, "dead_processes", lambda: ["gcs_server"])
    monkeypatch.setattr(own_ray, "_kill", lambda: None)
    monkeypatch.setattr(own_ray.os, "_exit", exit_at_once)


@pytest.mark.usefixtures("without_gcs")
def test_a_gcs_server_that_died_ends_the_process(capsys):
    with pytest.raises(ExitedError):
        own_ray._end_with_gcs(threading.Event())
    assert "Ray's gcs_server died; everything stored is intact" in capsys.readouterr().err


@pytest.mark.usefixtures("without_gcs")
def test_the_end_of_ones_own_ray_does_not(capsys):
    """Ray's processes go one by one, and the watcher may look in between: a finished study ended with code 1."""
    ending = threading.Event()
    ending.set()
    own_ray._end_with_gcs(ending)
    assert capsys.readouterr().err == ""


def test_the_watcher_knows_before_a_healthy_ray_is_ended(monkeypatch):
    monkeypatch.setattr(own_ray, "dead_processes", lambda: [])
    monkeypatch.setattr(own_ray, "_is_up", lambda: True)
    ending = threading.Event()
    watcher = threading.Thread(target=own_ray._end_with_gcs, args=(ending,))
    watcher.start()
    ending.set()
    watcher.join(300)
    assert not watcher.is_alive()


ORDER = """
from ray._private.node import Node
from study.cluster import local_ray as own_ray
inner = Node.kill_all_processes
def told(self, *args, **named):
    print("told" if own_ray._ending.is_set() else "not told", flush=True)
    return inner(self, *args, **named)
Node.kill_all_processes = told
own_ray.start_ray(1)
"""


@pytest.mark.slow
def test_at_the_end_of_the_process_it_knows_before_ray_ends(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", ORDER],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split("\n")) - {""} == {"told"}
