"""The lease: one driver at a time where that can be seen, a dead one never in the way, and nothing left behind."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from study.drive import lease
from study.drive.lease import Holder, glance, hold, process_start
from tests import ROOT
from tests.study.drive.planted_leases import keys, plant
from tests.waiting import wait_until
from workers.store.folder import FolderStore
from workers.store.keys import LEASE_FOLDER, lease_key
from workers.store.memory import MemoryStore

HOLD = """
import signal, sys
from study.drive.lease import hold
# A shell starts what it runs in the background with Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
from workers.store.open import FolderStore
with hold(FolderStore(sys.argv[1]), sys.argv[2], lambda text: print(text, flush=True)):
    print("holding", flush=True)
    sys.stdin.readline()
print("left", flush=True)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(lease, "LOOK_EVERY_S", 0.02)


@pytest.fixture
def store(tmp_path) -> FolderStore:
    return FolderStore(tmp_path / "s")


def driver(store: FolderStore, run_id: str) -> subprocess.Popen[str]:
    """Holds the lease until it is told to leave, or killed."""
    words = [sys.executable, "-c", HOLD, str(store.root), run_id]
    return subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def tell_to_leave(process: subprocess.Popen[str]) -> None:
    process.stdin.write("leave\n")
    process.stdin.flush()


def line(process: subprocess.Popen[str]) -> str:
    return process.stdout.readline().strip()


