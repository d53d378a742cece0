"""Mutate grid files and plan them: no traceback, exit 0 or 2, a place in every complaint, and no file that takes long.

    python -m tests.breaking.mutated_grids --count 10000 --seed 0

A plan may take half a second of processor time, and half a millisecond a trial beyond that. The control counts the same
files that PyYAML's own loader and a plain look-up of keys would have answered with an exception.
"""

import argparse
import random
import re
import sys
import tempfile
import time
from collections import Counter
from functools import cache
from pathlib import Path

import yaml

from study.commands import run as cli
from tests import ROOT
from tests.breaking import victim

SEEDS = [ROOT / "grid.yaml", *sorted((ROOT / "grids").glob("*.yaml"))]
LOOPS, LOOPS_A_TRIAL = 16.0, 0.015
"""What an answer may take, in standard loops: seconds would measure the machine, and machines are shared and differ."""

VALUES = [
    *(
        "",
        "~",
        "null",
        "true",
        "yes",
        "on",
        "[]",
        "{}",
        "[[]]",
        "[{}]",
        "0",
        "-1",
        "1.5",
        ".5",
        "-0.0",
        "1e3",
        "1e999",
        ".inf",
    ),
    *(".nan", "0x10", "0o17", "010", "1_000", "2001-01-01", "12:30:45", "1" * 39, "1" * 5000, "-" + "9" * 400, "1e-400"),
    *(
        "!!python/object/apply:os.system ['true']",
        "!!binary aGk=",
        "!x y",
        "&a [1]",
        "*a",
        "<<: *a",
        "&a {b: *a}",
        "? x",
        "- - -",
    ),
    *(
        "|",
        ">",
        "|\n  text\n",
        '"\\0"',
        '"\\ud800"',
        '"\\x1b[31m"',
        "'it''s'",
        '"',
        "'",
        "\u202egnp",
        "\u0430\u0435",
        "👍",
        "\ufeff",
    ),
    *("..", "../../x", "/", "~/x", "digits", "npz", "mnist", "cuda", "paper", "burda", "all", "none", "[1, 2]", "[0, 0, 1]"),
    *(
        "[[1, 2], [3]]",
        "[{hidden: [4], n_z: 2}]",
        "100-100-z50",
        "{hidden: x}",
        "[1, true, a, 1.0]",
        "a" * 300,
        "# x",
        "%YAML 9.9",
    ),
    *("---", "...", "--- a\n--- b", "@", "`", "training.epochs", "model.hidden", "seed", "k", "study", "learnig_rate"),
]
CHARACTERS = "\t\n\r \0\x07\x1b\x7f\x85\xa0\u2028\ufeff\u200b-:,[]{}#&*!|>'\"%@`?~0123456789abcxyzABCé中👍"
TOKEN = re.compile(r"\s+|[\[\]{},:#]|[^\s\[\]{},:#]+")
TRIALS = re.compile(r"cells?, (\d+) trials")


def characters(text: str, draw: random.Random) -> str:
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(text) + 1)
        kind = draw.randrange(4)
        if kind == 0:
            text = text[:at] + text[at + draw.randint(1, 5) :]
        elif kind == 1:
            text = text[:at] + draw.choice(CHARACTERS) + text[at:]
        elif kind == 2:
            text = text[:at] + draw.choice(CHARACTERS) + text[at + 1 :]
        else:
            other = draw.randrange(len(text) + 1)
            low, high = sorted((at, other))
            text = text[:low] + text[low:high][::-1] + text[high:] if high - low < 40 else text[:high] + text[low:]
    return text


def tokens(text: str, draw: random.Random) -> str:
    parts = TOKEN.findall(text) or [text]
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(parts))
        other = draw.randrange(len(parts))
        kind = draw.randrange(6)
        if kind == 0:
            del parts[at : at + draw.randint(1, 6)]
            parts = parts or [""]
        elif kind == 1:
            parts.insert(at, parts[other])
        elif kind == 2:
            parts[at], parts[other] = parts[other], parts[at]
        else:
            words = [i for i, part in enumerate(parts) if part.strip() and part not in "[]{},:#"] or [at]
            parts[draw.choice(words)] = draw.choice(VALUES)
    return "".join(parts)


