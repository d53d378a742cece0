"""Hostile names of studies, folders, data, labels, --only and --set: no file outside the results folder, no traceback.

    python -m tests.breaking.hostile_names --count 2000 --seed 0

A case is a command in a folder of its own, <top>/work, with results to go to <top>/work/results or to a hostile --out. The
plan is really written; training is left out but for every `--trains`-th case. Then every path under <top> is looked at.
The control writes the same names with Python's own open.
"""

import argparse
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from analysis.claims.__main__ import main as claims_main
from analysis.report.__main__ import main as report_main
from study.commands import run as cli
from study.drive import driver
from study.drive.lease import hold
from study.plan.planning import settle
from tests.breaking import victim
from workers.store.keys import FOLDERS

PIECES = [
    *(
        "..",
        "../..",
        "../../x",
        "/",
        "//",
        "/x",
        "a/b",
        "a\\b",
        ".",
        "",
        " ",
        "  x",
        "x ",
        "~",
        "~/x",
        "~root/x",
        "$HOME",
        "`id`",
        "$(id)",
    ),
    *(
        "\0",
        "a\0b",
        "\n",
        "a\nb",
        "\r",
        "\t",
        "\x1b[2J",
        "\x7f",
        "\x85",
        "\u2028",
        "\u202egnp",
        "\ufeff",
        "\u200b",
        "\ud800",
        "\udc80",
    ),
    *(
        "x" * 64,
        "x" * 65,
        "x" * 300,
        "x/" * 3000,
        "é",
        "\u0435",
        "\uff58",
        "\uff0e\uff0e",
        "\u2025",
        "\u2215",
        "\u2044",
        "%2e%2e%2f",
        "..%2f",
        "..\\",
        "C:\\x",
    ),
    *(
        "CON",
        "nul",
        "aux.txt",
        "COM1",
        "x.",
        "x:y",
        "x|y",
        "x?",
        "x*",
        "<x>",
        '"x"',
        "'x'",
        "-x",
        "--out",
        "x;y",
        "file:///etc",
        "s3://b/x",
    ),
    *(
        "http://h/x",
        "\\\\h\\x",
        "quickstart",
        "ok",
        "a-b_c",
        "1",
        "null",
        "true",
        "[x]",
        "{x}",
        "&a",
        "*a",
        "!x",
        "# x",
        "x: y",
        "k=1",
        "k=",
        "=1",
    ),
    *("seed=0", "k=1e999", "k=[1", "training.epochs=1", "run.out=/dev/null", "data.path=../x", "data.root=..", "measure.=1"),
    *(
        ".=1",
        "..=1",
        "k.k=1",
        "study=../x",
        "study=ok",
        "factors.k=1",
        "data={}",
        "data.name=npz",
        "exclude=[{k: 1}]",
        "n_z=" + "9" * 400,
    ),
]


def hostile(draw: random.Random) -> str:
    kind = draw.randrange(4)
    if kind < 2:
        return draw.choice(PIECES)
    if kind == 2:
        return draw.choice(("", "/", "-", "=")).join(draw.choices(PIECES, k=draw.randint(2, 4)))
    return "".join(
        chr(draw.choice((draw.randrange(0x80), draw.randrange(0x3000), draw.randrange(0x110000)))) for _ in range(8)
    )


def named_folder(draw: random.Random) -> str:
    """A hostile results folder. Where it lies is the user's own choice; here it lies below work."""
    return f"results/{hostile(draw).replace('..', 'dots').lstrip('/')}"


def quoted(text: str) -> str:
    """A text as YAML's double-quoted form, with every odd character as an escape."""
    return '"' + "".join(c if c.isalnum() and c.isascii() else f"\\U{ord(c):08x}" for c in text) + '"'


def in_grid(draw: random.Random, work: Path) -> tuple[Callable, list[str]]:
    name = hostile(draw)
    text = victim.GRID.replace("study: victim", f"study: {quoted(name) if draw.random() < 0.7 else name}")
    for key in draw.sample(("data.root", "data.path", "run.out"), k=draw.randrange(2)):
        room, _, leaf = key.partition(".")
        text = text.replace(
            f"{room}: {{", f"{room}: {{{leaf}: {quoted((named_folder if leaf == 'out' else hostile)(draw))}, "
        )
    (work / "grid.yaml").write_text(text, encoding="utf-8", errors="replace")
    return cli.main, ["grid.yaml"]


def on_the_line(draw: random.Random, work: Path) -> tuple[Callable, list[str]]:
    (work / "grid.yaml").write_text(victim.GRID)
    option = draw.choice(("--set", "--only", "--set", "grid"))
    if option == "grid":
        return cli.main, [hostile(draw)]
    name = draw.choice(("study", "run.out", "data.path", "data.root", "k", "data.classes", "model.hidden", ""))
    text = f"{name}={(named_folder if name == 'run.out' else hostile)(draw)}" if name else hostile(draw)
    return cli.main, ["grid.yaml", f"{option}={text}", *(["--smoke"] if draw.random() < 0.2 else [])]


def out_folder(draw: random.Random, work: Path) -> tuple[Callable, list[str]]:
    """A folder that the user names is the results folder."""
    (work / "grid.yaml").write_text(victim.GRID)
    return cli.main, ["grid.yaml", f"--out={named_folder(draw)}"]


