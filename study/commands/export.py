"""`study export`: write an archive with what a reader needs; every file is verified, and equal studies give equal bytes."""

import argparse
import gzip
import hashlib
import io
import json
import os
import secrets
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from study.forecast.amounts import in_bytes
from study.status.found_study import Found, files_below, find_study
from workers.contract.errors import CommandError, say
from workers.contract.user_paths import expanded
from workers.contract.version import PACKAGE
from workers.store.keys import EPOCHS_FOLDER, FIGURES_FOLDER, PLAN_FOLDER, REPORT, TRIALS_FOLDER
from workers.store.listing import trained_models
from workers.store.parquet import decode_with_footer
from workers.store.protocol import Store
from workers.store.weights_file import decode_weights

GRID, PROVENANCE = "grid.yaml", "provenance.json"

_BESIDE = (REPORT, "report.md", "labels.yaml")


def add_words(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `study export`."""
    parser.add_argument("name", metavar="NAME", help="a study's name, or the path of its folder")
    parser.add_argument("--to", metavar="FILE", help="file name of the archive (default: NAME.tar.gz here)")
    parser.add_argument("--weights", action="store_true", help="include every trained model")


def carry_out(words: argparse.Namespace) -> int:
    """Write the archive, and report its size."""
    found = find_study(words.name, words.out)
    target = Path(expanded(words.to or f"{found.name}.tar.gz"))
    if not target.name.endswith((".tar.gz", ".tgz")):
        raise CommandError(f"--to {target}: must end in .tar.gz or .tgz")
    if target.exists():
        raise CommandError(f"{target}: already exists; move it away, or name another file with --to")
    if not target.parent.is_dir():
        raise CommandError(f"--to {target}: the folder {target.parent} does not exist; create it first")
    beside, left_out = _beside(found)
    count = write_archive(found, target, words.weights, beside)
    for line in left_out:
        say(line)
    say(f"{target}: {count} files of study {found.name}, {in_bytes(target.stat().st_size)}, all verified")
    say(f"once unpacked, it can be read with analysis.load({json.dumps(found.name, ensure_ascii=False)})")
    return 0


def write_archive(found: Found, target: Path, with_weights: bool, beside: Sequence[str]) -> int:
    """Write an archive of a study under a temporary name, then rename it; return the number of files in it.

    Args:
        found: the study.
        target: the archive.
        with_weights: whether trained models go into it.
        beside: the names of the other files that go into it; see _beside.

    Raises:
        RecordError: a file is damaged; no part of the archive is left.
        OSError: a file cannot be read, or is a link that leads out of the study's folder; no part of the archive is left.
    """
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    count = 0
    try:
        with (
            open(aside, "xb") as file,
            # Without the time and the name of the archive, so that equal studies give equal bytes.
            gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as zipped,
            tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for name, raw in _files(found, with_weights, beside):
                entry = tarfile.TarInfo(f"{found.name}/{name}")
                entry.size, entry.mode = len(raw), 0o644
                archive.addfile(entry, io.BytesIO(raw))
                count += 1
        with open(aside, "rb") as written:
            os.fsync(written.fileno())
        os.replace(aside, target)
    finally:
        aside.unlink(missing_ok=True)
    return count


def _files(found: Found, with_weights: bool, beside: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of every file, in the order of the archive."""
    sums: dict[str, str] = {}
    origins: dict[str, set[str]] = {}
    grid = ""
    # A running study writes plan, epochs and trials in this order: listed in reverse, every file comes with those it needs.
    keys = [key for folder in (TRIALS_FOLDER, EPOCHS_FOLDER, PLAN_FOLDER) for key in _parquet(found.store, folder)]
    for key in sorted(keys):
        raw, footer = _verified(found.store, key)
        sums[key] = hashlib.sha256(raw).hexdigest()
        for name, value in _leaves(footer.get("provenance", {})):
            origins.setdefault(name, set()).add(value)
        grid = str(footer.get("grid", grid))
        yield key, raw
    for _, _, key in trained_models(found.store) if with_weights else ():
        raw = _verified_weights(found.store, key)
        sums[key] = hashlib.sha256(raw).hexdigest()
        yield key, raw
    for name in beside:
        raw = found.store.read(name)
        sums[name] = hashlib.sha256(raw).hexdigest()
        yield name, raw
    yield GRID, grid.encode()
    sums[GRID] = hashlib.sha256(grid.encode()).hexdigest()
    facts = {
        "study": found.name,
        "written_by": PACKAGE,
        "provenance": {name: sorted(values) for name, values in origins.items()},
        "sha256": sums,
    }
    yield PROVENANCE, json.dumps(facts, indent=1, sort_keys=True).encode()


def _parquet(store: Store, folder: str) -> list[str]:
    return [key for key in store.list(folder) if key.endswith(".parquet")]


def _verified(store: Store, key: str) -> tuple[bytes, Mapping[str, Any]]:
    raw = store.read(key)
    return raw, decode_with_footer(raw, f"{store.url}/{key}")[1]


def _verified_weights(store: Store, key: str) -> bytes:
    raw = store.read(key)
    decode_weights(raw, f"{store.url}/{key}")
    return raw


def _beside(found: Found) -> tuple[list[str], list[str]]:
    """Return the names of the report, its figures and the labels, and one line per link among them, which is left out."""
    if found.is_in_bucket:
        return [], []  # the report of a study in a bucket is wherever somebody made it
    folder = found.folder
    there = sorted([*files_below(folder / FIGURES_FOLDER), *(folder / name for name in _BESIDE)])
    # Not even a link to another file of the study: the archive holds files, and its reader cannot tell where they lay.
    links = [path for path in there if path.is_symlink()]
    files = [path for path in there if path not in links and path.is_file() and path.name[0] != "."]
    return (
        [str(path.relative_to(folder)) for path in files],
        [f"left out: {path} is a link to {os.readlink(path)}; an archive holds no links" for path in links],
    )


def _leaves(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        yield name, value if isinstance(value, str) else json.dumps(value, sort_keys=True)
