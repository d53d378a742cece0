"""Damage stored files and ask the analysis commands: no traceback, exit 3 and the file named, and the rest still there.

    python -m tests.breaking.damaged_files --count 2000 --seed 0

Every case goes through a command without --skip-bad, and through `load` with it; some go through the whole command with it.
The control asks pandas and safetensors, which take some of the same files as they are.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import load as load_tensors

from analysis.claims.__main__ import main as claims_main
from analysis.latent import models
from analysis.latent.__main__ import main as latent_main
from analysis.loading.load import load
from analysis.report.__main__ import main as report_main
from tests.breaking import victim
from tests.breaking.bit_flips import is_same, read_checked, same_study
from workers.contract.errors import RecordError

KEY = ["trial_id", "epoch"]


def cut(file: Path, raw: bytes, rng, root: Path) -> list[Path]:
    victim.replace(file, raw[: int(rng.integers(1, len(raw)))])
    return [file]


def zeroed(file: Path, raw: bytes, rng, root: Path) -> list[Path]:
    first = int(rng.integers(len(raw)))
    last = min(len(raw), first + int(rng.integers(1, 400)))
    victim.replace(file, raw[:first] + bytes(last - first) + raw[last:])
    return [file]


def swapped(file: Path, raw: bytes, rng, root: Path) -> list[Path]:
    others = [other for other in victim.stored(root) if other != file]
    other = others[int(rng.integers(len(others)))]
    theirs = other.read_bytes()
    victim.replace(file, theirs)
    victim.replace(other, raw)
    return [file, other]


def copied(file: Path, raw: bytes, rng, root: Path) -> list[Path]:
    others = [other for other in victim.stored(root) if other != file and other.read_bytes() != raw]
    other = others[int(rng.integers(len(others)))]
    victim.replace(other, raw)
    return [other]


def empty(file: Path, raw: bytes, rng, root: Path) -> list[Path]:
    victim.replace(file, b"")
    return [file]


def garbage(file: Path, raw: bytes, rng, root: Path) -> list[Path]:
    ends = (b"PAR1", b"") if rng.integers(2) else (b"", b"")
    victim.replace(file, ends[0] + rng.bytes(int(rng.integers(1, 3000))) + ends[0])
    return [file]


def folder(file: Path, raw: bytes, rng, root: Path) -> list[Path]:
    file.unlink()
    file.mkdir()
    return [file]


def nowhere(file: Path, raw: bytes, rng, root: Path) -> list[Path]:
    """A link to nothing, or to itself."""
    file.unlink()
    file.symlink_to("nothing" if rng.integers(2) else file.name)
    return [file]


def unreadable(file: Path, raw: bytes, rng, root: Path) -> list[Path]:
    victim.replace(file, raw)
    file.chmod(0)
    return [file]


def renamed(file: Path, raw: bytes, rng, root: Path) -> list[Path]:
    ending = (".bak", ".tmp", "~", " (1)", ".crdownload", "\n")[int(rng.integers(6))]
    other = file.with_name(file.name + ending)
    file.rename(other)
    return [file, other]


KINDS = (cut, zeroed, swapped, copied, empty, garbage, folder, nowhere, renamed) + ((unreadable,) if os.geteuid() else ())


def is_harmless(file: Path, raw: bytes, bad: list[Path], root: Path) -> bool:
    """Zeros where there were zeros, or where Parquet keeps what nobody reads: every row and the footer are the same."""
    if bad != [file] or not file.is_file() or file.is_symlink():
        return False
    key = str(file.relative_to(root))
    try:
        return is_same(read_checked(key, file.read_bytes()), read_checked(key, raw))
    except (RecordError, OSError):
        return False


class Tally:
    """What came of all cases."""

    def __init__(self) -> None:
        self.cases, self.wrong = Counter(), []

    def expect(self, is_right: bool, case: str, text: str) -> None:
        if not is_right:
            self.wrong.append(f"{case}: {text.strip().splitlines()[-1] if text.strip() else 'silence'}")


def names(text: str, bad: list[Path]) -> bool:
    return any(str(file).replace("\n", "\\n") in text for file in bad)


def judge_command(tally: Tally, case: str, main, arguments: list[str], bad: list[Path], codes: set[int]) -> None:
    try:
        code, text = victim.said(main, arguments)
    except Exception as error:  # what this script looks for
        tally.expect(False, case, f"traceback: {type(error).__name__}: {error}")
        return
    tally.expect(code in codes, case, f"exit {code}: {text}")
    tally.expect(code in (0, 1) or names(text, bad), case, f"the file is not named: {text}")


def judge_weights(tally: Tally, case: str, root: Path, bad: list[Path]) -> None:
    """Every model whose file is damaged is refused and its file named; the others are read."""
    for file in sorted((root / "weights").glob("*.safetensors")):
        trial_id, epochs = file.stem.split("-")
        try:
            models.read_model(root, trial_id, int(epochs))
        except RecordError as error:
            tally.expect(file in bad and error.path == str(file), case, str(error))
        except Exception as error:  # what this script looks for
            tally.expect(False, case, f"traceback: {type(error).__name__}: {error}")
        else:
            tally.expect(file not in bad, case, f"{file} is read")


def judge_rest(tally: Tally, case: str, root: Path, whole: pd.DataFrame, rows: dict[str, pd.DataFrame], bad: list[Path]):
    """With skip_bad the rows of every whole file are there, and what is gone is named."""
    try:
        study = load(root, skip_bad=True, vectors=True)
    except Exception as error:  # what this script looks for
        tally.expect(False, case, f"--skip-bad: {type(error).__name__}: {error}")
        return
    files = {str(file.relative_to(root)) for file in bad}
    kept = pd.concat([frame for key, frame in rows.items() if key not in files])
    found = study.epochs.merge(whole[[*KEY, "test_bound", "seconds"]], on=KEY, suffixes=("", "_"))
    tally.expect(len(study.epochs) == len(kept), case, f"--skip-bad: {len(study.epochs)} rows, {len(kept)} are whole")
    same = (found["test_bound"] == found["test_bound_"]) & (found["seconds"] == found["seconds_"])
    tally.expect(len(found) == len(study.epochs) and bool(same.all()), case, "--skip-bad: other numbers")
    tally.expect(bool(files & study.left_out.keys()), case, f"--skip-bad: names {list(study.left_out)}")


def takes(file: Path) -> bool:
    """Whether a reader without checks takes a file."""
    try:
        if file.parent.name == "weights":
            load_tensors(file.read_bytes())
        else:
            pd.read_parquet(file)
    except Exception:  # the control asks other programs
        return False
    return True


def run(root: Path, count: int, seed: int, folder_: Path, every: int) -> tuple[Tally, int]:
    """All cases; returns what came of them, and how many of the files other readers take."""
    study = load(root, vectors=True)
    whole = study.epochs
    rows = {str(p.relative_to(root)): pd.read_parquet(p) for p in sorted((root / "epochs").iterdir())}
    rng = np.random.default_rng(seed)
    tally, taken = Tally(), 0
    for number in range(count):
        copy = victim.copy(root, folder_ / "copy")
        files = victim.stored(copy)
        file = files[int(rng.integers(len(files)))]
        kind = KINDS[int(rng.integers(len(KINDS)))]
        raw = file.read_bytes()
        bad = kind(file, raw, rng, copy)
        case = f"case {number}, {kind.__name__} {' '.join(str(b.relative_to(copy)) for b in bad)}"
        if is_harmless(file, raw, bad, copy):
            tally.cases["harmless"] += 1
            tally.expect(same_study(load(copy, vectors=True), study), case, "called harmless, and another study")
            continue
        tally.cases[kind.__name__] += 1
        taken += any(takes(b) for b in bad if b.is_file())
        judge(tally, case, number, copy, (whole, rows), bad, every)
    for made in (folder_ / "copy", folder_ / "nothing"):
        shutil.rmtree(made, ignore_errors=True)
    no_study = victim.copy(root, folder_ / "copy")
    for entry in (no_study / "plan").iterdir():
        entry.unlink()
    for main in (report_main, claims_main, latent_main):
        judge_command(tally, "no entry of a plan", main, [str(no_study)], [no_study], {2})
        judge_command(tally, "no folder", main, [str(folder_ / "nothing")], [folder_ / "nothing"], {2})
    return tally, taken


def judge(tally: Tally, case: str, number: int, root: Path, study: tuple, bad: list[Path], every: int) -> None:
    folders = {file.parent.name for file in bad}
    if "weights" in folders:
        judge_weights(tally, case, root, bad)
        if number % every == 0:
            # It reads the models of some cells only.
            judge_command(tally, f"{case}, latent", latent_main, [str(root)], bad, {0, 3})
    if folders - {"weights"}:
        main = (report_main, claims_main)[number % 2]
        judge_command(tally, case, main, [str(root)], bad, {3})
        judge_rest(tally, case, root, *study, bad)
        if number % every == 0:
            drawn = [str(root), "--skip-bad", "--figure", "spectrum", "--format", "svg"]
            judge_command(tally, f"{case}, --skip-bad", report_main, drawn, bad, {1})


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=50, help="every such case also draws a figure with --skip-bad")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder_:
        tally, taken = run(victim.make(Path(folder_) / "made"), asked.count, asked.seed, Path(folder_), asked.draws)
    print(f"{asked.count} damaged files: {len(tally.wrong)} wrong; {taken} of them are taken by readers that check nothing")
    print(", ".join(f"{name} {count}" for name, count in sorted(tally.cases.items())))
    for line in tally.wrong[:20]:
        print(line)
    return int(bool(tally.wrong) or not taken)


if __name__ == "__main__":
    sys.exit(main())
