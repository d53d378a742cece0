"""`study doctor`: print one line per check: ok, or what is wrong and what to do about it."""

import argparse
from collections.abc import Iterator

from study.doctor.check import Check
from study.doctor.data_checks import check_data
from study.doctor.machine_checks import (
    check_device,
    check_sockets,
    check_space,
    check_store,
    check_token,
    check_versions,
)
from study.doctor.stored_files import Examined, Fault, examine
from study.forecast.amounts import in_bytes
from study.grid.grid import Grid, read_grid
from study.status.found_study import Found, find_study
from workers.contract.errors import say
from workers.contract.user_paths import cache_note, expanded

BAD_SETUP, DAMAGED = 2, 3

_SHOWN = 20


def add_words(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `study doctor`."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="also check every file of this study")
    parser.add_argument(
        "--data", metavar="GRID", help="also check the data sets and the space that this grid file needs, and draw the data"
    )


def carry_out(words: argparse.Namespace) -> int:
    """Print every check as it is made."""
    out = expanded(words.out)
    found = find_study(words.name, out) if words.name else None
    grid = read_grid(words.data) if words.data else None
    code = 0
    for check in _checks(out, found, grid):
        say(f"{'ok     ' if check.code == 0 else 'problem'}  {check.text}")
        code = max(code, check.code)
    return code


def _checks(out: str, found: Found | None, grid: Grid | None) -> Iterator[Check]:
    yield check_versions()
    yield check_device(grid)
    yield from check_store(_out_of(found) if found else out)
    if grid:
        yield check_space(grid, out)
        yield from check_data(grid)
    yield from check_sockets()
    yield check_token()
    if note := cache_note():
        yield Check(0, f"caches: {note.removeprefix('note: ')}")
    if found:
        yield from _files(found)


def _out_of(found: Found) -> str:
    return found.url.rpartition("/")[0] if found.is_in_bucket else str(found.folder.parent)


def _files(found: Found) -> Iterator[Check]:
    seen = examine(found.store)
    what = ", ".join(f"{count} in {folder}" for folder, count in seen.files.items()) or "none"
    if not seen.faults:
        yield Check(0, f"study {found.name}: every file is intact ({what}); {seen.rows:,} rows, no duplicates, no gaps")
    for fault in seen.faults[:_SHOWN]:
        yield _told(found, fault)
    if len(seen.faults) > _SHOWN:
        code = max(DAMAGED if fault.is_damage else BAD_SETUP for fault in seen.faults)
        yield Check(code, f"and {len(seen.faults) - _SHOWN} more problems")
    if seen.left_over:
        yield Check(0, _left_over(found, seen))


def _told(found: Found, fault: Fault) -> Check:
    return Check(DAMAGED if fault.is_damage else BAD_SETUP, f"{found.url}/{fault.key}: {fault.text}; {fault.next_step}")


def _left_over(found: Found, seen: Examined) -> str:
    size = sum((found.folder / path).lstat().st_size for path in seen.left_over if (found.folder / path).exists())
    return (
        f"{len(seen.left_over)} hidden files of interrupted writes, {in_bytes(size)}, the first {seen.left_over[0]}; "
        "no reader sees them, and you can delete them while nobody is running the study"
    )
