"""Waiting for a state that a test needs, however slow the machine is."""

import time
from collections.abc import Callable


def wait_until(is_so: Callable[[], object], otherwise: str, seconds: float = 300) -> None:
    """Return once something is so; after `seconds` fail with a sentence."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, f"{otherwise} (after {seconds:.0f} s)"
        time.sleep(0.01)
