"""What a check of `study doctor` found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """The text of a check, and the exit code that it asks for: 0, 2 (the set-up), or 3 (damaged data)."""

    code: int
    text: str
