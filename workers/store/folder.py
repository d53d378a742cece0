"""A store in a folder on a disk: files are written under a temporary name, synced, and linked under their names."""

import os
import secrets
from contextlib import suppress
from pathlib import Path


class FolderStore:
    """A Store in a folder; each write survives a crash: write a temporary file, fsync it, link it, fsync the folder."""

    def __init__(self, root: str | Path) -> None:
        """Remember the folder, which is created by the first write."""
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
                # NFS repeats a request whose answer was lost, and then reports that the name exists; it may be our own file.
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
                # Otherwise Linux reads some megabytes ahead, which is all of most files.
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


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
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
