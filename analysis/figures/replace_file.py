"""Replaces a file as a whole, so that a reader sees either the old content or the new one."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workers.contract.errors import CommandError, FolderGoneError, UserError, reason_of
from workers.store.keys import FIGURES_FOLDER


def make_place(path: Path, url: str) -> None:
    """Make the folder that a report is written into, unless it is the study's own: a study that was removed stays away.

    Args:
        path: the folder to be written into.
        url: the study that was read.
    """
    if str(path) != url and path != Path(url):
        path.mkdir(parents=True, exist_ok=True)


def replace(path: Path, raw: bytes) -> Path:
    """Write a temporary file beside `path` and rename it into place; a reader never sees half of it.

    Raises:
        FolderGoneError: the folder that holds the figures folder is not there; see make_place.
        OSError: the folder is not writable, or the figures folder is a link and would lead out of the study's folder.
    """
    if path.parent.name == FIGURES_FOLDER and path.parent.is_symlink():
        raise OSError(errno.ELOOP, "is a link to another folder", str(path.parent))
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        if path.parent.name == FIGURES_FOLDER:
            path.parent.mkdir(exist_ok=True)
        aside.write_bytes(raw)
        os.replace(aside, path)
    except FileNotFoundError:
        gone = path.parent.parent if path.parent.name == FIGURES_FOLDER else path.parent
        raise FolderGoneError(str(gone)) from None
    finally:
        aside.unlink(missing_ok=True)
    return path


@contextmanager
def or_elsewhere() -> Iterator[None]:
    """Turn the error of a file that cannot be written into a sentence that says where else it could be.

    Raises:
        CommandError: a file cannot be written.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, UserError) or error.filename is None:
            raise
        raise CommandError(
            f"{error.filename}: cannot be written ({reason_of(error)}); make it writable, or name another folder with --out"
        ) from error
