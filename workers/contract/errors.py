"""The errors that a user can act on, the exit code of each, and the function in which every command ends."""

import errno
import os
import sys
from collections.abc import Callable
from typing import ClassVar

DONE, INCOMPLETE, BAD_INPUT, DAMAGED, CONFLICT, INTERRUPTED = 0, 1, 2, 3, 4, 130
"""Exit codes of every command. INCOMPLETE: the command did its work, but trials diverged, failed or are missing."""


class UserError(ValueError):
    """The base of every error that is reported to the user in one sentence: what happened, where, and what to do."""

    exit_code: ClassVar[int] = BAD_INPUT


class CommandError(UserError):
    """A command cannot be carried out."""


class StoreError(UserError):
    """A results folder or bucket cannot be used."""


class FolderGoneError(OSError, UserError):
    """The folder of a study is no longer where it was: it was removed, renamed or replaced while a command used it.

    It is an OSError so that it is handled like a failing disk, except that trying again cannot help.
    """

    def __init__(self, url: str) -> None:
        """Name the folder."""
        super().__init__(errno.ESTALE, "the study's folder is gone", url)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (str(self.filename),)

    def __str__(self) -> str:
        return printable(
            f"{self.filename}: the study's folder is gone: it was removed, renamed or replaced while this was running; "
            "nothing more is stored, and the folder is not made again; if you still want the study, run its grid file again"
        )


class DataError(UserError):
    """A data set cannot be used."""


class DamagedDataError(DataError):
    """A data file exists, but its content is not what it should be; the message names it."""

    exit_code = DAMAGED


class RecordError(UserError):
    """A stored file is damaged, or is of a kind that this version cannot read; `path` names it."""

    exit_code = DAMAGED

    def __init__(self, path: str, problem: str, next_step: str) -> None:
        """Name the file, what is wrong with it, and what to do."""
        self.path, self.problem, self.next_step = path, problem, next_step
        super().__init__(printable(f"{path}: {problem}; {next_step}"))


class VersionError(RecordError):
    """A stored file is intact, but was written by a version with another schema."""

    exit_code = BAD_INPUT


class ConflictError(UserError):
    """Two runs of the same epochs on the same device and versions stored different numbers; `key` names the file."""

    exit_code = CONFLICT

    def __init__(self, key: str) -> None:
        """Name the file and what to do."""
        self.key = key
        super().__init__(
            f"{key}: contains other numbers than this run computed on the same type of device with the same versions; "
            "to keep both results, run the study into another --out folder, then compare them"
        )


class PackClosedError(RuntimeError):
    """The pack that this worker trains was closed; its trials continue in other packs. It is never shown to the user."""


def printable(text: str) -> str:
    """Return the text as one line without characters that a terminal would interpret."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def one_line(text: str) -> str:
    """Return the text as one printable line, in which any white space, also a new line, is a single space."""
    return printable(" ".join(text.split()))


def printable_lines(text: str) -> str:
    """Return the text with its lines and tabs, and without any other character that a terminal would interpret."""
    return "\n".join("\t".join(printable(part) for part in line.split("\t")) for line in text.split("\n"))


def say(text: str) -> None:
    """Print lines for the user on stdout.

    Every command prints with this function: names, reasons and hosts come out of files that somebody else may have written,
    and their escape codes would act on the terminal.
    """
    print(printable_lines(text), flush=True)


def damaged(path: str, problem: str) -> RecordError:
    """Return the error for a file whose content is not what was written."""
    return RecordError(path, f"damaged: {problem}", "restore it from a copy, or move it away and run the study again")


def unreadable(path: str, error: OSError) -> RecordError:
    """Return the error for a file that is there and cannot be read."""
    return RecordError(
        path, f"cannot be read ({error.strerror})", "check the disk and the permissions, or restore it from a copy"
    )


def exit_code_of(work: Callable[[], int], interrupted: str = "interrupted") -> int:
    """Carry out a command and return its exit code; every failure is reported in one sentence.

    Args:
        work: the command, which returns its exit code.
        interrupted: the sentence that is printed after Ctrl-C.
    """
    try:
        return work()
    except KeyboardInterrupt:
        report_error(interrupted)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output, such as `| head`, closed it; without this the interpreter would report that at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return INTERRUPTED
    except UserError as error:
        report_error("; ".join([str(error), *getattr(error, "__notes__", [])]))
        return error.exit_code
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        reason = f"cannot be read or written ({error.strerror or error})"
        report_error(printable(f"{where}{reason}; check the disk, its free space and the permissions"))
        return BAD_INPUT


def report_error(sentence: str) -> None:
    """Print a sentence for the user on stderr."""
    # Imported late, because many modules import this one only for its errors.
    from rich.console import Console

    Console(stderr=True, soft_wrap=True, emoji=False).print(
        printable_lines(sentence), markup=False, highlight=False, style="red"
    )
