"""Record who drives a study, so that a second driver waits instead of doing the same work; no result depends on it.

On the same machine a driver lives as long as its process. Elsewhere (on another machine, or in another process namespace of
this one) nobody can look for the process, and clocks may differ by hours. There a driver counts as silent when the observer
has seen no new heartbeat for SILENT_AFTER_S of its own time.
"""

import json
import os
import platform
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from study.forecast.amounts import moment
from workers.contract.errors import FolderGoneError, printable
from workers.store.keys import lease_key
from workers.store.listing import leases
from workers.store.protocol import Store

BEAT_EVERY_S = 10.0

SILENT_AFTER_S = 60.0
"""A driver elsewhere counts as silent if the observer has seen no new heartbeat for so long, by its own monotonic clock."""

GLANCE_BEATS = 1.3
"""How many heartbeats long `glance` watches: one must fall into this time if the driver lives."""

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
    """The driver that a lease names."""

    lease: Lease
    key: str
    number: int
    is_here: bool
    """Whether it runs, or ran, on this machine and in this process namespace."""
    alive: bool
    """False if its process is gone, or if its heartbeat was watched and is silent; elsewhere it may live otherwise."""


class Watch:
    """Watches the heartbeats of a study; what it has seen counts for later questions to the same watch."""

    def __init__(self, store: Store, silent_after_s: float | None = None) -> None:
        """Watch from now on; a driver elsewhere is silent after `silent_after_s` (default: SILENT_AFTER_S)."""
        self._store = store
        self.silent_after_s = SILENT_AFTER_S if silent_after_s is None else silent_after_s
        self._seen: dict[str, tuple[int, float, bool]] = {}
        """Of every run: the number of its newest heartbeat, when that was first seen, and whether it was a new one."""

    def look(self) -> list[Holder]:
        """Return the drivers that left a lease, with what is known of them by now."""
        now, found = time.monotonic(), _holders(self._store)
        before, self._seen = self._seen, {}
        for one in found:
            # Any other number is new: a driver whose lease was cleared away while it slept counts from 1 again.
            number, _, _ = known = before.get(one.lease.run_id, (one.number, now, False))
            self._seen[one.lease.run_id] = known if number == one.number else (one.number, now, True)
        return [one if one.is_here else replace(one, alive=now - self._since(one) < self.silent_after_s) for one in found]

    def holder(self, say: Callable[[str], None] = lambda text: None) -> Holder | None:
        """Return who drives a study, a live driver before dead ones; None if there is no lease.

        If only drivers elsewhere may live, this says so and watches until one has a new heartbeat or all are silent.
        """
        has_said = False
        while True:
            found = self.look()
            living = [one for one in found if one.alive]
            known = [one for one in living if one.is_here or self._seen[one.lease.run_id][2]]
            if known or not living:
                return _foremost(known or found)
            if not has_said:
                who, most = sentence(living[0]), f"{self.silent_after_s:.0f} s at most"
                say(f"a driver elsewhere may be running this study ({who}); watching for a new heartbeat, {most}")
                has_said = True
            time.sleep(min(LOOK_EVERY_S, self.silent_after_s))

    def _since(self, one: Holder) -> float:
        return self._seen[one.lease.run_id][1]


def glance(store: Store, say: Callable[[str], None] = lambda text: None) -> Holder | None:
    """Return who seems to drive a study, quickly; for showing it, and not for deciding anything.

    A driver elsewhere whose heartbeat is recent by the two clocks is called alive at once. If it has just died, this is
    wrong for two minutes at most, however the clocks differ, and no file depends on it. If the heartbeat is not recent, the
    clocks may be the reason, so a little more than the time of a heartbeat is watched.
    """
    found = _holders(store)
    recent = [one for one in found if one.alive and (one.is_here or abs(time.time() - one.lease.beat) < SILENT_AFTER_S)]
    if recent or not any(one.alive for one in found):
        return _foremost(recent or found)
    return Watch(store, GLANCE_BEATS * BEAT_EVERY_S).holder(say)