def links(draw: random.Random, work: Path) -> tuple[Callable, list[str]]:
    """Links in the results folder that lead out of it."""
    (work / "grid.yaml").write_text(victim.GRID)
    outside = work.parent / "outside"
    outside.mkdir()
    study = work / "results" / "victim"
    if draw.random() < 0.2:
        study.parent.mkdir(parents=True)
        study.symlink_to(outside)
    else:
        study.mkdir(parents=True)
        for name in draw.sample(FOLDERS, k=draw.randint(1, 6)):
            target = (outside / name, Path("../../../outside"), Path("/nonexistent") / name)[draw.randrange(3)]
            (study / name).symlink_to(target)
    return cli.main, ["grid.yaml"]


def reading(draw: random.Random, work: Path) -> tuple[Callable, list[str]]:
    """Commands that read a study under a hostile name, or a file of labels or claims."""
    kind = draw.randrange(4)
    if kind == 0:
        return draw.choice((report_main, claims_main)), ["--", hostile(draw)]
    study = os.environ["VICTIM"]
    if kind == 1:
        return report_main, [f"--labels={hostile(draw)}", "--figure=spectrum", study]
    if kind == 2:
        return claims_main, [f"--claims={hostile(draw)}", study]
    labels = work / "labels.yaml"
    name = draw.choice(("k", "seed", hostile(draw)))
    labels.write_text(
        f"factors: {{{quoted(name)}: {hostile(draw)}}}\nlevels: {{k: {{1: {quoted(hostile(draw))}}}}}", errors="replace"
    )
    return report_main, [f"--labels={labels}", "--figure=none such", study]


KINDS = (in_grid, on_the_line, out_folder, links, reading)


def only_plan(request, executor, **options):
    """What `drive` does before it trains: a lease is taken, and the plan is written."""
    with hold(request.store, "ab", options["say"]):
        settle(request, {})
    return driver.Ending(request.store.url, len(request.wanted), 0, (), (), (), 0)


def paths_below(top: Path) -> set[str]:
    """Every path below a folder, links not followed."""
    return {os.path.join(folder, name) for folder, folders, files in os.walk(top) for name in (*folders, *files)}


def strays(top: Path, before: set[str]) -> list[str]:
    """What is new and lies outside of the results folder, in truth."""
    results = os.path.realpath(top / "work" / "results")
    new = sorted(paths_below(top) - before)
    return [path for path in new if not f"{os.path.realpath(path)}{os.sep}".startswith(results + os.sep)]


def case(number: int, draw: random.Random, top: Path, trains: int) -> tuple[str, list[str]]:
    """The kind of a case and what is wrong with how it ended."""
    work = top / "work"
    work.mkdir(parents=True)
    kind = draw.choice(KINDS)
    main, arguments = kind(draw, work)
    if main is cli.main:
        arguments = [*arguments, "--executor", "inline"]
    os.chdir(work)
    before = paths_below(top)
    real = driver.drive

    def drive(request, *words, **options):
        # Else this script itself would write where it must not.
        assert Path(request.store.url).resolve().is_relative_to(top.resolve()), f"results would go to {request.store.url}"
        return (real if number % trains == 0 else only_plan)(request, *words, **options)

    driver.drive = drive
    try:
        code, text = victim.said(main, arguments)
    except Exception as error:  # what this script looks for
        return kind.__name__, [f"traceback: {type(error).__name__}: {str(error)[:150]} of {arguments!r:.200}"]
    finally:
        driver.drive = real
    wrong = [] if code in (0, 1, 2, 3) else [f"exit {code}"]
    if code and not text.strip():
        wrong.append("silence")
    if "Traceback" in text:
        wrong.append(f"a traceback is shown: {text[-200:]}")
    return kind.__name__, wrong + [f"outside: {path!r:.200} by {arguments!r:.200}" for path in strays(top, before)]


def naive(draw: random.Random, top: Path) -> int:
    """The control: a program that makes a folder a study's name says; 1 if it is outside, or an exception."""
    results = top / "naive" / "results"
    results.mkdir(parents=True, exist_ok=True)
    try:
        target = results / hostile(draw)
        return int(not os.path.realpath(target).startswith(str(results)))
    except (ValueError, OSError):
        return 1


def run(made: Path, count: int, seed: int, folder: Path, trains: int) -> tuple[Counter, list[str], int]:
    draw = random.Random(seed)
    os.environ["VICTIM"] = str(made)
    tally, wrong, outside = Counter(), [], 0
    here = Path.cwd()
    try:
        for number in range(count):
            kind, complaints = case(number, draw, folder / f"case{number}", trains)
            tally[kind] += 1
            wrong += [f"case {number}, {kind}: {words}" for words in complaints]
            outside += naive(draw, folder)
    finally:
        os.chdir(here)
        del os.environ["VICTIM"]
    return tally, wrong, outside


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trains", type=int, default=50, help="every such case may also train")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        tally, wrong, outside = run(victim.make(Path(folder) / "made"), asked.count, asked.seed, Path(folder), asked.trains)
    kinds = ", ".join(f"{name} {count}" for name, count in sorted(tally.items()))
    print(
        f"{asked.count} hostile names ({kinds}): {len(wrong)} wrong; joined to a path as they are, {outside} lead out of the folder"
    )
    for line in wrong[:20]:
        print(line.encode("ascii", "backslashreplace").decode())
    return int(bool(wrong) or not outside)


if __name__ == "__main__":
    sys.exit(main())
