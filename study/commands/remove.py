"""`study rm`: remove a study's folder; a half-removed study no longer counts as a study."""

import argparse
import os
import re
import secrets
import shutil
import sys
from pathlib import Path

from study.drive.lease import Holder, Watch, sentence, silence
from study.forecast.amounts import counted, in_bytes
from study.status.found_study import Found, find_study, folders_named, sizes
from workers.contract.errors import CommandError, RecordError, say
from workers.contract.user_paths import quoted
from workers.store.plan_log import read_plan


def add_words(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `study rm`."""
    parser.add_argument("name", metavar="NAME", help="a study's name, or the path of its folder")
    parser.add_argument("--yes", action="store_true", help="remove it without asking")


def carry_out(words: argparse.Namespace) -> int:
    """Print what would be removed, ask, and remove it."""
    try:
        found = find_study(words.name, words.out)
    except CommandError:
        # The study itself is gone, so `..` in its path can lead nowhere any more.
        named = [Path(os.path.normpath(folder)) for folder in folders_named(words.name, words.out)]
        if not (left := [each for folder in dict.fromkeys(named) for each in left_over(folder)]):
            raise
        for folder in left:
            _delete(folder)
            say(f"removed {folder}, left by an interrupted removal")
        return 0
    watch = Watch(found.store)
    silent = _refuse(found, watch)
    for line in _what_goes(found, silent, watch.silent_after_s):
        say(line)
    if not words.yes:
        if not sys.stdin.isatty():
            raise CommandError(f"study rm {words.name}: cannot ask without a terminal; add --yes to remove it")
        if input(f"remove study {found.name}? type its name: ").strip() != found.name:
            say("nothing was removed")
            return 0
        # Somebody may have started it while the question was waiting, or a driver that slept may have gone on.
        _refuse(found, watch)
    remove(found.folder)
    say(f"study {found.name} was removed")
    return 0


def remove(folder: Path) -> None:
    """Remove a study's folder: first rename it in one step, then delete its files.

    An interrupted removal leaves a hidden folder, which no command takes for a study and the next removal deletes.

    Raises:
        OSError: the folder that holds the study is not writable.
    """
    for left in left_over(folder):
        _delete(left)
    hidden = folder.parent / f".{folder.name}.removed-{secrets.token_hex(4)}"
    os.rename(folder, hidden)
    _delete(hidden)


def left_over(folder: Path) -> list[Path]:
    """Return the hidden folders that interrupted removals of this folder have left."""
    pattern = re.compile(rf"\.{re.escape(folder.name)}\.removed-[0-9a-f]{{8}}")
    try:
        return sorted(path for path in folder.parent.iterdir() if pattern.fullmatch(path.name) and not path.is_symlink())
    except OSError:
        return []


def _delete(folder: Path) -> None:
    # Removes links themselves, never what they lead to.
    shutil.rmtree(folder)


def _refuse(found: Found, watch: Watch) -> Holder | None:
    """Refuse a study that is a link, or that somebody may be running; return a driver that is gone, if it left a lease."""
    if found.folder.is_symlink():
        raise CommandError(
            f"{found.folder}: is a symbolic link to {found.folder.resolve()}; name that folder, then remove the link"
        )
    driver = watch.holder(say)
    if driver is not None and driver.alive:
        raise CommandError(
            f"study {found.name} is running ({sentence(driver)}); stop it first with study stop "
            f"{quoted(found.folder)} and wait until it has ended"
        )
    return driver


def _what_goes(found: Found, driver: Holder | None, watched_s: float) -> list[str]:
    try:
        trials = counted(len(read_plan(found.store).trials), "trial")
    except RecordError:
        trials = "a damaged plan"
    parts = sizes(found.folder)
    files, size = sum(count for count, _ in parts.values()), sum(size for _, size in parts.values())
    lines = [f"  {name}: {count} file{'s' if count != 1 else ''}, {in_bytes(each)}" for name, (count, each) in parts.items()]
    runs = "nobody is running it" if driver is None or driver.is_here else silence(driver, watched_s)
    return [f"{found.folder.resolve()}: {trials}, {files} files, {in_bytes(size)}; {runs}", *lines]
