"""`study status`: show how far a study has come, who drives it, how large it is, and what to do next."""

import argparse
from pathlib import Path

from study.drive.lease import Holder, glance, sentence
from study.forecast.amounts import counted, in_bytes, moment
from study.status.found_study import Found, find_study, sizes, sizes_in_bucket
from study.status.standing import LOST, Standing, standing
from workers.contract.errors import say
from workers.contract.user_paths import quoted
from workers.store.bucket import BucketStore


def add_words(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `study status`."""
    parser.add_argument("name", metavar="NAME", help="a study's name, the path of its folder, or s3://bucket/prefix/name")
    parser.add_argument("--packs", action="store_true", help="also print one line per pack with its last border")


def carry_out(words: argparse.Namespace) -> int:
    """Print how far a study has come."""
    found = find_study(words.name, words.out)
    now = standing(found.store)
    driver = glance(found.store, say)
    for line in lines_of(found, now, driver, words.packs):
        say(line)
    return 0


def lines_of(found: Found, now: Standing, driver: Holder | None, with_packs: bool) -> list[str]:
    """Return the lines that `study status` prints."""
    is_driven = driver is not None and driver.alive
    lines = [
        f"study {found.name} in {found.url}",
        f"trials   {len(now.status_of)}: {_counts(now, is_driven)}",
        f"epochs   {_epochs(now)}",
        f"run by   {_driver(driver)}",
        f"disk     {_disk(found)}",
    ]
    if with_packs:
        lines += [_pack(pack.pack.pack_id, len(pack.pack.trials), pack.last_border, pack.pack.epochs) for pack in now.packs]
    lines += [f"unreadable: {key}; study doctor {quoted(found.url)} gives the reason" for key in now.unreadable]
    lines += [f"lost: {sentence}" for sentence in now.lost]
    return [*lines, f"next     {next_command(found, now, is_driven)}"]


def _counts(now: Standing, is_driven: bool) -> str:
    begun = "running" if is_driven else "begun"
    counts = [
        f"{now.count('completed')} completed",
        f"{now.count('begun')} {begun}",
        f"{now.count('to do')} to do",
        f"{now.count('diverged')} diverged",
        f"{now.count('failed')} failed",
    ]
    if lost := now.count(LOST):
        counts.append(f"{lost} ended with lost rows")
    return ", ".join(counts)


def _epochs(now: Standing) -> str:
    if now.newest is None:
        return "no rows stored yet"
    most = "up to " if now.rows_at_most else ""
    return f"{most}{now.rows:,} rows (one per trial and epoch) stored, the newest at {moment(now.newest)}"


def _driver(driver: Holder | None) -> str:
    if driver is None:
        return "nobody"
    if driver.alive:
        return sentence(driver)
    if driver.is_here:
        return f"nobody; the last driver ended without notice ({sentence(driver)})"
    return f"nobody, as it seems; the last driver is silent ({sentence(driver)})"


def _disk(found: Found) -> str:
    size_of = sizes_in_bucket(found.store) if isinstance(found.store, BucketStore) else sizes(found.folder)
    parts = [
        f"{name} {in_bytes(size)} in {count} file{'s' if count != 1 else ''}" for name, (count, size) in size_of.items()
    ]
    return f"{in_bytes(sum(size for _, size in size_of.values()))}: {', '.join(parts)}"


def _pack(pack_id: str, trials: int, last: int | None, epochs: int) -> str:
    border = "no border yet" if last is None else f"last border {last}"
    return f"  pack {pack_id}, {counted(trials, 'trial')}: {border} of {epochs} epochs"


def next_command(found: Found, now: Standing, is_driven: bool) -> str:
    """Return the command that a user most likely wants now, with the reason for it."""
    if is_driven:
        return f"wait, or stop it without losing what it has trained: study stop {quoted(found.url)}"
    if now.lost:
        return f"see everything that is lost, and restore it from a copy: study doctor {quoted(found.url)}"
    if now.count("begun") or now.count("to do"):
        return f"continue: {_run_command(found, now)}"
    return f"all trials have ended: python -m analysis.report {quoted(found.url)}"


def _run_command(found: Found, now: Standing) -> str:
    text = str(now.plan.footers[-1].get("grid", "")) if now.plan.footers else ""
    here = [path for pattern in ("*.y*ml", "grids/*.y*ml") for path in sorted(Path().glob(pattern))]
    grid = next((quoted(path) for path in here if _has_text(path, text)), "GRID")
    smoke = " --smoke" if found.name.endswith("-smoke") else ""
    unknown = "  (GRID: the grid file that it was started with)" if grid == "GRID" else ""
    out = found.url.rpartition("/")[0] if found.is_in_bucket else found.folder.parent
    return f"study run {grid}{smoke} --out {quoted(out)}{unknown}"


def _has_text(path: Path, text: str) -> bool:
    try:
        # The current folder may hold anything: a file of another size is not read.
        return path.stat().st_size == len(text.encode()) and path.is_file() and path.read_bytes() == text.encode()
    except OSError:
        return False