def lines(text: str, draw: random.Random) -> str:
    rows = text.split("\n")
    at, other = draw.randrange(len(rows)), draw.randrange(len(rows))
    kind = draw.randrange(5)
    if kind == 0:
        del rows[at]
    elif kind == 1:
        rows.insert(at, rows[other])
    elif kind == 2:
        rows[at], rows[other] = rows[other], rows[at]
    elif kind == 3:
        rows[at] = draw.choice((" ", "  ", "\t", "    ")) + rows[at]
    else:
        rows.insert(at, f"{draw.choice(VALUES)}: {draw.choice(VALUES)}")
    return "\n".join(rows)


def large(text: str, draw: random.Random) -> str:
    """Deep, long or many: whatever a reader may stumble over by its size."""
    n = draw.choice((50, 1000, 4000, 20_000, 200_000))
    many = min(n, 20_000)
    return draw.choice(
        (
            lambda: text + "\nx: " + "[" * n,
            lambda: text + "\nx: " + "{a: " * n,
            lambda: text + "\nx: " + "[" * many + "]" * many,
            lambda: "\n".join(" " * i + "a:" for i in range(min(n, 1000))),
            lambda: text + "".join(f"\nkey{i}: 1" for i in range(many)),
            lambda: text + "\nmeasure:" + "".join(f"\n  key{i}: 1" for i in range(many)),
            lambda: text.replace("seed: [", "seed: [" + ", ".join(map(str, range(1000, 1000 + many))) + ", "),
            lambda: text.replace("seed: [", "seed: [" + "x, " * many),
            lambda: text.replace("seed: [", "seed: [" + "1, " * many),
            lambda: text.replace("n_z: [", "n_z: [" + ", ".join(map(str, range(300, 300 + min(n, 3000)))) + ", "),
            lambda: text + "\nexclude: [" + "{k: 5}, " * many + "]",
            lambda: text + "\ncells: [" + ", ".join(f"{{k: {i + 2}}}" for i in range(many)) + "]",
            lambda: text + "\n" + "a" * n + ": 1",
            lambda: text + "\nstudy2: " + "a" * n,
            lambda: text + "\nrun: {out: " + "a" * n + "}",
            lambda: "study: " + "a" * n + "\n" + text,
            lambda: text + "\na: &a [x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(100)),
            lambda: (
                "factors:\n"
                + "".join(f"  {name}: [{', '.join(map(str, range(1, 400)))}]\n" for name in NUMBERS)
                + "study: x"
            ),
            lambda: text + "\n#" + "x" * n,
            lambda: text + "\n" * n,
            lambda: text + " " * n,
            lambda: '"' * n,
            lambda: text + "\nx: " + "'" + "\n" * n,
            lambda: "- " * n,
            lambda: "? " * n,
            lambda: text + "\ndata: {classes: [" + "1, " * many + "]}",
            lambda: text + "\nmodel: {hidden: [" + "9, " * many + "]}",
        )
    )()


NUMBERS = ("k", "n_z", "seed", "warmup", "training.batch_size", "objective.warmup_cycles", "training.schedule_over")


def mutated(draw: random.Random) -> bytes:
    text = draw.choice(SEEDS).read_text(encoding="utf-8")
    kinds = draw.choices((characters, tokens, lines, large), (4, 5, 3, 1), k=draw.randint(1, 3))
    for kind in dict.fromkeys(kinds):
        text = kind(text, draw)
    raw = text.encode("utf-8", "surrogatepass")
    if draw.random() < 0.03:
        at = draw.randrange(len(raw) + 1)
        raw = raw[:at] + draw.randbytes(draw.randint(1, 4)) + raw[at:]
    return raw


