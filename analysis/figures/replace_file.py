"""Files beside a study's results: each is written whole, so that a reader sees the old one or the new one."""

import errno
import os
import secrets
from pathlib import Path

from workers.store.keys import FIGURES_FOLDER


def replace(path: Path, raw: bytes) -> Path:
    """Write a file aside and put it in its place; a reader never sees half of it.

    Raises:
        OSError: the folder is not writable, or is a link: the study's files stay in its folder.
    """
    if path.parent.name == FIGURES_FOLDER and path.parent.is_symlink():
        raise OSError(errno.ELOOP, "is a link to another folder", str(path.parent))
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        aside.write_bytes(raw)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return path
