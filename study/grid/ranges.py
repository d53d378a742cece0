"""Ranges of whole numbers, such as `seed: 0..29`: both ends and every number between them are levels."""

import re

from workers.contract.settings_table import adapter_of

MAX_LEVELS = 10_000
"""Most levels that one range may stand for."""

_RANGE = re.compile(r"\s*([-+]?[0-9]{1,18})\.\.([-+]?[0-9]{1,18})\s*")


def takes_ranges(name: str) -> bool:
    """Return whether the levels of a setting are whole numbers."""
    schema = adapter_of(name).json_schema()
    return any(option.get("type") == "integer" for option in schema.get("anyOf", [schema]))


def is_range(text: str) -> bool:
    """Return whether a text is meant as a range, right or wrong."""
    return ".." in text


def range_of(text: str) -> range:
    """Return the numbers that a range stands for.

    Raises:
        ValueError: the text is not a range from a first to a last whole number; its text says why, and what to write.
    """
    found = _RANGE.fullmatch(text)
    if found is None:
        raise ValueError("a range is two whole numbers with two dots between them, like 0..29; both ends are levels")
    first, last = int(found[1]), int(found[2])
    if last < first:
        raise ValueError(f"a range goes upwards; write {last}..{first}, or list the levels")
    if last - first >= MAX_LEVELS:
        raise ValueError(f"these are {last - first + 1:,} levels; a range has at most {MAX_LEVELS:,}")
    return range(first, last + 1)
