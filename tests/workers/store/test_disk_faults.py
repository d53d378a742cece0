"""A disk that fills up or breaks at every single file operation: nothing is torn, and the same command goes on."""

import builtins
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import workers.store.folder
from tests.workers import tiny
from workers.contract.failure import failure_of
from workers.store.folder import FolderStore
from workers.store.memory import MemoryStore
from workers.store.parquet import decode

pytestmark = pytest.mark.slow

OPERATIONS = ("open", "write", "flush", "fsync", "link", "unlink", "mkdir", "listdir", "read")


class Faults:
    """Counts the store's file operations, and lets one of them fail."""

    def __init__(self, at: int | None, code: int) -> None:
        self.at, self.code = at, code
        self.seen: list[str] = []

    def __call__(self, operation: str) -> None:
        self.seen.append(operation)
        if len(self.seen) - 1 == self.at:
            raise OSError(self.code, os.strerror(self.code))


class FaultyFile:
    """A file that breaks when it is read, or when half of it is written, as it does when the disk is full."""

    def __init__(self, file: Any, fault: Faults) -> None:
        self._file, self._fault = file, fault

    def __enter__(self) -> "FaultyFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, raw: bytes) -> None:
        self._file.write(raw[: len(raw) // 2])
        self._file.flush()
        self._fault("write")
        self._file.write(raw[len(raw) // 2 :])

    def read(self, size: int = -1) -> bytes:
        self._fault("read")
        return self._file.read(size)

    def seek(self, to: int) -> int:
        return self._file.seek(to)

    def flush(self) -> None:
        self._fault("flush")
        self._file.flush()

    def fileno(self) -> int:
        return self._file.fileno()


@contextmanager
def faulty(fault: Faults, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The store's own operations alone: torch and the data read other files."""
    with monkeypatch.context() as patch:

        def failing(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **options: Any) -> Any:
                fault(name)
                return original(*args, **options)

            return call

        class Os:
            """The os module as workers.store.folder sees it."""

            def __getattr__(self, name: str) -> Any:
                return getattr(os, name)

        seen = Os()
        for name in ("fsync", "link", "unlink", "listdir"):
            setattr(seen, name, failing(name, getattr(os, name)))
        patch.setattr(workers.store.folder, "os", seen)
        patch.setattr(
            workers.store.folder,
            "open",
            lambda *args, **options: FaultyFile(failing("open", builtins.open)(*args, **options), fault),
            raising=False,
        )
        patch.setattr(Path, "mkdir", failing("mkdir", Path.mkdir))
        yield


PACK = tiny.pack({"seed": 0, "warmup": 2}, borders=(1, 2))


@cache
def undisturbed() -> dict:
    store = MemoryStore()
    tiny.run(PACK, store)
    return tiny.content(store)


@cache
def operations(folder: Path) -> list[str]:
    fault = Faults(None, 0)
    with pytest.MonkeyPatch.context() as patch, faulty(fault, patch):
        tiny.run(PACK, FolderStore(folder))
    return fault.seen


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
def test_a_fault_at_every_file_operation_tears_nothing(code, tmp_path, monkeypatch):
    seen = operations(tmp_path / "counted")
    assert set(seen) == set(OPERATIONS), "every kind of operation is tried"
    for at, operation in enumerate(seen):
        store = FolderStore(tmp_path / f"{at}")
        with faulty(Faults(at, code), monkeypatch), pytest.raises(OSError, match=r"space|Input/output") as raised:
            tiny.run(PACK, store)
        assert failure_of(raised.value).kind == ("full" if code == errno.ENOSPC else "store")
        for folder in ("epochs", "trials"):
            for key in store.list(folder):
                decode(store.read(key), key)
        assert tiny.run(PACK, store).status == "done", (at, operation)
        assert tiny.content(store) == undisturbed(), (at, operation)


def test_a_store_that_publishes_before_it_has_written_all_is_caught(tmp_path, monkeypatch):
    """The negative control: written under its own name at once, a full disk leaves half a file that looks like a whole one."""

    def create(self: FolderStore, key: str, raw: bytes) -> bool:
        target = self.root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            return False
        with workers.store.folder.open(target, "xb") as file:
            file.write(raw)
        return True

    monkeypatch.setattr(FolderStore, "create", create)
    torn = 0
    for at in range(20):
        store = FolderStore(tmp_path / f"{at}")
        try:
            with faulty(Faults(at, errno.ENOSPC), monkeypatch):
                tiny.run(PACK, store)
            continue
        except OSError:
            pass
        try:
            tiny.run(PACK, store)
            torn += tiny.content(store) != undisturbed()
        except Exception:
            torn += 1
    assert torn > 0
