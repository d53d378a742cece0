"""The interface of every store: create-only writes that succeed completely or not at all."""

from typing import Protocol


class Store(Protocol):
    """A map from keys to bytes. A key is never replaced, and a reader sees all of its bytes or no key at all."""

    url: str

    def create(self, key: str, raw: bytes) -> bool:
        """Store bytes durably under a new key; if the key exists, change nothing and return False."""
        ...

    def read(self, key: str) -> bytes:
        """Return the bytes of a key. Raises FileNotFoundError: there is no such key."""
        ...

    def read_range(self, key: str, start: int, stop: int | None) -> tuple[bytes, int]:
        """Return raw[start:stop] of the bytes of a key, and its size; if start is negative, stop must be None.

        Raises FileNotFoundError: there is no such key.
        """
        ...

    def list(self, folder: str, beginning: str = "") -> list[str]:
        """Return all keys directly in a folder whose names start with `beginning`, sorted; empty if there are none."""
        ...

    def delete(self, key: str) -> None:
        """Remove a key, if it exists. Only the driver may call this, and never for epochs, trials or the plan."""
        ...


def exists(store: Store, key: str) -> bool:
    """Return whether a key exists."""
    try:
        store.read(key)
    except FileNotFoundError:
        return False
    return True
