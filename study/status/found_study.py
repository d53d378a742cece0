"""Find a study on a disk or in a bucket by its name or path, and measure how large it is."""

import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from study.grid.results_folder import wrong_with
from workers.contract.errors import CommandError
from workers.contract.user_paths import expanded, quoted
from workers.store.bucket import BucketStore
from workers.store.keys import FOLDERS, PLAN_FOLDER, study_url
from workers.store.open import open_store
from workers.store.protocol import Store


@dataclass(frozen=True)
class Found:
    """A study and where it is stored."""

    name: str
    url: str
    """Path of its folder, or s3://bucket/prefix/name."""
    store: Store

    @property
    def folder(self) -> Path:
        """The folder that holds the study.

        Raises:
            CommandError: the study is in a bucket.
        """
        if self.is_in_bucket:
            raise CommandError(
                f"{self.url}: this command needs a study in a folder, not in a bucket; use the bucket's own tools"
            )
        return Path(self.url)

    @property
    def is_in_bucket(self) -> bool:
        """Whether the study is in a bucket."""
        return "://" in self.url


def find_study(name: str, out: str) -> Found:
    """Return the study of this name below `out`, or the one at this path or s3://bucket/prefix/name.

    Raises:
        CommandError: there is no such study; the text lists those that there are.
        StoreError: `out` is not a folder, or is a bucket that cannot be read.
    """
    name, out = expanded(name), expanded(out)
    if "://" in name or "://" in out:
        return _in_bucket(_plain_url(name if "://" in name else study_url(out, name)))
    for folder in folders_named(name, out):
        if is_study(folder):
            plain = _plain(folder)
            return Found(plain.resolve().name, str(plain), open_store(str(plain)))
    there = studies_in(Path(out))
    listed = f"studies there: {', '.join(there)}" if there else "there is no study yet; start one with study run GRID"
    raise CommandError(f"no such study: {name} (looked in {out}/ and at the path itself); {listed}")


def folders_named(name: str, out: str) -> list[Path]:
    """Return the folders that a study's name or path can mean, the one below `out` first."""
    below = [] if Path(name).is_absolute() else [Path(study_url(out, name))]
    return [*below, Path(name)] if name else []


def _plain(folder: Path) -> Path:
    """Return the path of an existing folder without `..`, and ending in its own name.

    A path such as s/../s leads nowhere once s has another name, as it has while it is removed. The last part may be a link,
    which stays one.
    """
    if folder.name in ("", ".."):
        return folder.resolve()
    return folder.parent.resolve() / folder.name if ".." in folder.parts else folder


def _plain_url(url: str) -> str:
    scheme, mark, path = url.partition("://")
    return f"{scheme}{mark}{posixpath.normpath(path) if path else ''}"


def _in_bucket(url: str) -> Found:
    store = open_store(url)
    if not any(key.endswith(".parquet") for key in store.list(PLAN_FOLDER)):
        out, _, name = url.rpartition("/")
        raise CommandError(f"no such study: {name} (looked at {url}); start one with study run GRID --out {quoted(out)}")
    return Found(url.rpartition("/")[2], url, store)


def refuse_links(found: Found) -> None:
    """Refuse, before anything is written, a study with a link that leads out of its folder.

    Raises:
        CommandError: there is such a link.
    """
    if found.is_in_bucket:
        return
    if problem := wrong_with(str(found.folder.parent), found.folder.name):
        raise CommandError(problem)


def is_study(folder: Path) -> bool:
    """Return whether a folder holds a study, that is, a plan with an entry."""
    return any((folder / PLAN_FOLDER).glob("*.parquet"))


def studies_in(out: Path) -> list[str]:
    """Return the names of all studies directly below a folder."""
    try:
        folders = sorted(path for path in out.iterdir() if not path.name.startswith("."))
    except OSError:
        return []
    return [folder.name for folder in folders if is_study(folder)]


def sizes(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the number of files and bytes of every entry of a folder, at any depth; links are not followed."""
    found: dict[str, tuple[int, int]] = {}
    for path in sorted(folder.iterdir()):
        parts = [file.lstat().st_size for file in ([path] if not _is_folder(path) else files_below(path))]
        found[path.name] = (len(parts), sum(parts))
    return found


def sizes_in_bucket(store: BucketStore) -> dict[str, tuple[int, int]]:
    """Return the number of keys and bytes directly in each folder of a study."""
    found = {folder: store.stored(folder) for folder in FOLDERS}
    return {folder: (len(keys), sum(size for size, _ in keys.values())) for folder, keys in found.items() if keys}


def files_below(folder: Path) -> Iterator[Path]:
    """Yield every file at any depth; links are yielded themselves and not followed, not even if the folder is one."""
    if folder.is_symlink():
        yield folder
        return
    for parent, folders, names in os.walk(folder):
        yield from (Path(parent, name) for name in [*names, *(n for n in folders if Path(parent, n).is_symlink())])


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