def ended(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(timeout=300)
    process.stdin.close()
    process.stdout.close()


def test_nobody_holds_an_empty_study(store):
    assert glance(store) is None


@pytest.mark.parametrize("kind", [FolderStore, MemoryStore])
def test_whoever_holds_is_seen_alive_and_leaves_nothing(tmp_path, kind):
    store = kind(tmp_path) if kind is FolderStore else kind()
    said: list[str] = []
    with hold(store, "aa", said.append):
        found = glance(store)
        assert isinstance(found, Holder)
        assert (found.alive, found.lease.run_id, found.lease.pid) == (True, "aa", os.getpid())
        assert 0 <= time.time() - found.lease.beat < 30
        assert found.is_here
        assert len(keys(store)) == 1
    assert keys(store) == []
    assert glance(store) is None
    assert said == []


def test_an_error_inside_leaves_nothing_either(store):
    with pytest.raises(KeyboardInterrupt), hold(store, "aa", print):
        raise KeyboardInterrupt
    assert keys(store) == []


def test_heartbeats_move_on_and_keep_one_key(store, monkeypatch):
    monkeypatch.setattr(lease, "BEAT_EVERY_S", 0.02)
    with hold(store, "aa", print):
        first = glance(store)

        def fifth_beat() -> bool:
            assert 1 <= len(keys(store)) <= 2
            return (now := glance(store)) is not None and now.number >= 5

        wait_until(fifth_beat, "the heart does not beat")
        wait_until(lambda: glance(store), "the lease is gone")
        now = glance(store)
        assert now.alive
        assert now.lease.beat > first.lease.beat
        assert now.lease.started == first.lease.started
    assert keys(store) == []


def test_readers_of_the_study_see_no_parquet_there(store):
    with hold(store, "aa", print):
        assert [key for key in keys(store) if key.endswith(".parquet")] == []
        assert sorted(path.name for path in store.root.iterdir()) == [LEASE_FOLDER]


# ---- On the same machine the process decides ----


def test_a_process_that_is_there_has_a_start_and_a_dead_or_unburied_one_none():
    assert process_start(os.getpid()) == process_start(os.getpid()) is not None
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process_start(child.pid) is None, "it has ended, but nobody has asked how"
    child.wait()
    assert process_start(child.pid) is None


def test_a_killed_driver_is_in_nobodys_way(store, monkeypatch):
    """kill -9, then the same command: at once, whatever the heartbeat says; and the dead one's key goes."""
    # A heartbeat is never too old here: what ends the wait is that the process has gone.
    monkeypatch.setattr(lease, "SILENT_AFTER_S", math.inf)
    other = driver(store, "aa")
    assert line(other) == "holding"
    assert glance(store).alive
    other.send_signal(signal.SIGKILL)
    try:
        wait_until(lambda: not glance(store).alive, "a killed process still counts as alive")
        said: list[str] = []
        with hold(store, "bb", said.append):
            assert [key.split("-")[1] for key in keys(store)] == ["bb.json"]
        assert said == [], "it did not wait"
    finally:
        ended(other)


def test_a_number_given_again_to_another_process_is_not_the_driver(store):
    with hold(store, "aa", print):
        content = json.loads(store.read(keys(store)[0]))
    store.create(lease_key(1, "aa"), json.dumps(content).encode())
    assert glance(store).alive, "negative control: this very process"
    store.delete(lease_key(1, "aa"))
    store.create(lease_key(2, "aa"), json.dumps(content | {"process_start": "1"}).encode())
    assert not glance(store).alive


def test_a_second_driver_says_so_waits_and_then_goes_on(store):
    first = driver(store, "aa")
    assert line(first) == "holding"
    second = driver(store, "bb")
    try:
        said = line(second)
        assert said.startswith("this study is already being run (host ")
        assert f"pid {first.pid}, since " in said
        assert said.endswith("waiting until that run ends, then running what is left; Ctrl-C stops waiting")
        assert first.poll() is None
        tell_to_leave(first)
        assert line(second) == "holding"
        assert line(first) == "left"
        tell_to_leave(second)
        assert line(second) == "left"
        assert second.wait(timeout=300) == 0
    finally:
        ended(first)
        ended(second)
    assert keys(store) == []


def test_ctrl_c_leaves_the_queue(store):
    with hold(store, "aa", print):
        second = driver(store, "bb")
        try:
            assert "already being run" in line(second)
            second.send_signal(signal.SIGINT)
            assert second.wait(timeout=300) != 0
        finally:
            ended(second)
        assert [key.split("-")[1] for key in keys(store)] == ["aa.json"]


# ---- Two at the same moment, disks that are full, files that say nothing ----


class Meeting(FolderStore):
    """Both drivers have looked before one writes, and have written before one looks again; the one to go on writes last."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.together, self.late, self.written = threading.Barrier(2), {"aa", "bb"}, threading.Event()

    def create(self, key: str, raw: bytes) -> bool:
        run_id = json.loads(raw)["run_id"]
        if run_id not in self.late:
            return super().create(key, raw)
        self.late.remove(run_id)
        self.together.wait(timeout=300)
        if run_id == "aa":
            assert self.written.wait(timeout=300), "the other driver does not write"
        is_new = super().create(key, raw)
        self.written.set()
        self.together.wait(timeout=300)
        return is_new


def test_of_two_that_start_at_the_same_moment_one_waits(tmp_path):
    """Both see an empty folder and write; then both look again."""
    store = Meeting(tmp_path)
    inside: list[str] = []
    overlaps: list[list[str]] = []

    def run(run_id: str) -> None:
        with hold(store, run_id, lambda text: None):
            inside.append(run_id)
            time.sleep(0.2)
            overlaps.append(list(inside))
            inside.remove(run_id)

    threads = [threading.Thread(target=run, args=(run_id,)) for run_id in ("aa", "bb")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    assert overlaps == [["aa"], ["bb"]]
    assert keys(store) == []


class FullDisk(FolderStore):
    """Takes the first heartbeats only."""

    room = 1

    def create(self, key: str, raw: bytes) -> bool:
        if self.room <= 0:
            raise OSError(28, "No space left on device")
        self.room -= 1
        return super().create(key, raw)


@pytest.mark.parametrize("room", [0, 1])
def test_a_full_disk_is_said_once_and_ends_nothing(tmp_path, monkeypatch, room):
    monkeypatch.setattr(lease, "BEAT_EVERY_S", 0.01)
    store = FullDisk(tmp_path)
    store.room = room
    said: list[str] = []
    with hold(store, "aa", said.append):
        wait_until(lambda: said, "nothing is said of a full disk")
        time.sleep(0.1)  # ten more heartbeats that cannot be written either
    assert [text.partition("cannot write the heartbeat")[1] for text in said] == ["cannot write the heartbeat"]
    assert keys(store) == []


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"run_id": "aa"}', b"null"])
def test_a_lease_that_says_nothing_holds_nobody_up(store, raw):
    store.create(lease_key(1, "aa"), raw)
    assert glance(store) is None
    with hold(store, "bb", print):
        assert glance(store).lease.run_id == "bb"


def test_a_heartbeat_that_goes_while_it_is_read_is_looked_for_again(store):
    class Racing(FolderStore):
        reads = 0

        def read_range(self, key: str, start: int, stop: int | None) -> tuple[bytes, int]:
            self.reads += 1
            if self.reads == 1:
                self.delete(key)
                plant(self, 2, "aa")
            return super().read_range(key, start, stop)

    racing = Racing(store.root)
    plant(racing)
    assert glance(racing).number == 2
    assert racing.reads == 2


def test_importing_the_lease_needs_nothing_heavy():
    program = "import study.drive.lease, sys; print(sorted({'torch', 'ray', 'pyarrow', 'pandas'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout == "[]\n"


def test_the_folder_of_leases_is_not_made_by_looking(tmp_path):
    assert glance(FolderStore(tmp_path / "none")) is None
    assert not Path(tmp_path / "none").exists()
