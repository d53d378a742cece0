"""Ask doctor, load and every other reader about a folder, and compare with the undisturbed study."""

import hashlib
import random
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.loading.load import load
from analysis.loading.study import Study
from study.commands.main import main
from study.doctor.stored_files import examine
from study.grid.design import trials_of
from study.grid.grid import parse_grid
from study.plan.planning import find_work
from study.plan.request import Request
from study.verify.verdict import ends_of, judge, refuse_lost
from study.verify.what_to_rerun import reruns_of
from tests.breaking import victim
from tests.breaking.wrong_folders.kinds import KINDS
from tests.breaking.wrong_folders.studies import GRID, copy
from tests.study.small_study import CPU, DIGITS
from workers.contract.columns import VECTORS
from workers.contract.errors import UserError
from workers.store.open import open_store
from workers.store.plan_log import read_plan

NO_NUMBERS = ["seconds", "device"]
"""Columns that tell where and how fast, not what."""

GOALS = ["epochs_goal", "training.epochs", "pack_id", "epochs_done", "baseline_bound"]
"""What another goal changes in the row of a trial that is called unfinished."""


@dataclass
class Tally:
    """What came of all folders, by kind of change."""

    folders: Counter = field(default_factory=Counter)
    whole: Counter = field(default_factory=Counter)
    refused: Counter = field(default_factory=Counter)
    wrong_numbers: Counter = field(default_factory=Counter)
    outside: Counter = field(default_factory=Counter)
    tracebacks: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def table(self) -> list[str]:
        columns = ("folders", "whole", "refused", "wrong_numbers", "outside", "tracebacks")
        lines = [f"{'kind':<20}" + "".join(f"{name.replace('_', ' '):>15}" for name in columns)]
        for kind in [*sorted(self.folders), "all"]:
            counts = [getattr(self, name) for name in columns]
            cells = [count.total() if kind == "all" else count[kind] for count in counts]
            lines.append(f"{kind:<20}" + "".join(f"{cell:>15}" for cell in cells))
        return lines


class Watch:
    """Notices that a file below a folder is opened, by Python."""

    def __init__(self) -> None:
        self.below, self.opened = "", list[str]()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple) -> None:
        if event == "open" and self.below and isinstance(arguments[0], str) and self.below in arguments[0]:
            self.opened.append(arguments[0])


WATCH = Watch()


def run(
    studies: dict[str, Path], count: int, seed: int, folder: Path, say: Callable[[str], None] = lambda line: None
) -> Tally:
    """Make so many folders and judge each; what is wrong is said at once."""
    tally, whole = Tally(), load(studies["victim"], vectors=True)
    for number in range(count):
        draw = random.Random(f"{seed}-{number}")
        top = folder / "top"
        shutil.rmtree(top, ignore_errors=True)
        root = copy(studies["victim"], top / "results" / "victim")
        (top / "outside").mkdir()
        for name in ("secret", "secret.safetensors", "secret.parquet"):
            (top / "outside" / name).write_text("beside the study")
        kinds = draw.choices(KINDS, k=draw.choice((1, 1, 1, 1, 2, 3)))
        for kind in kinds:
            try:
                kind(draw, root, studies)
            except (ValueError, KeyError, TypeError, IndexError, OverflowError, FileNotFoundError, UserError):
                # A change before it left nothing that could be changed so, or a column cannot hold such a value.
                continue
        name = kinds[0].__name__ if len(kinds) == 1 else "several"
        tally.folders[name] += 1
        known = len(tally.wrong)
        _judge(tally, name, f"folder {number}, {', '.join(kind.__name__ for kind in kinds)}", top, root, whole)
        for line in tally.wrong[known:]:
            say(line)
    return tally


def _judge(tally: Tally, name: str, case: str, top: Path, root: Path, whole: Study) -> None:
    before, inside = _hashes(top / "outside"), {path for path in root.rglob("*") if path.is_file()}
    WATCH.below, WATCH.opened = "outside", []
    try:
        found = [_asked(tally, name, case, *question) for question in _questions(top, root)]
    finally:
        WATCH.below = ""
    faults, study = found[:2]
    is_whole = faults == []
    tally.whole[name] += is_whole
    tally.refused[name] += study is None
    if is_whole and study is not None and (other := differences(study, whole)):
        tally.wrong_numbers[name] += 1
        tally.wrong.append(f"{case}: called whole, but {other}")
    after, new = _hashes(top / "outside"), {path for path in root.rglob("*") if path.is_file()} ^ inside
    there = sorted(path.name for path in top.iterdir())
    if after != before or WATCH.opened or new or set(there) - {"outside", "results", "victim.tar.gz"}:
        tally.outside[name] += 1
        tally.wrong.append(f"{case}: outside: {WATCH.opened or new or there}")


