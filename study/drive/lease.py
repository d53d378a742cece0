"""Who drives a study now, so that a second driver waits instead of doing the same work; no result depends on it."""

import json
import os
import platform
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from workers.store.keys import lease_key
from workers.store.listing import leases
from workers.store.protocol import Store

BEAT_EVERY_S = 10.0

SILENT_AFTER_S = 60.0
"""A driver on another machine counts as gone if its last heartbeat is older."""

LOOK_EVERY_S = 1.0

SETTLE_S = 0.05
"""What two drivers that start at the same moment give each other to be seen."""

_READS = 5


@dataclass(frozen=True)
class Lease:
    """What a heartbeat says of its driver."""

    run_id: str
    host: str
    machine: str
    """Tells apart what `host` may not: the boot and the space of process numbers in which `pid` means something."""
    pid: int
    process_start: str
    """When the process began, in the words of its system: a pid is given again."""
    started: float
    """Seconds since 1970 by the driver's clock; so is `beat`."""
    beat: float


@dataclass(frozen=True)
class Holder:
    """The driver that a lease names, alive or dead."""

    lease: Lease
    key: str
    number: int
    age_s: float
    """Since its last heartbeat, by the two clocks involved."""
    alive: bool


def holder(store: Store) -> Holder | None:
    """Who drives a study: the newest lease, that of a live driver before those of dead ones; None if there is none.

    On the same machine the process itself decides, at once; on another one its heartbeat, by the clock.
    """
    found = _holders(store)
    return max(found, key=lambda one: (one.alive, one.lease.beat, one.number), default=None)


@contextmanager
def hold(store: Store, run_id: str, say: Callable[[str], None]) -> Iterator[None]:
    """Be the driver of a study for the time of a `with` block; waits first while another live one is there.

    Two that start at the same moment give each other time to be seen, and the one with the smaller run_id goes on. Should
    both go on all the same (a slow network folder, clocks that differ), the work is done twice and the results are the same:
    what is stored is create-only. A heartbeat that cannot be written is said once and ends nothing.
    """
    process = _this_process(run_id)
    has_said = not _take(store, process, say)
    beating = _Heart(store, process, say, has_said)
    beating.start()
    try:
        yield
    finally:
        beating.stop()


def sentence(one: Holder) -> str:
    """Who and where, since when, and when it was last heard of."""
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.lease.started))
    return f"host {one.lease.host}, pid {one.lease.pid}, since {since}, last heartbeat {max(0, round(one.age_s))} s ago"


def _take(store: Store, process: Lease, say: Callable[[str], None]) -> bool:
    """Write the first heartbeat when no other live driver is there; False, and said, if it cannot be written."""
    has_said = False
    while True:
        others = [one for one in _holders(store) if one.lease.run_id != process.run_id]
        living = [one for one in others if one.alive]
        if not living:
            number = 1 + max((number for number, _, _ in leases(store)), default=0)
            if not _beat(store, process, number):
                say(_unwritten(store))
                return False
            time.sleep(SETTLE_S)
            living = [one for one in _holders(store) if one.alive and one.lease.run_id != process.run_id]
            if all(process.run_id < one.lease.run_id for one in living):
                for one in others:
                    _leave(store, one.lease.run_id)
                return True
            _leave(store, process.run_id)
        if not has_said:
            say(
                f"this study is being run already ({sentence(living[0])}); waiting until that run ends, then doing what is "
                "left; Ctrl-C leaves"
            )
            has_said = True
        time.sleep(LOOK_EVERY_S)


class _Heart:
    """The thread that writes heartbeats."""

    def __init__(self, store: Store, process: Lease, say: Callable[[str], None], has_said: bool) -> None:
        self._store, self._process, self._say, self._has_said = store, process, say, has_said
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        # A folder on a dead network must not keep the command from ending.
        self._thread.join(timeout=5)
        _leave(self._store, self._process.run_id)

    def _run(self) -> None:
        while not self._ended.wait(BEAT_EVERY_S):
            numbers = [(number, key) for number, run_id, key in _listed(self._store) if run_id == self._process.run_id]
            number = 1 + max((number for number, _ in numbers), default=0)
            if _beat(self._store, self._process, number):
                for _, key in numbers:
                    with suppress(OSError):
                        self._store.delete(key)
            elif not self._has_said:
                self._has_said = True
                self._say(_unwritten(self._store))


def _beat(store: Store, process: Lease, number: int) -> bool:
    content = asdict(process) | {"beat": time.time()}
    try:
        return store.create(lease_key(number, process.run_id), json.dumps(content, indent=1).encode())
    except OSError:
        return False


def _leave(store: Store, run_id: str) -> None:
    for _, whose, key in _listed(store):
        if whose == run_id:
            with suppress(OSError):
                store.delete(key)


def _listed(store: Store) -> list[tuple[int, str, str]]:
    try:
        return list(leases(store))
    except OSError:
        return []


def _unwritten(store: Store) -> str:
    return (
        f"note: {store.url}: the heartbeat that tells other drivers of this run cannot be written; the run goes on, but do "
        "not start the same study a second time"
    )


def _holders(store: Store) -> list[Holder]:
    """The newest lease of every run that left one."""
    for _ in range(_READS):
        newest = {run_id: (number, key) for number, run_id, key in _listed(store)}
        try:
            return [one for number, key in newest.values() if (one := _read(store, number, key)) is not None]
        except FileNotFoundError:
            # A heartbeat later: the next one is there already.
            continue
    return []


def _read(store: Store, number: int, key: str) -> Holder | None:
    try:
        lease = Lease(**json.loads(store.read(key)))
        age = time.time() - lease.beat
        return Holder(lease, key, number, age, _is_alive(lease, age))
    except (ValueError, TypeError):
        return None  # of another version, or damaged: spares no work, and does no harm


def _is_alive(lease: Lease, age_s: float) -> bool:
    if (lease.host, lease.machine) == (platform.node(), _machine()):
        return process_start(lease.pid) == lease.process_start
    # Not only younger: a clock that is ahead must not keep a dead driver alive.
    return abs(age_s) < SILENT_AFTER_S


def _this_process(run_id: str) -> Lease:
    now = time.time()
    pid = os.getpid()
    return Lease(run_id, platform.node(), _machine(), pid, process_start(pid) or secrets.token_hex(4), now, now)


def _machine() -> str:
    """The boot and the space of process numbers; empty where the system does not say."""
    with suppress(OSError):
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    return ""


def process_start(pid: int) -> str | None:
    """When a process of this machine began, as its system counts; None if it is gone or only waits to be buried."""
    if Path("/proc/self/stat").exists():
        try:
            # The name stands in brackets and may hold anything: state and start time are counted from behind it.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]
    done = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = done.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()