@cache
def standard_loop() -> float:
    """Processor seconds of a fixed piece of Python, about 0.1 on a slow core; the best of three."""
    best = float("inf")
    for _ in range(3):
        started, texts = time.process_time(), {}
        for number in range(300_000):
            texts[number % 1000] = str(number)
        best = min(best, time.process_time() - started)
    return best


def complaint(file: Path, code: int, text: str, out: str, loops: float) -> str:
    """What is wrong with an answer; nothing if it is as it should be."""
    said = text.splitlines()
    if code == 2:
        placed = re.compile(rf"{re.escape(str(file))}:\d+:\d+: \S")
        header = re.compile(rf"{re.escape(str(file))}: \d+ problems?")
        without = [line for line in said if not placed.match(line) and not header.fullmatch(line)]
        if without or not any(placed.match(line) for line in said):
            return f"a line without a place: {(without or ['nothing'])[0][:200]}"
        if max(map(len, said)) > 2000 or len(said) > 200:
            return f"a complaint of {len(said)} lines, the longest of {max(map(len, said))} characters"
    elif code != 0 or said:
        return f"exit {code}: {text[:200]}"
    trials = int(found[1]) if (found := TRIALS.search(out)) else 0
    if loops > LOOPS + LOOPS_A_TRIAL * trials:
        return f"{loops:.1f} standard loops for {trials} trials (exit {code})"
    return ""


def ask(file: Path, raw: bytes, folder: Path) -> tuple[int, str, float]:
    """Exit code, complaint, and standard loops that one plan takes."""
    file.write_bytes(raw)
    best, words, pace = float("inf"), "", standard_loop()
    # Another process may have had the cache: the best of three counts.
    for _ in range(3):
        started = time.process_time()
        try:
            code, err, out = victim.apart(cli.main, [str(file), "--plan", "--out", str(folder / "out")])
        except Exception as error:  # what this script looks for
            return -1, f"traceback: {type(error).__name__}: {str(error)[:200]}", 0.0
        best = min(best, (time.process_time() - started) / pace)
        words = complaint(file, code, err, out, best)
        if not words:
            break
    return code, words, best


def naive(raw: bytes) -> bool:
    """Whether the plain way to read a grid file ends in an exception."""
    if len(raw) > 20_000:
        return False
    try:
        {name: list(levels) for name, levels in yaml.safe_load(raw)["factors"].items()}
    except Exception:  # the control counts them
        return True
    return False


def run(count: int, seed: int, folder: Path) -> tuple[Counter, list[tuple[str, bytes]], float]:
    draw = random.Random(seed)
    tally, wrong, slowest = Counter(), [], 0.0
    for number in range(count):
        raw = mutated(draw)
        code, words, loops = ask(folder / "grid.yaml", raw, folder)
        slowest = max(slowest, loops)
        tally["planned" if code == 0 else "refused" if code == 2 else "traceback"] += 1
        tally["naive"] += naive(raw)
        if words:
            wrong.append((f"grid {number}: {words}", raw))
        if (folder / "out").exists():
            wrong.append((f"grid {number}: a plan has written files", raw))
            break
    return tally, wrong, slowest


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for the grid files that were answered wrongly")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        tally, wrong, slowest = run(asked.count, asked.seed, Path(folder))
    print(
        f"{asked.count} grids: {tally['planned']} planned, {tally['refused']} refused, {tally['traceback']} tracebacks, "
        f"{len(wrong)} wrong, slowest {slowest:.1f} standard loops; the plain way: {tally['naive']} exceptions"
    )
    for number, (words, raw) in enumerate(wrong):
        if number < 20:
            print(words)
        if asked.keep:
            asked.keep.mkdir(parents=True, exist_ok=True)
            (asked.keep / f"{number}.yaml").write_bytes(raw)
    return int(bool(wrong) or not tally["naive"])


if __name__ == "__main__":
    sys.exit(main())
