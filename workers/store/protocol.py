"""What every store does: create-only writes that are whole or not at all."""

from typing import Protocol


class Store(Protocol):
    """Keys to bytes. A key once created is never replaced; a reader sees all of its bytes or no key."""

    url: str

    def create(self, key: str, raw: bytes) -> bool:
        """Store bytes durably under a new key; False, and nothing changed, if the key exists."""
        ...

    def read(self, key: str) -> bytes:
        """The bytes of a key. Raises FileNotFoundError: no such key."""
        ...

    def read_range(self, key: str, start: int, stop: int | None) -> tuple[bytes, int]:
        """raw[start:stop] of the bytes of a key, and how many it has; for a negative start, stop is None.

        Raises FileNotFoundError: no such key.
        """
        ...

    def list(self, folder: str, beginning: str = "") -> list[str]:
        """All keys directly in a folder whose names have this beginning, sorted; empty if there are none."""
        ...

    def delete(self, key: str) -> None:
        """Remove a key; no error if it is gone. For the driver alone, and never for epochs, trials or plan."""
        ...


def exists(store: Store, key: str) -> bool:
    """Whether a key is there."""
    try:
        store.read(key)
    except FileNotFoundError:
        return False
    return True