@contextmanager
def hold(store: Store, run_id: str, say: Callable[[str], None]) -> Iterator[None]:
    """Be the driver of a study for the time of a `with` block, after waiting for any other driver that may live.

    A driver elsewhere is waited for until its heartbeat has been silent for SILENT_AFTER_S. Two that start at the same
    moment give each other time to be seen, and the one with the smaller run_id continues. If both continue all the same (a
    slow network folder, a driver that slept), the work is done twice with the same results, because what is stored is
    create-only. A heartbeat that cannot be written is reported once and ends nothing.

    Raises:
        FolderGoneError: the study was removed while this waited.
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
    """Return in words the host, process and start of a driver, and its last heartbeat, by the clock that is there."""
    name = f"host {printable(one.lease.host)}, pid {one.lease.pid}, since {moment(one.lease.started)}"
    if one.is_here:
        return f"{name}, last heartbeat {max(0, round(time.time() - one.lease.beat))} s ago"
    return f"{name}, last heartbeat at {moment(one.lease.beat)}, both by the clock of that host"


def silence(one: Holder, watched_s: float) -> str:
    """Return in words that a driver elsewhere has shown no new heartbeat."""
    return f"its driver elsewhere has shown no new heartbeat for {watched_s:.0f} s ({sentence(one)})"


def _foremost(found: Sequence[Holder]) -> Holder | None:
    # Times of several hosts only decide which of several drivers is named.
    return max(found, key=lambda one: (one.alive, one.lease.beat, one.number), default=None)


def _take(store: Store, process: Lease, say: Callable[[str], None]) -> bool:
    """Write the first heartbeat once no other driver may live; report and return False if it cannot be written."""
    watch, told = Watch(store), set[str]()

    def others() -> list[Holder]:
        return [one for one in watch.look() if one.lease.run_id != process.run_id]

    while True:
        found = others()
        living = [one for one in found if one.alive]
        if not living:
            number = 1 + max((number for number, _, _ in _listed(store)), default=0)
            if not _beat(store, process, number):
                say(_unwritten(store))
                return False
            time.sleep(SETTLE_S)
            living = [one for one in others() if one.alive]
            if all(process.run_id < one.lease.run_id for one in living):
                for one in found:
                    if one.lease.run_id in told and not one.is_here:
                        say(f"{silence(one, watch.silent_after_s)}; running what is left")
                    _leave(store, one.lease.run_id)
                return True
            _leave(store, process.run_id)
        if living[0].lease.run_id not in told:
            say(_wait_for(living[0], watch.silent_after_s))
            told.add(living[0].lease.run_id)
        time.sleep(LOOK_EVERY_S)


def _wait_for(one: Holder, silent_after_s: float) -> str:
    then = "then running what is left; Ctrl-C stops waiting"
    if one.is_here:
        return f"this study is already being run ({sentence(one)}); waiting until that run ends, {then}"
    return (
        f"this study is already being run, or was ({sentence(one)}); waiting until that run ends or has shown no new "
        f"heartbeat for {silent_after_s:.0f} s, {then}"
    )


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
        with suppress(FolderGoneError):  # the driver finds that too, and says it
            while not self._ended.wait(BEAT_EVERY_S):
                self._beat_once()

    def _beat_once(self) -> None:
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
    except FolderGoneError:
        raise
    except OSError:
        return False


def _leave(store: Store, run_id: str) -> None:
    with suppress(OSError):
        for _, whose, key in _listed(store):
            if whose == run_id:
                store.delete(key)


def _listed(store: Store) -> list[tuple[int, str, str]]:
    try:
        return list(leases(store))
    except FolderGoneError:
        raise
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
    # A heartbeat is short; whoever wrote more than this wrote something else.
    raw = store.read_range(key, 0, MOST_BYTES)[0]
    try:
        lease = Lease(**json.loads(raw))
        if not _is_possible(lease) or lease_key(number, lease.run_id) != key:
            return None  # or the key holds another run's id, which would become a part of another key
    except (ValueError, TypeError, RecursionError):
        return None  # of another version, or damaged: ignoring it may repeat work, but does no harm
    is_here = (lease.host, lease.machine) == (platform.node(), _machine())
    return Holder(lease, key, number, is_here, not is_here or process_start(lease.pid) == lease.process_start)


def _is_possible(lease: Lease) -> bool:
    """Return whether every value has the type and range of a heartbeat; a file can hold anything, such as a pid of 1e999."""
    texts, times = (lease.run_id, lease.host, lease.machine, lease.process_start), (lease.started, lease.beat)
    return (
        all(isinstance(text, str) for text in texts)
        and type(lease.pid) is int
        and 0 < lease.pid < 2**31
        and all(type(time) in (int, float) and 0 <= time <= LATEST for time in times)
    )


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
