"""Reads a study's folder into DataFrames, verifies every file and names what is missing; averages and writes nothing."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.labels import cell_text
from analysis.stored import VECTORS, epochs_frame, read_folder, refuse_gaps, trials_frame
from workers.plan import Plan, read_plan
from workers.records import EPOCHS, TRIALS, RecordError
from workers.settings import FACTORS, NOT_IDENTITY, flatten
from workers.store import EPOCHS_FOLDER, PLAN_FOLDER, TRIALS_FOLDER, Store, open_store


class LoadError(ValueError):
    """A path is no study that can be read; the text says which, why, and what to do."""


@dataclass(frozen=True, eq=False)
class Study:
    """A whole design and what is known of it so far."""

    name: str
    path: Path
    trials: pd.DataFrame
    """A row a planned trial: every setting under its dotted name, status (completed | diverged | unfinished),
    epochs_goal, epochs_done, the final measures (null before the end) and baseline_bound (nats per example)."""
    epochs: pd.DataFrame
    """A row a (trial, epoch), in the order of the files: the stream and every other factor; vectors are Arrow lists."""
    factors: Mapping[str, tuple[Any, ...]]
    """The levels that planned trials have, in the order of the grid; the six factors first, then whatever else varies."""
    missing: pd.DataFrame
    """A row a trial without final measures: trial_id, cell, seed, status, reason."""
    threshold: float
    """A unit is active if its activity is above this."""
    provenance: Mapping[str, tuple[str, ...]]
    """What the files say about their origin: every distinct value, in the order of the files."""

    @property
    def is_complete(self) -> bool:
        """Whether every planned trial has ended, completed or diverged."""
        return not (self.trials["status"] == "unfinished").any()

    @property
    def cell_factors(self) -> tuple[str, ...]:
        """The factors that tell cells apart: all but the seed."""
        return tuple(name for name in self.factors if name != "seed")

    def activity(self, trial_ids: Collection[str] | None = None, column: str = "activity") -> pd.DataFrame:
        """One vector column in long form: trial_id, epoch, unit (from 0), and the column; of all trials or of some.

        Raises:
            LoadError: the column is no vector of the stream.
        """
        if column not in VECTORS:
            raise LoadError(f"{column} is no vector column; there are {', '.join(VECTORS)}")
        rows = self.epochs if trial_ids is None else self.epochs[self.epochs["trial_id"].isin(list(trial_ids))]
        lists = pa.chunked_array(rows[column].array.__arrow_array__()).combine_chunks()
        lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
        starts = np.cumsum(lengths) - lengths
        return pd.DataFrame(
            {
                # 7 million strings would be slow: a category a trial.
                "trial_id": rows["trial_id"].astype("category").repeat(lengths).to_numpy(),
                "epoch": rows["epoch"].to_numpy().repeat(lengths),
                "unit": np.arange(int(lengths.sum())) - starts.repeat(lengths),
                column: lists.flatten().to_numpy(zero_copy_only=False),
            }
        )


def load(path: str | Path) -> Study:
    """Everything stored of a study, running or done; every file's checksums and content hash are verified.

    Raises:
        LoadError: the path is no study's folder, or cannot be read.
        VersionError: a file was written by a version with another schema; it is named.
        RecordError: a file is damaged, or rows are stored twice or lost; the file is named.
    """
    root = Path(path)
    with _errors_of(root):
        store = _open(root)
        # A running study grows in the order plan, epochs, trials. Read in the opposite order, what comes later
        # always explains what came before.
        ended, ended_footers = read_folder(store, TRIALS_FOLDER, TRIALS)
        rows, rows_footers = read_folder(store, EPOCHS_FOLDER, EPOCHS)
        plan = read_plan(store)
        threshold = list(plan.trials.values())[-1].settings.measure.threshold
        epochs = epochs_frame(rows, rows_footers, threshold)
        trials = trials_frame(plan, pa.concat_tables(ended).to_pandas(), epochs)
        factors = _factors(plan, trials)
        refuse_gaps(epochs, trials)
    position = pd.Index(trials["trial_id"]).get_indexer(epochs["trial_id"])
    for name in factors:
        if name not in epochs:
            epochs[name] = trials[name].to_numpy()[position]
    return Study(
        name=str(plan.footers[-1].get("study", root.name)),
        path=root,
        trials=trials,
        epochs=epochs,
        factors=factors,
        missing=_missing(trials, factors),
        threshold=threshold,
        provenance=_provenance([*plan.footers, *rows_footers, *ended_footers]),
    )


@contextmanager
def _errors_of(root: Path) -> Iterator[None]:
    """Give errors of stored files their whole path, and those of the disk a sentence."""
    try:
        yield
    except RecordError as error:
        error.path = f"{root}/{error.path}"
        error.args = (f"{root}/{error}",)
        raise
    except OSError as error:
        raise LoadError(
            f"{error.filename or root}: cannot be read ({error.strerror}); check the disk and its rights"
        ) from error


def _open(root: Path) -> Store:
    if not root.exists():
        raise LoadError(f"{root}: no such folder; name the folder of a study, such as results/quickstart")
    if not root.is_dir():
        raise LoadError(f"{root}: is a file; name the folder of a study, such as results/quickstart")
    store = open_store(str(root))
    if any(key.endswith(".parquet") for key in store.list(PLAN_FOLDER)):
        return store
    inside = sorted(str(folder.parent) for folder in root.glob(f"*/{PLAN_FOLDER}"))
    hint = f"did you mean {' or '.join(inside[:3])}?" if inside else "start one with python -m study.run grid.yaml"
    raise LoadError(f"{root}: no study here ({PLAN_FOLDER}/ holds no entry); {hint}")


def _factors(plan: Plan, trials: pd.DataFrame) -> dict[str, tuple[Any, ...]]:
    """Levels by factor; a setting that differs between accepted grids is one too, or it would be pooled silently."""
    settings = [name for name in flatten(next(iter(plan.trials.values())).settings) if name not in NOT_IDENTITY]
    varied = [name for name in ("fingerprint", *settings) if not name.startswith("measure.") and trials[name].nunique() > 1]
    wanted = plan.factors()
    factors = {}
    for name in dict.fromkeys([*FACTORS, *wanted, *varied]):
        present = list(dict.fromkeys(trials[name].tolist()))
        ordered = [level for level in wanted.get(name, []) if level in present]
        factors[name] = (*ordered, *(level for level in present if level not in ordered))
    return factors


def _missing(trials: pd.DataFrame, factors: Mapping[str, Any]) -> pd.DataFrame:
    names = [name for name in factors if name != "seed"]
    rows = [
        {
            "trial_id": row["trial_id"],
            "cell": cell_text({name: row[name] for name in names}),
            "seed": row["seed"],
            "status": row["status"],
            "reason": _reason(row),
        }
        for row in trials[trials["status"] != "completed"].to_dict("records")
    ]
    return pd.DataFrame(rows, columns=["trial_id", "cell", "seed", "status", "reason"])


def _reason(row: Mapping[Any, Any]) -> str:
    if row["status"] == "unfinished":
        return f"unfinished ({row['epochs_done']} of {row['epochs_goal']} epochs)"
    return f"{row['status']} after epoch {int(row['last_epoch'])}"


def _provenance(footers: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for footer in footers:
        for name, value in _leaves(footer.get("provenance", {})):
            found.setdefault(name, {})[value if isinstance(value, str) else json.dumps(value)] = None
    return {name: tuple(values) for name, values in found.items()}


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
