"""Find the links of a study's folder that lead out of it, and hide them from the checks of stored files."""

import errno
from collections.abc import Iterator, Mapping
from pathlib import Path

from study.status.found_study import files_below
from workers.store.folder import leads_out, link_in_words
from workers.store.keys import FOLDERS
from workers.store.protocol import Store


def links_out(store: Store) -> dict[str, str]:
    """Return, by key, what is wrong with each link that leads out of a study's folder; empty for a bucket."""
    if "://" in store.url:
        return {}
    root = Path(store.url)
    return {str(path.relative_to(root)): link_in_words(path) for path in sorted(_paths(root)) if leads_out(path, root)}


def _paths(root: Path) -> Iterator[Path]:
    """Yield all that a reader of a study may open: its own files, and those of its folders."""
    yield from (path for path in root.iterdir() if path.name not in FOLDERS)
    for name in FOLDERS:
        yield from files_below(root / name)


class WithoutLinks:
    """A store without the keys and folders that are links out of it."""

    def __init__(self, store: Store, links: Mapping[str, str]) -> None:
        """Hide every key in `links`, and all keys of every folder in it."""
        self._store, self._links, self.url = store, links, store.url

    def list(self, folder: str, beginning: str = "") -> list[str]:
        """See Store.list, without what is hidden."""
        if folder in self._links:
            return []
        return [key for key in self._store.list(folder, beginning) if key not in self._links]

    def read(self, key: str) -> bytes:
        """See Store.read; what is hidden is not there."""
        self._refuse(key)
        return self._store.read(key)

    def read_range(self, key: str, start: int, stop: int | None) -> tuple[bytes, int]:
        """See Store.read_range; what is hidden is not there."""
        self._refuse(key)
        return self._store.read_range(key, start, stop)

    def _refuse(self, key: str) -> None:
        if key in self._links or key.partition("/")[0] in self._links:
            raise FileNotFoundError(errno.ENOENT, "is a link out of the study's folder", key)

    def create(self, key: str, raw: bytes) -> bool:
        """See Store.create."""
        return self._store.create(key, raw)

    def delete(self, key: str) -> None:
        """See Store.delete."""
        self._store.delete(key)
