"""A store in a folder on a disk: files are written under a temporary name, synced, and linked under their names.

What is read may come from somebody else. A link that leads out of the folder is never followed, because whoever reads the
folder, or packs it, would take a file of this machine for one of the study. A pipe or a device is never read, because it
might not end.
"""

import errno
import os
import secrets
import stat
import weakref
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from workers.contract.errors import FolderGoneError
from workers.contract.yaml_tree import FileKind, Place, Problem

_MISSING = (FileNotFoundError, NotADirectoryError)
"""What the system says if a path leads nowhere."""


class FolderStore:
    """A Store in a folder; each write survives a crash: write a temporary file, fsync it, link it, fsync the folder."""

    def __init__(self, root: str | Path) -> None:
        """Remember the folder, which is created by the first write if it is not there."""
        self.root = Path(root)
        self.url = str(self.root)
        self._handle: int | None = None
        self._has_seen_root()

    def create(self, key: str, raw: bytes) -> bool:
        """See Store.create.

        Raises:
            FolderGoneError: the root was seen there before, and is there no longer. Whoever slept while a study was removed
                must not make its folder again.
            OSError: the disk is full or not writable, or the folder is a link that leads out; nothing is left half written.
        """
        if not self._has_seen_root():
            _make_folder(self.root)
        try:
            return self._create(key, raw)
        except _MISSING:
            self._refuse_if_gone()
            raise

    def _create(self, key: str, raw: bytes) -> bool:
        self._refuse_if_gone()
        target = self._within(Path(key).parent) / Path(key).name
        for folder in reversed([each for each in target.parents if each != self.root and each.is_relative_to(self.root)]):
            # Not the root itself: if it goes at this moment, this fails.
            _make_one_folder(folder)
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
                # NFS repeats a request whose answer was lost, and then reports that the name exists; it may be our own file.
                if not _are_one(aside, target):
                    return False
        finally:
            with suppress(FileNotFoundError):
                os.unlink(aside)
        _fsync_folder(target.parent)
        return True

    def read(self, key: str) -> bytes:
        """See Store.read. Raises OSError: see open."""
        with self.open(key) as file:
            return file.read()

    def read_range(self, key: str, start: int, stop: int | None) -> tuple[bytes, int]:
        """See Store.read_range. Raises OSError: see open."""
        with self.open(key) as file:
            if hasattr(os, "posix_fadvise"):
                # Otherwise Linux reads some megabytes ahead, which is all of most files.
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            size = os.fstat(file.fileno()).st_size
            first, last, _ = slice(start, stop).indices(size)
            file.seek(first)
            return file.read(max(0, last - first)), size

    def open(self, key: str) -> BinaryIO:
        """Open a key for reading.

        Raises:
            FileNotFoundError: there is no such key.
            FolderGoneError: see create.
            OSError: it is a link that leads out of the folder, or no regular file.
        """
        try:
            return open_regular(self._within(key))
        except _MISSING:
            self._refuse_if_gone()
            raise

    def list(self, folder: str, beginning: str = "") -> list[str]:
        """See Store.list. Raises FolderGoneError: see create. Raises OSError: the folder is a link that leads out."""
        try:
            names = os.listdir(self._within(folder))
        except FileNotFoundError:
            names = []
        except NotADirectoryError:
            self._refuse_if_gone()
            raise
        # Otherwise a study that was removed would look like one that has just begun.
        self._refuse_if_gone()
        return sorted(f"{folder}/{name}" for name in names if name.startswith(beginning) and not name.startswith("."))

    def delete(self, key: str) -> None:
        """See Store.delete; a link is removed itself. Raises OSError: the folder is a link that leads out."""
        with suppress(*_MISSING):
            (self._within(Path(key).parent) / Path(key).name).unlink()

    def _has_seen_root(self) -> bool:
        """Return whether the root was ever seen; from the first time on, hold it open, so that it can be told from another.

        While it is open, no other folder gets its number, on any file system.
        """
        if self._handle is None:
            with suppress(OSError):
                self._handle = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                weakref.finalize(self, os.close, self._handle)
        return self._handle is not None

    def _refuse_if_gone(self) -> None:
        """Raise FolderGoneError if the root was seen before, and another folder or none is there now."""
        if not self._has_seen_root():
            return
        assert self._handle is not None
        try:
            now = os.stat(self.root)
        except _MISSING:
            raise FolderGoneError(self.url) from None
        try:
            is_same = os.path.samestat(os.fstat(self._handle), now)
        except OSError:  # a network folder that was removed by another machine
            is_same = False
        if not is_same:
            raise FolderGoneError(self.url)

    def _within(self, key: str | Path) -> Path:
        """Return the path of a key or folder.

        Raises:
            OSError: it or its folder is a link that leads out of the root.
        """
        self._has_seen_root()
        path = self.root
        for part in Path(key).parts:
            path = path / part
            if leads_out(path, self.root):
                raise OSError(errno.ELOOP, link_in_words(path), str(path))
        return path


def leads_out(path: Path, folder: Path) -> bool:
    """Return whether a path is a link to something outside a folder; the folder may itself be reached through a link."""
    return path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def link_in_words(path: Path) -> str:
    """Return what is wrong with a link that leads out of a study's folder."""
    return f"is a link to {os.path.realpath(path)}, outside the study's folder"


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file for reading.

    Raises:
        OSError: it cannot be opened, or is a pipe, a socket or a device.
    """
    return open(path, "rb", opener=_regular)


class FileTooLargeError(OSError):
    """A file that a user names is larger than its kind allows; `problem` is the sentence, with the file's name."""

    def __init__(self, path: str | Path, kind: FileKind, size: int) -> None:
        """Name the file, its size and the largest one."""
        super().__init__(errno.EFBIG, kind.too_large(size), str(path))
        self.problem = Problem(Place(str(path), 1, 1), kind.too_large(size))


def read_limited(path: str | Path, kind: FileKind) -> bytes:
    """Return the bytes of a file that a user names; no more than its kind allows are read, however large it is.

    Raises:
        FileTooLargeError: it is larger.
        OSError: see open_regular.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        # Some files of the system have more bytes than their size says.
        raw = b"" if size > kind.max_bytes else file.read(kind.max_bytes + 1)
    if max(size, len(raw)) > kind.max_bytes:
        raise FileTooLargeError(path, kind, max(size, len(raw)))
    return raw


def _regular(path: str, flags: int) -> int:
    # Without O_NONBLOCK, opening a pipe would wait for somebody to write into it.
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    kind = os.fstat(handle).st_mode
    # What a folder gets from the system is the right answer.
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        os.close(handle)
        raise OSError(errno.EINVAL, "is a pipe or a device, not a file", path)
    return handle


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        _make_one_folder(folder)


def _make_one_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        # Otherwise the first commit of a study could be lost together with its folder.
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
