"""Reads and verifies the files of a study, each by itself, and lays them side by side as frames; judges no path."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.places import keys_of, refuse_other_borders, refuse_renamed
from workers.plan import Plan
from workers.records import EPOCHS, TRIALS, RecordError, decode_with_footer
from workers.settings import FACTORS, flatten, layers_above
from workers.store import EPOCHS_FOLDER, TRIALS_FOLDER, Store

VECTORS = tuple(field.name for field in EPOCHS if pa.types.is_list(field.type))
"""Columns of `epochs` with an entry a latent unit (or a class)."""

_ENDED_ALWAYS = ("baseline_bound", "seconds", "device")
# A row of `trials` also repeats its settings, which the plan has; these are what only it knows of a trial that has ended.
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

TRIAL_MEASURES = (
    *(field.name for field in TRIALS if pa.types.is_floating(field.type) and field.name not in EPOCHS.names),
    "seconds",
)
"""Measured once a trial, at its end; every other value is a column of the stream."""


def read_folder(
    store: Store, folder: str, schema: pa.Schema, problems: dict[str, str] | None = None
) -> tuple[list[pa.Table], list[Mapping[str, Any]]]:
    """Every file of epochs/ or trials/ as a table (its key in the metadata) and its footer; else one empty table.

    Args:
        store: where the study lies.
        folder: epochs or trials.
        schema: of its files.
        problems: None: the first file that is damaged ends the reading; else it is left out, and put in here by its key.

    Raises:
        RecordError: a file cannot be read, is damaged, of another version, or not where it belongs.
    """

    def read(key: str) -> tuple[pa.Table, dict[str, Any]] | RecordError:
        try:
            table, footer = decode_with_footer(store.read(key), key)
            if table.schema.names != schema.names:
                raise RecordError(key, f"is no file of {folder}/ (kind {footer.get('kind')})", "move it away")
            refuse_renamed(key, table, footer)
        except RecordError as error:
            return error
        return table.replace_schema_metadata({"key": key}), footer

    keys = keys_of(store, folder, problems)
    tables: list[pa.Table] = []
    footers: list[Mapping[str, Any]] = []
    # Arrow and the hash leave Python free while they work.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        for key, found in zip(keys, threads.map(read, keys), strict=True):
            if isinstance(found, RecordError):
                if problems is None:
                    threads.shutdown(cancel_futures=True)
                    raise found
                problems[key] = str(found)
            else:
                tables.append(found[0])
                footers.append(found[1])
    # An empty table keeps the columns where there is no file yet.
    return tables or [schema.empty_table()], footers or [{}]


def drop_other_borders(
    found: tuple[list[pa.Table], list[Mapping[str, Any]]], plan: Plan, problems: dict[str, str] | None
) -> tuple[list[pa.Table], list[Mapping[str, Any]]]:
    """What `read_folder` gave, with `problems` less the files whose borders are not those of the plan.

    Raises:
        RecordError: see refuse_other_borders.
    """
    wrong = refuse_other_borders((key for table in found[0] if (key := _key_of(table))), plan, problems)
    if not wrong:
        return found
    kept = [(table, footer) for table, footer in zip(*found, strict=True) if _key_of(table) not in wrong]
    return [table for table, _ in kept] or [found[0][0].slice(0, 0)], [footer for _, footer in kept] or [{}]


def _key_of(table: pa.Table) -> str:
    return str((table.schema.metadata or {}).get(b"key", b""), "utf-8")


def _count_active(table: pa.Table, footer: Mapping[str, Any], threshold: float) -> pa.Table:
    """The rows of a file with active_units at the study's threshold, should the file have been written at another."""
    if footer.get("threshold", threshold) == threshold:
        return table
    lists = table["activity"].combine_chunks()
    above = pc.greater(lists.flatten(), threshold).fill_null(False).to_numpy(zero_copy_only=False)
    counts = np.bincount(pc.list_parent_indices(lists).to_numpy(), weights=above, minlength=len(table))
    at = table.schema.get_field_index("active_units")
    return table.set_column(at, table.schema.field(at), pa.array(counts.astype(np.int32)))


