"""Where results lie: create-only writes that are whole or not at all, in a folder, a bucket or memory; what is stored."""

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from obstore.exceptions import AlreadyExistsError
from obstore.store import MemoryStore as _ObjectMemory

from workers.keys import CHECKPOINT_KEY, CLOSED_KEY, EPOCHS_KEY, LEASE_KEY, TRIALS_KEY, WEIGHTS_KEY
from workers.keys import CHECKPOINTS_FOLDER as CHECKPOINTS_FOLDER
from workers.keys import EPOCHS_FOLDER as EPOCHS_FOLDER
from workers.keys import FIGURES_FOLDER as FIGURES_FOLDER
from workers.keys import FOLDERS as FOLDERS
from workers.keys import LEASE_FOLDER as LEASE_FOLDER
from workers.keys import PLAN_FOLDER as PLAN_FOLDER
from workers.keys import REPORT as REPORT
from workers.keys import TRIALS_FOLDER as TRIALS_FOLDER
from workers.keys import VERIFY_FOLDER as VERIFY_FOLDER
from workers.keys import WEIGHTS_FOLDER as WEIGHTS_FOLDER
from workers.keys import checkpoint_key as checkpoint_key
from workers.keys import closed_key as closed_key
from workers.keys import epochs_key as epochs_key
from workers.keys import lease_key as lease_key
from workers.keys import plan_key as plan_key
from workers.keys import stop_key as stop_key
from workers.keys import study_url as study_url
from workers.keys import trials_key as trials_key
from workers.keys import verify_url as verify_url
from workers.keys import weights_key as weights_key


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

    def read_range(self, key: str, start: int, stop: int | None) -> tuple[bytes, int]:
        """raw[start:stop] of the bytes of a key, and how many it has; for a negative start, stop is None.

        Raises FileNotFoundError: no such key.
        """
        ...

    def list(self, folder: str, beginning: str = "") -> list[str]:
        """All keys directly in a folder whose names have this beginning, sorted; empty if there are none."""
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
                # NFS asks again when an answer is lost, and is told then that the name exists: as our own file, perhaps.
                if not _are_one(aside, target):
                    return False
        finally:
            with suppress(FileNotFoundError):
                os.unlink(aside)
        _fsync_folder(target.parent)
        return True

    def read(self, key: str) -> bytes:
        """See Store.read."""
        return (self.root / key).read_bytes()

    def read_range(self, key: str, start: int, stop: int | None) -> tuple[bytes, int]:
        """See Store.read_range."""
        with open(self.root / key, "rb") as file:
            if hasattr(os, "posix_fadvise"):
                # Else Linux reads some megabytes ahead, which are the whole of most files.
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            size = os.fstat(file.fileno()).st_size
            first, last, _ = slice(start, stop).indices(size)
            file.seek(first)
            return file.read(max(0, last - first)), size

    def list(self, folder: str, beginning: str = "") -> list[str]:
        """See Store.list."""
        try:
            names = os.listdir(self.root / folder)
        except FileNotFoundError:
            return []
        return sorted(f"{folder}/{name}" for name in names if name.startswith(beginning) and not name.startswith("."))

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

    def read_range(self, key: str, start: int, stop: int | None) -> tuple[bytes, int]:
        """See Store.read_range."""
        raw = self.read(key)
        return raw[start:stop], len(raw)

    def list(self, folder: str, beginning: str = "") -> list[str]:
        """See Store.list."""
        keys = [str(item["path"]) for item in self._objects.list_with_delimiter(f"{folder}/")["objects"]]
        return sorted(key for key in keys if key.startswith(f"{folder}/{beginning}"))

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
    """The store of a study's results: a folder, or `s3://bucket/prefix`. Nothing is asked of a bucket here.

    Raises:
        StoreError: the url names something that is neither.
    """
    if url.startswith("s3://"):
        from workers.bucket_address import open_bucket

        return open_bucket(url)
    if "://" in url:
        raise StoreError(f"run.out: got {url}; allowed is a folder or s3://bucket/prefix")
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


def _are_one(aside: Path, target: Path) -> bool:
    try:
        return os.path.samefile(aside, target)
    except FileNotFoundError:  # somebody has removed it since
        return False


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Segment(NamedTuple):
    """The epochs of one rows file, first and last included."""

    pack_id: str
    first: int
    last: int
    key: str


def segments(store: Store, pack_id: str = "") -> Iterator[Segment]:
    """Every committed rows file, or those of one pack, sorted by pack and epoch."""
    for key in store.list(EPOCHS_FOLDER, pack_id):
        if match := EPOCHS_KEY.fullmatch(key):
            yield Segment(match[1], int(match[2]), int(match[3]), key)


def ended_packs(store: Store) -> set[tuple[str, int]]:
    """(pack_id, epochs) of every pack that is done."""
    return {(match[1], int(match[2])) for key in store.list(TRIALS_FOLDER) if (match := TRIALS_KEY.fullmatch(key))}


def closed_packs(store: Store) -> list[str]:
    """pack_id of every pack that is closed or about to be."""
    return [match[1] for key in store.list(CHECKPOINTS_FOLDER) if (match := CLOSED_KEY.fullmatch(key))]


def checkpoints(store: Store, pack_id: str = "") -> Iterator[tuple[str, int, str]]:
    """(pack_id, epoch, key) of every checkpoint, or of those of one pack, committed or not."""
    for key in store.list(CHECKPOINTS_FOLDER, pack_id):
        if match := CHECKPOINT_KEY.fullmatch(key):
            yield match[1], int(match[2]), key


def trained_models(store: Store) -> Iterator[tuple[str, int, str]]:
    """(trial_id, epochs, key) of every trained model that is stored."""
    for key in store.list(WEIGHTS_FOLDER):
        if match := WEIGHTS_KEY.fullmatch(key):
            yield match[1], int(match[2]), key


def leases(store: Store) -> Iterator[tuple[int, str, str]]:
    """(number, run_id, key) of every heartbeat that is there, oldest first."""
    for key in store.list(LEASE_FOLDER):
        if match := LEASE_KEY.fullmatch(key):
            yield int(match[1]), match[2], key
