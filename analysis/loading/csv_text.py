"""Writes a frame as CSV that a spreadsheet program can open without harm."""

import pandas as pd
from pandas.api.types import is_numeric_dtype


def csv_of(frame: pd.DataFrame) -> bytes:
    """Return a frame as CSV in which a spreadsheet program takes no text for a formula; numbers are left alone.

    A text that begins with one of = + - @, also in their full width, a tab or the end of a line gets an apostrophe before
    it, which such programs do not show (OWASP, CSV Injection). A text that is a number, such as -0.5, or a lone sign is
    none.
    """
    safe = frame.copy()
    safe.columns = pd.Index([_harmless(name) for name in frame.columns], dtype=object)
    for place, kind in enumerate(frame.dtypes):
        if not is_numeric_dtype(kind):
            safe.isetitem(place, [_harmless(value) for value in frame.iloc[:, place].astype(object)])
    return safe.to_csv(index=False).encode("utf-8", "backslashreplace")


_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def _harmless(value: object) -> object:
    if not isinstance(value, str):
        return value
    # A cell with a line feed is quoted, one with a carriage return is not, and would end its row.
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.startswith(_FORMULA) and text not in ("+", "-") and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
