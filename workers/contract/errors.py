"""The errors that a user can act on, the exit code of each, and the function in which every command ends."""

import codecs
import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from typing import Any, ClassVar, TextIO, cast

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


def reason_of(error: OSError) -> str:
    """Return why the system refused something; `error.filename`, if there is one, says what it is about."""
    return error.strerror or str(error) or type(error).__name__


def unreadable(path: str, error: OSError) -> RecordError:
    """Return the error for a file that is there and cannot be read."""
    return RecordError(
        path, f"cannot be read ({reason_of(error)})", "check the disk and the permissions, or restore it from a copy"
    )


def exit_code_of(work: Callable[[], int], interrupted: str = "interrupted", *, needs_output: bool = True) -> int:
    """Carry out a command and return its exit code; every failure is reported in one sentence.

    Args:
        work: the command, which returns its exit code.
        interrupted: the sentence that is printed after Ctrl-C.
        needs_output: whether the command is for what it prints; see lasting_output.
    """
    with lasting_output(needs_output=needs_output):
        try:
            return work()
        except KeyboardInterrupt:
            report_error(interrupted)
            return INTERRUPTED
        except BrokenPipeError:
            # The reader of our output, such as `| head`, closed it.
            return INTERRUPTED
        except UserError as error:
            report_error("; ".join([str(error), *getattr(error, "__notes__", [])]))
            return error.exit_code
        except OSError as error:
            report_error(printable(_refused(error)))
            return BAD_INPUT


def _refused(error: OSError) -> str:
    if error.filename is None:
        return f"the system refused a request of this command ({reason_of(error)}); no file is named"
    name = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
    return f"{name}: cannot be read or written ({reason_of(error)}); check the disk, its free space and the permissions"


def report_error(sentence: str) -> None:
    """Print a sentence for the user on stderr."""
    # Imported late, because many modules import this one only for its errors.
    from rich.console import Console

    Console(stderr=True, soft_wrap=True, emoji=False).print(
        printable_lines(sentence), markup=False, highlight=False, style="red"
    )


@contextmanager
def lasting_output(*, needs_output: bool) -> Iterator[None]:
    """Make stdout and stderr take every text, whether they are closed, on a full disk, or cannot encode it.

    Characters that a stream cannot encode are replaced by question marks. When nobody reads stdout any more, or it cannot be
    written, a command that trains or writes files continues without it; one that is for its output ends.

    Args:
        needs_output: whether the command is for what it prints, and not for what it stores.

    Raises:
        BrokenPipeError: stdout was closed by its reader, and the output is needed.
        CommandError: stdout cannot be written, and the output is needed.
    """
    _occupy_streams()
    before = sys.stdout, sys.stderr
    sys.stdout = cast(TextIO, _Output(before[0], needs_output))
    sys.stderr = cast(TextIO, _Output(before[1], False))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _occupy_streams() -> None:
    """Put the null device where a standard stream is closed, so that no file that is opened later takes its place."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is not None:
            continue
        try:
            os.fstat(number)
        except OSError:
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            os.set_inheritable(number, True)
        setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  it lasts as long as the process


class _Output:
    """A text stream whose writing never fails because of a character, and because of the system only if it is needed."""

    def __init__(self, stream: TextIO, is_needed: bool) -> None:
        self._stream, self._is_needed = stream, is_needed
        with suppress(AttributeError, LookupError, TypeError):
            if codecs.lookup(stream.encoding).name != "utf-8":
                stream.reconfigure(errors="replace")  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        # What is buffered goes there too, so that the interpreter does not fail on it when it ends.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)
        if not self._is_needed:
            if not isinstance(error, BrokenPipeError):
                report_error(f"note: the output cannot be written ({reason_of(error)}); the command continues without it")
        elif isinstance(error, BrokenPipeError):
            raise error
        else:
            raise CommandError(
                f"stdout cannot be written ({reason_of(error)}); free some space, or print elsewhere"
            ) from error


def close_to(text: str, words: Iterable[str]) -> str:
    """Return a question that names the word that a user may have meant; an empty text if none is near."""
    found = get_close_matches(text, list(words), n=1, cutoff=0.6)
    return f"did you mean {found[0]}?" if found else ""
