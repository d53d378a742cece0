"""A store in the memory of this process, for tests and notebooks."""

from contextlib import suppress

from obstore.exceptions import AlreadyExistsError
from obstore.store import MemoryStore as _ObjectMemory


class MemoryStore:
    """A Store in the memory of this process, for tests and notebooks."""

    def __init__(self) -> None:
        """Begin empty."""
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
