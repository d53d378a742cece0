"""Reads a study into DataFrames, verifies every file and names what is missing."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from analysis.loading.files import (
    STREAM,
    at_threshold,
    drop_unplanned,
    planned_frame,
    read_folder,
    refuse_gaps,
    trials_frame,
)
from analysis.loading.frame import by_trial, stream_frame
from analysis.loading.labels import LABELS_FILE, PLAIN, LabelError, Labels, cell_text, read_labels
from analysis.loading.study import LoadError, Study, errors_of
from workers.contract.columns import EPOCHS, TRIALS
from workers.contract.errors import RecordError
from workers.contract.settings import FACTORS, NOT_IDENTITY
from workers.contract.settings_table import flatten
from workers.contract.user_paths import expanded
from workers.store.ends import ends_among, last_epochs
from workers.store.folder import leads_out, link_in_words
from workers.store.keys import EPOCHS_FOLDER, PLAN_FOLDER, TRIALS_FOLDER
from workers.store.open import open_store
from workers.store.placement import Checked
from workers.store.plan_log import Plan, read_plan
from workers.store.protocol import Store


def load(path: str | Path, *, skip_bad: bool = False, labels: str | Path | None = None, vectors: bool = False) -> Study:
    """Load what is stored of a study, finished or running; everything that is read is verified by checksum and hash.

    Args:
        path: the study's folder, or s3://bucket/prefix/study.
        skip_bad: leave out damaged or lost files and continue; `left_out` and `missing` name what is not there.
        labels: a file that renames factors and levels; None: labels.yaml in the folder, if there is one.
        vectors: False: vectors stay in their files until `Study.vectors` or `Study.activity` read and verify them; True: all
            files are read and verified completely now, so that no damage is found later.

    Raises:
        LoadError: the path is not the folder of a study, or cannot be read.
        LabelError: the file of labels cannot be used.
        VersionError: a file was written by a version with another schema; the message names it.
        RecordError: a file is damaged, or rows are stored twice or lost; the message names the file.
    """
    path = expanded(path)
    url = path.rstrip("/")
    root = Path(url.rpartition("/")[2] if "://" in url else path)
    problems: dict[str, str] | None = {} if skip_bad else None
    kept: dict[tuple[str, str], pa.Array] | None = {} if vectors else None
    with errors_of(url if "://" in url else str(root)):
        store = _open_url(url) if "://" in url else _open(root)
        # A running study grows in the order plan, epochs, trials. Reading in the opposite order makes sure that every row
        # that is read is explained by what is read after it.
        ends = read_folder(store, TRIALS_FOLDER, TRIALS, problems)
        rows = read_folder(store, EPOCHS_FOLDER, EPOCHS, problems, STREAM, kept)
        plan = read_plan(store) if problems is None else _read_whole_plan(store, problems)
        rows, ends = drop_unplanned(rows, plan, problems), drop_unplanned(ends, plan, problems)
        threshold = list(plan.trials.values())[-1].settings.measure.threshold
        planned = planned_frame(plan)
        epochs, stored = stream_frame(at_threshold(rows, threshold, store, problems), planned, store, problems, kept)
        ended = pa.concat_tables([TRIALS.empty_table(), *(file.table for file in ends)])
        trials = trials_frame(planned, ends_among(ended, plan.pack_of).to_pandas(), epochs)
        factors = _factors(plan, trials)
        lost = refuse_gaps(epochs, trials, last_epochs(ended), problems)
    for name in factors:
        if name not in epochs:
            epochs[name] = by_trial(trials[name], epochs["trial_id"].cat.codes.to_numpy())
    return Study(
        name=str(plan.footers[-1].get("study", root.name)),
        path=root,
        url=store.url,
        trials=trials,
        epochs=epochs,
        factors=factors,
        missing=_missing(trials, factors, lost),
        threshold=threshold,
        provenance=_provenance([*plan.footers, *(file.footer for file in (*rows, *ends))]),
        stored=stored,
        crossed={name: tuple(levels) for name, levels in plan.factors().items()},
        labels=_labels(root, labels),
        left_out={} if problems is None else problems,
    )


def _labels(root: Path, given: str | Path | None) -> Labels:
    if given is not None:
        return read_labels(Path(given))
    path = root / LABELS_FILE
    if leads_out(path, root):
        raise LabelError(f"{path}: {link_in_words(path)}; replace it by the file, or name that file with --labels")
    return read_labels(path) if path.is_file() else PLAIN


def _read_whole_plan(store: Store, problems: dict[str, str]) -> Plan:
    while True:
        try:
            plan = read_plan(store, problems)
        except RecordError as error:
            problems[error.path] = str(error)
            continue
        if not plan.trials:
            raise LoadError(f"{store.url}: no entry of the plan can be read; restore {' or '.join(problems)} from a copy")
        return plan


def _open_url(url: str) -> Store:
    store = open_store(url)
    if any(key.endswith(".parquet") for key in store.list(PLAN_FOLDER)):
        return store
    raise LoadError(f"{url}: there is no study here ({PLAN_FOLDER}/ has no entry); give s3://bucket/prefix/study")


def _open(root: Path) -> Store:
    if not root.exists():
        raise LoadError(f"{root}: no such folder; give the folder of a study, such as results/quickstart")
    if not root.is_dir():
        raise LoadError(f"{root}: is a file; give the folder of a study, such as results/quickstart")
    store = Checked(open_store(str(root)), {})
    if any(key.endswith(".parquet") for key in store.list(PLAN_FOLDER)):
        return store
    inside = sorted(str(folder.parent) for folder in root.glob(f"*/{PLAN_FOLDER}"))
    hint = f"did you mean {' or '.join(inside[:3])}?" if inside else "start one with python -m study.run grid.yaml"
    raise LoadError(f"{root}: there is no study here ({PLAN_FOLDER}/ has no entry); {hint}")


def _factors(plan: Plan, trials: pd.DataFrame) -> dict[str, tuple[Any, ...]]:
    """Return levels by factor; a setting that differs between grids counts, as it would otherwise be pooled silently."""
    settings = [name for name in flatten(next(iter(plan.trials.values())).settings) if name not in NOT_IDENTITY]
    varied = [name for name in ("fingerprint", *settings) if not name.startswith("measure.") and trials[name].nunique() > 1]
    wanted = plan.factors()
    factors = {}
    for name in dict.fromkeys([*FACTORS, *wanted, *varied]):
        # Levels that no grid lists come from cells listed one by one: the level of the most trials is that of the others.
        counts = Counter(trials[name].tolist())
        present = sorted(counts, key=lambda level: -counts[level])
        ordered = [level for level in wanted.get(name, []) if level in present]
        factors[name] = (*ordered, *(level for level in present if level not in ordered))
    return factors


def _missing(trials: pd.DataFrame, factors: Mapping[str, Any], lost: Mapping[str, str]) -> pd.DataFrame:
    names = [name for name in factors if name != "seed"]
    is_missing = (trials["status"] != "completed") | trials["trial_id"].isin(list(lost))
    needed = ["trial_id", "status", "epochs_done", "epochs_goal", "last_epoch", *factors]
    rows = []
    for row in trials.loc[is_missing, needed].to_dict("records"):
        reasons = [*_reason(row), *([lost[row["trial_id"]]] if row["trial_id"] in lost else [])]
        cell = cell_text({name: row[name] for name in names})
        rows.append((row["trial_id"], cell, row["seed"], row["status"], " and ".join(reasons)))
    return pd.DataFrame(rows, columns=["trial_id", "cell", "seed", "status", "reason"])


def _reason(row: Mapping[Any, Any]) -> list[str]:
    if row["status"] == "unfinished":
        return [f"unfinished ({row['epochs_done']} of {row['epochs_goal']} epochs)"]
    if row["status"] == "completed":
        return []
    last = int(row["last_epoch"])
    return [f"{row['status']} after epoch {last}" if last >= 0 else f"{row['status']} before its first epoch was stored"]


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