def _questions(top: Path, root: Path) -> list[tuple[str, Callable]]:
    def command(*words: str) -> Callable:
        return lambda: _said(*words)

    return [
        ("doctor", lambda: examine(open_store(str(root))).faults),
        ("load", lambda: load(root, vectors=True)),
        ("load with skip_bad", lambda: load(root, skip_bad=True).vectors()),
        ("status", command("status", str(root), "--packs")),
        ("find_work", lambda: find_work(_request(root))),
        ("find_work, longer", lambda: find_work(_request(root, "training.epochs=4"), retry_failed=True)),
        ("verify", lambda: _verify(root)),
        ("export", command("export", str(root), "--weights", "--to", str(top / "victim.tar.gz"))),
    ]


def _said(*words: str) -> int:
    code, text = victim.said(main, list(words))
    assert "Traceback" not in text, text
    assert code in (0, 1, 2, 3), f"exit {code}: {text}"
    return code


def _asked(tally: Tally, name: str, case: str, what: str, ask: Callable) -> object:
    try:
        return ask()
    except UserError:
        return None
    except Exception as error:  # what this storm looks for
        tally.tracebacks[name] += 1
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        tally.wrong.append(f"{case}: {what}: {type(error).__name__} at {where}: {str(error)[:150]}")
        return None


def _request(root: Path, *sets: str) -> Request:
    grid = parse_grid(GRID, sets=("n_z=2", *sets))
    return Request(open_store(str(root)), grid, trials_of(grid, DIGITS.fingerprint), CPU, DIGITS)


def _verify(root: Path) -> None:
    """Everything but the training: what is stored is compared with itself."""
    store = open_store(str(root))
    plan = read_plan(store)
    ended = ends_of(store, plan)
    reruns_of(plan, ended, sorted(ended), alone=True)
    reruns = reruns_of(plan, ended, sorted(ended), alone=False)
    refuse_lost(store, plan, reruns)
    for rerun in reruns:
        judge(store, store, plan, rerun)


def differences(study: Study, whole: Study) -> str:
    """Say in what a study differs from the undisturbed one; see __main__.py. Empty if in nothing."""
    if list(study.trials["trial_id"].sort_values()) != list(whole.trials["trial_id"].sort_values()):
        return "it has other trials"
    mine, theirs = (one.trials.set_index("trial_id").sort_index().drop(columns=NO_NUMBERS) for one in (study, whole))
    for trial_id in theirs.index:
        is_open = mine.loc[trial_id, "status"] == "unfinished"
        if is_open and trial_id not in set(study.missing["trial_id"]):
            return f"trial {trial_id} is not finished and not missing"
        settings = [column for column in whole.trials if column in mine and ("." in column or column in study.factors)]
        columns = [column for column in (settings if is_open else mine.columns) if not (is_open and column in GOALS)]
        if other := [column for column in columns if not _same(mine.at[trial_id, column], theirs.at[trial_id, column])]:
            return f"trial {trial_id} has another {other[0]}"
    missing = set(study.missing["trial_id"])
    key = ["trial_id", "epoch"]
    frames = [one.epochs.astype({"trial_id": str}).set_index(key).drop(columns=["seconds"]) for one in (study, whole)]
    if not frames[0].index.is_unique or not frames[0].index.isin(frames[1].index).all():
        return "it has rows that were never measured"
    gone = frames[1].index.difference(frames[0].index)
    if not set(gone.get_level_values("trial_id")) <= missing:
        return "it lacks rows of a trial that is not missing"
    try:
        pd.testing.assert_frame_equal(frames[0], frames[1].loc[frames[0].index], check_dtype=False, check_categorical=False)
    except AssertionError as error:
        return f"its rows are others: {' '.join(str(error).split())[:150]}"
    return _other_vectors(study, whole)


def _same(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray | tuple | list):
        return np.array_equal(np.asarray(one), np.asarray(other), equal_nan=True)
    return bool(one == other or (pd.isna(one) and pd.isna(other)))


def _other_vectors(study: Study, whole: Study) -> str:
    for column in VECTORS:
        mine, theirs = (_by_row(one, column) for one in (study, whole))
        if other := [row for row in mine if not np.array_equal(mine[row], theirs[row], equal_nan=True)]:
            return f"the {column} of epoch {other[0][1]} of trial {other[0][0]} is another"
    return ""


def _by_row(study: Study, column: str) -> dict:
    rows, lengths, values = study.vectors(column=column)
    return dict(zip(rows.itertuples(index=False, name=None), np.split(values, np.cumsum(lengths)[:-1]), strict=True))


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
