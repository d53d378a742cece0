"""Find the moment at which an executor that was asked to stop need not wait any longer."""


class Stopping:
    """Knows when a run that was asked to stop is over: when all packs have ended that were running at the time."""

    def __init__(self) -> None:
        """Begin with a run that nobody has asked to stop."""
        self._running: set[str] = set()
        self._died: set[str] = set()
        self._last: set[str] | None = None

    def started(self, pack_id: str) -> None:
        """Record that a pack has begun."""
        self._running.add(pack_id)

    def died(self, pack_id: str) -> None:
        """Record that the process of a pack is gone; the driver may forbid this pack alone to go on."""
        self._died.add(pack_id)

    def ended(self, pack_id: str, status: str = "") -> None:
        """Record that a pack has ended, and how."""
        self._running.discard(pack_id)
        if self._last is not None:
            self._last.discard(pack_id)
        elif status == "stopped" and pack_id not in self._died:
            self._last = set(self._running)

    def is_over(self) -> bool:
        """Return whether nothing runs any more that was running when the run was asked to stop."""
        return self._last is not None and not self._last
