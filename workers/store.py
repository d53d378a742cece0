"""Where results lie: the only code that builds a path, and create-only writes that are whole or not at all."""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from obstore.exceptions import AlreadyExistsError
from obstore.store import MemoryStore as _ObjectMemory


class StoreError(ValueError):
    """A results folder cannot be used; the text says which, why, and what to do."""


class Store(Protocol):
    """Keys to bytes. A key once created is never replaced; a reader sees all of its bytes or no key."""

    url: str

    def create(self, key: str, raw: bytes) -> bool:
        """Store bytes durably under a new key; False, and nothing changed, if the key exists."""
        ...

    def read(self, key: str) -> bytes:
        """The bytes of a key. Raises FileNotFoundError: no such key."""
        ...

    def list(self, folder: str) -> list[str]:
        """All keys directly in a folder, sorted; empty if there are none."""
        ...

    def delete(self, key: str) -> None:
        """Remove a key; no error if it is gone. For the driver alone, and never for epochs, trials or plan."""
        ...


class FolderStore:
    """A folder on a disk that survives a crash: write aside, fsync, link under the name, fsync the folder."""

    def __init__(self, root: str | Path) -> None:
        """Nothing is created before the first write."""
        self.root = Path(root)
        self.url = str(self.root)

    def create(self, key: str, raw: bytes) -> bool:
        """See Store.create. Raises OSError: the disk is full or not writable; nothing is left half written."""
        target = self.root / key
        _make_folder(target.parent)
        # Readers of Parquet folders ignore names that begin with a dot.
        aside = target.parent / f".{target.name}.{secrets.token_hex(8)}"
        try:
            with open(aside, "xb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(aside, target)
            except FileExistsError:
                return False
        finally:
            with suppress(FileNotFoundError):
                os.unlink(aside)
        _fsync_folder(target.parent)
        return True

    def read(self, key: str) -> bytes:
        """See Store.read."""
        return (self.root / key).read_bytes()

    def list(self, folder: str) -> list[str]:
        """See Store.list."""
        try:
            names = os.listdir(self.root / folder)
        except FileNotFoundError:
            return []
        return sorted(f"{folder}/{name}" for name in names if not name.startswith("."))

    def delete(self, key: str) -> None:
        """See Store.delete."""
        (self.root / key).unlink(missing_ok=True)


class MemoryStore:
    """A store in this process's memory, for tests and notebooks."""

    def __init__(self) -> None:
        """Empty."""
        self._objects = _ObjectMemory()
        self.url = "memory://"

    def create(self, key: str, raw: bytes) -> bool:
        """See Store.create."""
        try:
            self._objects.put(key, raw, mode="create")
        except AlreadyExistsError:
            return False
        return True

    def read(self, key: str) -> bytes:
        """See Store.read."""
        return bytes(self._objects.get(key).bytes())

    def list(self, folder: str) -> list[str]:
        """See Store.list."""
        found = self._objects.list_with_delimiter(f"{folder}/")["objects"]
        return sorted(str(item["path"]) for item in found)

    def delete(self, key: str) -> None:
        """See Store.delete."""
        with suppress(FileNotFoundError):
            self._objects.delete(key)


def exists(store: Store, key: str) -> bool:
    """Whether a key is there."""
    try:
        store.read(key)
    except FileNotFoundError:
        return False
    return True


def open_store(url: str) -> Store:
    """The store of a study's results: a folder today.

    Raises:
        StoreError: the url names something that is no folder.
    """
    if "://" in url:
        raise StoreError(f"run.out: got {url}; allowed is a folder; object stores are not supported yet")
    for folder in (Path(url), *Path(url).parents):
        if folder.exists() and not folder.is_dir():
            where = "is a file" if folder == Path(url) else f"cannot be made, as {folder} is a file"
            raise StoreError(f"run.out: {url} {where}; name a folder")
    return FolderStore(url)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        # Else the first commit of a study could be lost with the folder it lies in.
        _fsync_folder(folder.parent)


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --- paths: <out>/<study>/ and below -----------------------------------------------------------------------------------

PLAN_FOLDER, EPOCHS_FOLDER, TRIALS_FOLDER = "plan", "epochs", "trials"
WEIGHTS_FOLDER, CHECKPOINTS_FOLDER = "weights", "checkpoints"
LEASE_FOLDER, VERIFY_FOLDER = "lease", "verify"
FIGURES_FOLDER, REPORT = "figures", "report.html"

FOLDERS = (
    PLAN_FOLDER,
    EPOCHS_FOLDER,
    TRIALS_FOLDER,
    WEIGHTS_FOLDER,
    CHECKPOINTS_FOLDER,
    LEASE_FOLDER,
    VERIFY_FOLDER,
    FIGURES_FOLDER,
)
"""Everything that anybody writes below a study."""


class Segment(NamedTuple):
    """The epochs of one rows file, first and last included."""

    pack_id: str
    first: int
    last: int
    key: str


def study_url(out: str, study: str) -> str:
    """Where the results of a study lie."""
    return f"{out.rstrip('/')}/{study}"


def plan_key(number: int) -> str:
    """The key of the n-th entry of the plan log, from 1."""
    return f"{PLAN_FOLDER}/{number:06d}.parquet"


def epochs_key(pack_id: str, first: int, last: int) -> str:
    """The key of the rows of a pack from one border to the next."""
    return f"{EPOCHS_FOLDER}/{pack_id}-{first:06d}-{last:06d}.parquet"


def trials_key(pack_id: str, epochs: int) -> str:
    """The key of the row a trial that ends a pack."""
    return f"{TRIALS_FOLDER}/{pack_id}-{epochs:06d}.parquet"


def weights_key(trial_id: str, epochs: int) -> str:
    """The key of a trained model."""
    return f"{WEIGHTS_FOLDER}/{trial_id}-{epochs:06d}.safetensors"


def checkpoint_key(pack_id: str, epoch: int, attempt: str) -> str:
    """The key of a pack's state at a border; unique to the attempt, so that nobody waits for another's."""
    return f"{CHECKPOINTS_FOLDER}/{pack_id}-{epoch:06d}-{attempt}.safetensors"


def stop_key(run_id: str, pack_id: str | None = None) -> str:
    """The key whose presence asks the workers of one run, or that of one pack, to stop at their next border."""
    return f"{CHECKPOINTS_FOLDER}/stop-{run_id}" + (f"-{pack_id}" if pack_id else "")


def closed_key(pack_id: str) -> str:
    """The key whose presence says that nobody may go on with a pack."""
    return f"{CHECKPOINTS_FOLDER}/closed-{pack_id}"


def lease_key(number: int, run_id: str) -> str:
    """The key of the n-th heartbeat by which the driver of one run says that it is there."""
    return f"{LEASE_FOLDER}/{number:06d}-{run_id}.json"


def verify_url(url: str, stamp: str) -> str:
    """Where trials of a study that were run again lie; laid out like a study without a plan."""
    return f"{url}/{VERIFY_FOLDER}/{stamp}"


_CLOSED = re.compile(rf"{CHECKPOINTS_FOLDER}/closed-([0-9a-f]{{16}})")
_SEGMENT = re.compile(rf"{EPOCHS_FOLDER}/([0-9a-f]{{16}})-(\d{{6,}})-(\d{{6,}})\.parquet")
_ENDED = re.compile(rf"{TRIALS_FOLDER}/([0-9a-f]{{16}})-(\d{{6,}})\.parquet")
_CHECKPOINT = re.compile(rf"{CHECKPOINTS_FOLDER}/([0-9a-f]{{16}})-(\d{{6,}})-[0-9a-f]+\.safetensors")
_WEIGHTS = re.compile(rf"{WEIGHTS_FOLDER}/([0-9a-f]{{16}})-(\d{{6,}})\.safetensors")
_LEASE = re.compile(rf"{LEASE_FOLDER}/(\d{{6,}})-([0-9a-f]+)\.json")


def segments(store: Store) -> Iterator[Segment]:
    """Every committed rows file, sorted by pack and epoch."""
    for key in store.list(EPOCHS_FOLDER):
        if match := _SEGMENT.fullmatch(key):
            yield Segment(match[1], int(match[2]), int(match[3]), key)


def ended_packs(store: Store) -> set[tuple[str, int]]:
    """(pack_id, epochs) of every pack that is done."""
    return {(match[1], int(match[2])) for key in store.list(TRIALS_FOLDER) if (match := _ENDED.fullmatch(key))}


def closed_packs(store: Store) -> list[str]:
    """pack_id of every pack that is closed or about to be."""
    return [match[1] for key in store.list(CHECKPOINTS_FOLDER) if (match := _CLOSED.fullmatch(key))]


def checkpoints(store: Store) -> Iterator[tuple[str, int, str]]:
    """(pack_id, epoch, key) of every checkpoint, committed or not."""
    for key in store.list(CHECKPOINTS_FOLDER):
        if match := _CHECKPOINT.fullmatch(key):
            yield match[1], int(match[2]), key


def trained_models(store: Store) -> Iterator[tuple[str, int, str]]:
    """(trial_id, epochs, key) of every trained model that is stored."""
    for key in store.list(WEIGHTS_FOLDER):
        if match := _WEIGHTS.fullmatch(key):
            yield match[1], int(match[2]), key


def leases(store: Store) -> Iterator[tuple[int, str, str]]:
    """(number, run_id, key) of every heartbeat that is there, oldest first."""
    for key in store.list(LEASE_FOLDER):
        if match := _LEASE.fullmatch(key):
            yield int(match[1]), match[2], key
