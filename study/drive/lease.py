"""Record who drives a study, so that a second driver waits instead of doing the same work; no result depends on it."""

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

from study.forecast.amounts import moment
from workers.contract.errors import printable
from workers.store.keys import lease_key
from workers.store.listing import leases
from workers.store.protocol import Store

BEAT_EVERY_S = 10.0

SILENT_AFTER_S = 60.0
"""A driver on another machine counts as gone if its last heartbeat is older than this."""

MOST_BYTES = 10_000
"""Most bytes of a heartbeat that are read."""

LATEST = 253402300799.0
"""The last second of the year 9999, in seconds since 1970; no heartbeat is later."""

LOOK_EVERY_S = 1.0

SETTLE_S = 0.05
"""Time that two drivers that start at the same moment give each other to be seen."""

_READS = 5


@dataclass(frozen=True)
class Lease:
    """The content of a heartbeat."""

    run_id: str
    host: str
    machine: str
    """The boot and the process namespace in which `pid` is valid; several machines may have the same `host`."""
    pid: int
    process_start: str
    """When the process began, as its system writes it; a pid alone can be reused."""
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
    """Seconds since its last heartbeat, by the two clocks involved."""
    alive: bool


def holder(store: Store) -> Holder | None:
    """Return who drives a study: the newest lease, a live driver's before those of dead ones; None if there is none.

    On the same machine a driver is alive while its process exists; on another machine, while its heartbeat is recent.
    """
    found = _holders(store)
    return max(found, key=lambda one: (one.alive, one.lease.beat, one.number), default=None)


@contextmanager
def hold(store: Store, run_id: str, say: Callable[[str], None]) -> Iterator[None]:
    """Be the driver of a study for the time of a `with` block, after waiting for any other live driver to end.

    Two that start at the same moment give each other time to be seen, and the one with the smaller run_id continues. If both
    continue all the same (a slow network folder, clocks that differ), the work is done twice with the same results, because
    what is stored is create-only. A heartbeat that cannot be written is reported once and ends nothing.
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
    """Return in words the host, process and start of a driver, and the age of its last heartbeat."""
    since, age_s = moment(one.lease.started), max(0, round(one.age_s))
    return f"host {printable(one.lease.host)}, pid {one.lease.pid}, since {since}, last heartbeat {age_s} s ago"


def _take(store: Store, process: Lease, say: Callable[[str], None]) -> bool:
    """Write the first heartbeat once no other live driver is there; report and return False if it cannot be written."""
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
                f"this study is already being run ({sentence(living[0])}); waiting until that run ends, then running what "
                "is left; Ctrl-C stops waiting"
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
        f"note: {store.url}: cannot write the heartbeat that tells other drivers about this run; the run continues, but do "
        "not start the same study a second time"
    )


def _holders(store: Store) -> list[Holder]:
    """The newest lease of every run that left one."""
    for _ in range(_READS):
        newest = {run_id: (number, key) for number, run_id, key in _listed(store)}
        try:
            return [one for number, key in newest.values() if (one := _read(store, number, key)) is not None]
        except FileNotFoundError:
            # Its driver has replaced it with the next heartbeat.
            continue
    return []


def _read(store: Store, number: int, key: str) -> Holder | None:
    try:
        # A heartbeat is short; whoever wrote more than this wrote something else.
        lease = Lease(**json.loads(store.read_range(key, 0, MOST_BYTES)[0]))
        if not _is_possible(lease) or lease_key(number, lease.run_id) != key:
            return None  # or the key holds another run's id, which would become a part of another key
        age = time.time() - lease.beat
        return Holder(lease, key, number, age, _is_alive(lease, age))
    except (ValueError, TypeError, RecursionError):
        return None  # of another version, or damaged: ignoring it may repeat work, but does no harm


def _is_possible(lease: Lease) -> bool:
    """Return whether every value has the type and range of a heartbeat; a file can hold anything, such as a pid of 1e999."""
    texts, times = (lease.run_id, lease.host, lease.machine, lease.process_start), (lease.started, lease.beat)
    return (
        all(isinstance(text, str) for text in texts)
        and type(lease.pid) is int
        and 0 < lease.pid < 2**31
        and all(type(time) in (int, float) and 0 <= time <= LATEST for time in times)
    )


def _is_alive(lease: Lease, age_s: float) -> bool:
    if (lease.host, lease.machine) == (platform.node(), _machine()):
        return process_start(lease.pid) == lease.process_start
    # The absolute age: a clock that is ahead must not keep a dead driver alive.
    return abs(age_s) < SILENT_AFTER_S


def _this_process(run_id: str) -> Lease:
    now = time.time()
    pid = os.getpid()
    return Lease(run_id, platform.node(), _machine(), pid, process_start(pid) or secrets.token_hex(4), now, now)


def _machine() -> str:
    """Return the boot and the process namespace; empty where the system does not give them."""
    with suppress(OSError):
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    return ""


def process_start(pid: int) -> str | None:
    """Return when a process of this machine began, as its system writes it; None if it is gone or a zombie."""
    if Path("/proc/self/stat").exists():
        try:
            # The name is in brackets and may contain anything, so the fields are counted from its closing bracket.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]
    done = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = done.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()
