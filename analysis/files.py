"""Files beside a study's results: each is written whole, so that a reader sees the old one or the new one."""

import os
import secrets
from pathlib import Path


def replace(path: Path, raw: bytes) -> Path:
    """Write a file aside and put it in its place; a reader never sees half of it.

    Raises:
        OSError: the folder is not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        aside.write_bytes(raw)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return path
