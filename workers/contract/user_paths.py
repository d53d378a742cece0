"""What a path means that a user has written, how it is written for a shell, and which folder holds this user's caches."""

import os
import shlex
import sys
import tempfile
from functools import cache
from pathlib import Path

from workers.contract.errors import CommandError

CACHES = "factorial-iwae"


def expanded(path: str | Path) -> str:
    """Return a path in which `~` or `~user` at the beginning stands for a home folder; other texts are returned as they are.

    Raises:
        CommandError: there is no such home folder.
    """
    text = str(path)
    if not text.startswith("~"):
        return text
    who, slash, rest = text.partition("/")
    home = home_folder() if who == "~" else os.path.expanduser(who)
    if home is None or home == who:
        reason = "the home folder is not known (HOME is not set)" if who == "~" else f"there is no user {who[1:]!r}"
        raise CommandError(f"{text}: {reason}; write the whole path, or ./{text} for a name that begins with ~")
    return f"{home.rstrip('/')}{slash}{rest}" or "/"


def home_folder() -> str | None:
    """Return this user's home folder; None if neither HOME nor the system's list of users names one."""
    home = os.environ["HOME"] if "HOME" in os.environ else os.path.expanduser("~")
    return home if os.path.isabs(home) else None


def quoted(path: str | Path) -> str:
    """Return a path as a word of a command that a user can paste into a shell."""
    text = str(path)
    # A word that begins with a hyphen would be taken for an option.
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def cache_folder() -> Path:
    """Return the folder for fetched data sets and calibrations, which may not exist yet.

    It lies in XDG_CACHE_HOME if that is an absolute path, else in ~/.cache, else in the folder for temporary files.
    """
    lasting = _lasting_caches()
    return lasting / CACHES if lasting else _temporary(tempfile.gettempdir(), os.getuid())


def cache_note() -> str:
    """Return a line that tells where caches are kept if there is no lasting place for them; empty if there is one."""
    if _lasting_caches() is not None:
        return ""
    home = home_folder()
    reason = "the home folder is not known" if home is None else f"nothing can be written below {home}"
    return f"note: {reason}, so caches are kept in {cache_folder()}; set XDG_CACHE_HOME to a folder that lasts"


def _lasting_caches() -> Path | None:
    # The XDG specification says that a relative path is to be ignored.
    given = Path(os.environ.get("XDG_CACHE_HOME") or "")
    if given.is_absolute():
        return given
    home = home_folder()
    if home is None:
        return None
    caches = Path(home, ".cache")
    # Anyone who has no right to write there may still read what somebody has put there.
    return caches if (caches / CACHES).is_dir() or can_be_written(caches / CACHES) else None


def can_be_written(folder: Path) -> bool:
    """Return whether files can be created in a folder, which is itself created if necessary."""
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists())
    except OSError:
        return False
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


@cache
def _temporary(folder: str, user: int) -> Path:
    path = Path(folder, f"{CACHES}-{user}")
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        about = path.lstat()
        # Everybody can make a folder of this name there first.
        if path.is_symlink() or about.st_uid != user or about.st_mode & 0o022:
            raise FileExistsError
    except OSError:
        return Path(tempfile.mkdtemp(prefix=f"{CACHES}-"))
    return path


def give_matplotlib_a_folder() -> None:
    """Name a folder for matplotlib's own files where it would find none and print a warning."""
    if os.environ.get("MPLCONFIGDIR"):
        return
    home = home_folder()
    if sys.platform == "darwin":
        folders = [home and Path(home, ".matplotlib")]
    else:
        folders = [
            Path(given, "matplotlib") if given else home and Path(home, hidden, "matplotlib")
            for given, hidden in ((os.environ.get(f"XDG_{kind}_HOME"), f".{kind.lower()}") for kind in ("CONFIG", "CACHE"))
        ]
    if not all(isinstance(folder, Path) and can_be_written(folder) for folder in folders):
        os.environ["MPLCONFIGDIR"] = str(cache_folder() / "matplotlib")
