"""Suggest the word that a user may have meant, for an error message."""

from collections.abc import Iterable
from difflib import get_close_matches


def close_to(text: str, words: Iterable[str]) -> str:
    """Return a question that names the nearest word; an empty text if none is near."""
    found = get_close_matches(text, list(words), n=1, cutoff=0.6)
    return f"did you mean {found[0]}?" if found else ""
