"""Reads and verifies the files of a study one by one, and joins the plan with the ends of its trials in a frame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.loading.vectors import in_order, keep, threads_for
from workers.contract.columns import EPOCHS, TRIALS, VECTORS
from workers.contract.errors import RecordError, unreadable
from workers.contract.settings import FACTORS, layers_above
from workers.contract.settings_table import flatten
from workers.store.ends import is_over
from workers.store.keys import EPOCHS_FOLDER, PLAN_FOLDER, TRIALS_FOLDER
from workers.store.parquet import decode_with_footer
from workers.store.partial_read import read_columns
from workers.store.placement import keys_of, refuse_other_borders, refuse_renamed, stored_and_due, unlike_the_plan
from workers.store.plan_log import Plan
from workers.store.protocol import Store

_FROM_PLAN = ("schema_version", *FACTORS)

STREAM = tuple(name for name in EPOCHS.names if name not in (*VECTORS, *_FROM_PLAN))
"""Scalar columns that `load` reads from every rows file; settings are not among them, as the plan has them by trial_id."""

_ENDED_ALWAYS = ("baseline_bound", "seconds", "device")


# A row of `trials` repeats its settings, which the plan has too. Of a trial that has ended, only that row holds the rest.
_REPEATED = ("schema_version", "trial_id", "pack_id", *FACTORS, "epochs")

_ENDED = tuple(field for field in TRIALS if field.name not in (*_REPEATED, *_ENDED_ALWAYS))


# What the independent-pixel bound depends on: the decoder's family and the images.
_BASELINE_OF = [
    "decoder",
    "model.decoder_logvar",
    "model.decoder_logvar_value",
    "model.decoder_logvar_limit",
    "fingerprint",
    "data.n_valid",
    "data.input",
    "data.classes",
    "data.subset",
]


@dataclass(frozen=True, eq=False)
class File:
    """A stored file that was read: all or some of its columns, and its footer without the hashes of the columns."""

    key: str
    table: pa.Table
    footer: Mapping[str, Any]


def read_folder(
    store: Store,
    folder: str,
    schema: pa.Schema,
    problems: dict[str, str] | None = None,
    columns: Sequence[str] | None = None,
    kept: dict[tuple[str, str], pa.Array] | None = None,
) -> list[File]:
    """Read every file of epochs/ or trials/.

    Args:
        store: where the study lies.
        folder: epochs or trials.
        schema: the schema of its files.
        problems: None: the first damaged file ends the reading; otherwise damaged files are left out and added here by key.
        columns: the columns of the tables; None: all.
        kept: None: other columns are not read; otherwise files are verified whole and their vectors added here (Vectors).

    Raises:
        RecordError: a file cannot be read, is damaged, has another version, or is not where it belongs.
    """

    def read(key: str) -> tuple[pa.Table, dict[str, Any]] | RecordError:
        try:
            if columns is None or kept is not None:
                table, footer = decode_with_footer(store.read(key), key)
            else:
                table, footer = read_columns(store, key, columns)
            if footer.pop("columns_sha256").keys() != set(schema.names):
                raise RecordError(key, f"is not a file of {folder}/ (kind {footer.get('kind')})", "move it away")
            refuse_renamed(key, table, footer)
        except RecordError as error:
            return error
        except FileNotFoundError as error:
            # It was listed: it has been moved since, or is a link that leads nowhere.
            return unreadable(key, error)
        return table, footer

    keys, total = keys_of(store, folder, problems), 0
    found: list[File] = []
    for key, one in zip(keys, in_order(read, keys, threads_for(store)), strict=True):
        if isinstance(one, RecordError):
            if problems is None:
                raise one
            problems[key] = str(one)
            continue
        table, footer = one
        if kept is not None:
            total = keep(kept, key, table, total)
        found.append(File(key, table if columns is None else table.select(columns), footer))
    return found


def drop_unplanned(files: list[File], plan: Plan, problems: dict[str, str] | None) -> list[File]:
    """Return the files of `read_folder`; with `problems`, without those that do not fit the plan.

    Raises:
        RecordError: a file has other borders, trials or measurements than the plan; never raised with `problems`.
    """
    wrong = refuse_other_borders((file.key for file in files), plan, problems)
    # What an entry that cannot be read says of its packs is not known.
    is_whole = not any(key.startswith(f"{PLAN_FOLDER}/") for key in problems or ())
    for file in files if is_whole else ():
        if error := unlike_the_plan(file.key, file.table, file.footer, plan):
            if problems is None:
                raise error
            problems[file.key] = str(error)
            wrong.add(file.key)
    return [file for file in files if file.key not in wrong] if wrong else files


def at_threshold(files: list[File], threshold: float, store: Store, problems: dict[str, str] | None = None) -> list[File]:
    """Return the files with active_units at the study's threshold; files written at another one are counted again.

    Raises:
        RecordError: the activities of such a file are damaged; with `problems` it is left out and added there.
    """
    found = []
    for file in files:
        if file.footer.get("threshold", threshold) != threshold:
            try:
                lists = read_columns(store, file.key, ["activity"])[0]["activity"].combine_chunks()
            except RecordError as error:
                if problems is None:
                    raise
                problems[file.key] = str(error)
                continue
            above = pc.greater(lists.flatten(), threshold).fill_null(False).to_numpy(zero_copy_only=False)
            counts = np.bincount(pc.list_parent_indices(lists).to_numpy(), weights=above, minlength=len(lists))
            at = file.table.schema.get_field_index("active_units")
            column = pa.array(counts.astype(np.int32))
            file = replace(file, table=file.table.set_column(at, file.table.schema.field(at), column))
        found.append(file)
    return found


def planned_frame(plan: Plan) -> pd.DataFrame:
    """Return one row per planned trial: its settings and its goal."""
    return pd.DataFrame(
        {
            "trial_id": trial_id,
            "pack_id": plan.pack_of[trial_id],
            "fingerprint": trial.fingerprint,
            **flatten(trial.settings),
            "layer_sizes": (trial.settings.n_z, *(n_z for _, n_z in layers_above(trial.settings.model))),
            "epochs_goal": plan.packs[plan.pack_of[trial_id]].epochs,
        }
        for trial_id, trial in plan.trials.items()
    )


def trials_frame(planned: pd.DataFrame, ended: pd.DataFrame, stream: pd.DataFrame) -> pd.DataFrame:
    """Return one row per planned trial: its settings, its goal, how far it came, and how it ended (null if it has not)."""
    frame = planned.copy()
    longest = ended.set_index("trial_id").reindex(frame["trial_id"]).reset_index(drop=True)
    done = np.zeros(len(frame), np.int64)
    np.maximum.at(done, stream["trial_id"].cat.codes.to_numpy(), stream["epoch"].to_numpy())
    frame["epochs_done"] = done
    # If a study was made longer, a trial that completed the shorter one has not reached the new goal.
    has_ended = longest["status"].notna() & is_over(longest["status"], longest["epochs"], frame["epochs_goal"])
    for field in _ENDED:
        known = longest[field.name].where(has_ended)
        if pa.types.is_floating(field.type):
            known = known.astype(float)
        frame[field.name] = known.astype("Int64") if pa.types.is_integer(field.type) else known
    frame["status"] = frame["status"].fillna("unfinished")
    for name in _ENDED_ALWAYS:
        frame[name] = longest[name]
    frame["baseline_bound"] = frame.groupby(_BASELINE_OF)["baseline_bound"].transform("first")
    return frame


def refuse_gaps(
    stream: pd.DataFrame, trials: pd.DataFrame, last_of: Mapping[str, int], problems: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Find trials of which epochs are lost; see stored_and_due.

    Args:
        stream: see stream_frame.
        trials: see trials_frame.
        last_of: see ends.last_epochs.
        problems: see read_folder.

    Returns:
        What is lost, by trial, where files with problems left it incomplete; empty without `problems`.

    Raises:
        RecordError: a trial has fewer rows than epochs that it has trained.
    """
    ends = np.array([last_of.get(trial_id, -1) for trial_id in trials["trial_id"]], np.int64)
    stored, due = stored_and_due(stream["trial_id"].cat.codes.to_numpy(), stream["epoch"].to_numpy(), ends)
    is_short = stored < due
    if problems is None:
        if is_short.any():
            first = int(np.argmax(is_short))
            raise RecordError(
                f"{EPOCHS_FOLDER}/{trials['pack_id'].iloc[first]}-*.parquet",
                f"{stored[first]} of {due[first]} epochs of trial {trials['trial_id'].iloc[first]} are left",
                "restore the lost file from a copy",
            )
        return {}
    without_end = {key.split("/")[-1].split("-")[0] for key in problems if key.startswith(f"{TRIALS_FOLDER}/")}
    lost = {}
    for trial_id, pack_id, status, rows, wanted in zip(
        trials["trial_id"], trials["pack_id"], trials["status"], stored, due, strict=True
    ):
        if rows < wanted:
            lost[trial_id] = f"{rows} of {wanted} epochs are left; the others are in a file that cannot be read"
        elif status == "unfinished" and pack_id in without_end:
            lost[trial_id] = "its end is in a file that cannot be read"
    return lost