def epochs_frame(
    files: Sequence[pa.Table],
    footers: Sequence[Mapping[str, Any]],
    threshold: float,
    problems: dict[str, str] | None = None,
) -> pd.DataFrame:
    """The stream in the order of its files, with active_units at one threshold; vectors stay Arrow lists.

    With `problems` (see read_folder) rows that are stored twice are left out, both of them: which is right is not known.

    Raises:
        RecordError: a (trial, epoch) is stored twice.
    """
    table = pa.concat_tables(_count_active(file, footer, threshold) for file, footer in zip(files, footers, strict=True))
    # Lists as Python objects would take seconds and a gigabyte.
    frame: pd.DataFrame = table.to_pandas(types_mapper=lambda kind: pd.ArrowDtype(kind) if pa.types.is_list(kind) else None)
    twice = frame.duplicated(["trial_id", "epoch"])
    if not twice.any():
        return frame
    trial_id, epoch = frame.loc[twice, ["trial_id", "epoch"]].to_numpy()[0]
    keys = [_key_of(file) for file in files if _has_row(file, trial_id, epoch)]
    found = RecordError(
        keys[-1], f"epoch {epoch} of trial {trial_id} is stored twice (see {keys[0]})", "move the wrong file away"
    )
    if problems is None:
        raise found
    problems[keys[-1]] = f"{found}; {int(twice.sum())} rows are left out in both files"
    return frame[~frame.duplicated(["trial_id", "epoch"], keep=False)].reset_index(drop=True)


def _has_row(table: pa.Table, trial_id: str, epoch: int) -> bool:
    same = pc.and_(pc.equal(table["trial_id"], trial_id), pc.equal(table["epoch"], int(epoch)))
    return bool(pc.any(same).as_py())


def drop_unknown(epochs: pd.DataFrame, plan: Plan, problems: dict[str, str] | None = None) -> pd.DataFrame:
    """The rows of planned trials, which are all of them, or (with `problems`) all that an entry of the plan explains.

    Raises:
        RecordError: the stream has rows of a trial that was never planned.
    """
    unknown = set(epochs["trial_id"].unique()) - set(plan.trials)
    if not unknown:
        return epochs
    found = RecordError(
        EPOCHS_FOLDER, f"has rows of trial {min(unknown)}, which no entry of the plan names", "move its file away"
    )
    if problems is None:
        raise found
    problems[EPOCHS_FOLDER] = f"{found} ({len(unknown)} such trials are left out)"
    return epochs[epochs["trial_id"].isin(list(plan.trials))].reset_index(drop=True)


def trials_frame(plan: Plan, ended: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """A row a planned trial: its settings, its goal, how far it came, and how it ended (null if it has not)."""
    frame = pd.DataFrame(
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
    # A trial that failed goes on in another pack if it is tried again: then that one says how it ended.
    is_old = (ended["status"] == "failed") & (ended["pack_id"] != ended["trial_id"].map(plan.pack_of))
    longest = ended[~is_old].sort_values("epochs").drop_duplicates("trial_id", keep="last").set_index("trial_id")
    longest = longest.reindex(frame["trial_id"]).reset_index(drop=True)
    frame["epochs_done"] = frame["trial_id"].map(epochs.groupby("trial_id")["epoch"].max()).fillna(0).astype(int)
    # A study made longer: what completed the shorter one has not reached the new goal.
    has_ended = longest["status"].notna() & (
        (longest["status"] != "completed") | (longest["epochs"] >= frame["epochs_goal"])
    )
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


def refuse_gaps(epochs: pd.DataFrame, trials: pd.DataFrame, problems: Mapping[str, str] | None = None) -> dict[str, str]:
    """Every epoch of a trial was stored before the ones after it, and before its row in `trials`: what lacks now is lost.

    Returns:
        What is lost of each trial that files with problems left incomplete; empty without `problems`.

    Raises:
        RecordError: a trial has fewer rows than it has come through epochs.
    """
    stored = trials["trial_id"].map(epochs.groupby("trial_id").size()).fillna(0).astype(int)
    ended = trials["status"] != "unfinished"
    reached = trials["last_epoch"].astype("Float64").fillna(trials["epochs_done"].astype(float)).astype(int)
    if problems is None:
        short = (ended | (stored > 0)) & (stored < reached + 1)
        if short.any():
            first = trials.assign(stored=stored, reached=reached)[short].iloc[0]
            raise RecordError(
                f"{EPOCHS_FOLDER}/{first['pack_id']}-*.parquet",
                f"{first['stored']} of {first['reached'] + 1} epochs of trial {first['trial_id']} are left",
                "restore the lost file from a copy",
            )
        return {}
    without_end = {key.split("/")[-1].split("-")[0] for key in problems if key.startswith(f"{TRIALS_FOLDER}/")}
    lost = {}
    for trial_id, pack_id, has_ended, rows, last in zip(
        trials["trial_id"], trials["pack_id"], ended, stored, reached, strict=True
    ):
        if rows < last + 1 and (rows or has_ended):
            lost[trial_id] = f"{rows} of {last + 1} epochs are left, the others lie in a file that cannot be read"
        elif not has_ended and pack_id in without_end:
            lost[trial_id] = "its end lies in a file that cannot be read"
    return lost
