"""Describe what went wrong with a pack in words that a user can act on."""

import errno
import traceback
from dataclasses import dataclass

from workers.contract.errors import ConflictError, DamagedDataError, DataError, FolderGoneError, RecordError

WORTH_RETRYING = ("error", "store")
"""Kinds of failure that may not happen again when the pack is retried."""

_FULL = (errno.ENOSPC, errno.EDQUOT)

_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "alloc_failed")

_DEVICE_FAULT = ("CUDA error", "cuDNN error", "CUBLAS_STATUS", "CUDNN_STATUS")


@dataclass(frozen=True)
class Failure:
    """Why a pack ended before it was done."""

    kind: str
    """memory | full | store | gone | data | damaged_data | damaged | conflict | device | error | death | closed"""
    sentence: str
    details: str
    """The traceback, for anyone who looks for the fault."""


def failure_of(error: BaseException) -> Failure:
    """Return the failure that an exception raised by a pack stands for."""
    kind = _kind(error)
    text = f"{type(error).__name__}: {error}"
    sentence = {
        "memory": f"out of memory ({_first_line(text)})",
        "full": f"the disk of the results is full ({_first_line(str(error))}); "
        "free some space, then run the same command again to continue",
        "store": f"the results cannot be read or written ({_first_line(str(error))}); "
        "fix this, then run the same command again to continue",
    }.get(kind, str(error) if kind in ("gone", "data", "damaged_data", "damaged", "conflict") else _first_line(text))
    return Failure(kind, sentence, "".join(traceback.format_exception(error)))


def death(reason: str) -> Failure:
    """Return the failure of a pack whose process died repeatedly without raising an exception."""
    return Failure("death", f"its worker process died ({_first_line(reason)})", reason)


def _kind(error: BaseException) -> str:
    # torch.OutOfMemoryError is recognised by its name, so that this file does not need torch.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "memory"
    for kinds, kind in (
        (FolderGoneError, "gone"),
        (DamagedDataError, "damaged_data"),
        (DataError, "data"),
        (RecordError, "damaged"),
        (ConflictError, "conflict"),
    ):
        if isinstance(error, kinds):
            return kind
    if isinstance(error, OSError):
        return "full" if error.errno in _FULL else "store"
    if isinstance(error, RuntimeError):
        text = str(error).lower()
        if any(words in text for words in _NO_MEMORY):
            return "memory"
        if any(words.lower() in text for words in _DEVICE_FAULT):
            return "device"
    return "error"


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
