"""Reads and verifies the files of a study, each by itself, and lays them side by side as frames; judges no path."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from workers.plan import Plan
from workers.records import EPOCHS, TRIALS, RecordError, decode, read_footer
from workers.settings import FACTORS, flatten
from workers.store import EPOCHS_FOLDER, Store

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


def read_folder(store: Store, folder: str, schema: pa.Schema) -> tuple[list[pa.Table], list[Mapping[str, Any]]]:
    """Every file of a folder as a table (its key in the metadata) and its footer; one empty table if there is none.

    Raises:
        RecordError: a file is damaged, of another version, or does not belong there.
    """
    tables: list[pa.Table] = []
    footers: list[Mapping[str, Any]] = []
    for key in store.list(folder):
        if not key.endswith(".parquet"):
            continue
        raw = store.read(key)
        table, footer = decode(raw, key), read_footer(raw, key)
        if table.schema.names != schema.names:
            raise RecordError(key, f"is no file of {folder}/ (kind {footer.get('kind')})", "move it away")
        tables.append(table.replace_schema_metadata({"key": key}))
        footers.append(footer)
    # An empty table keeps the columns where there is no file yet.
    return tables or [schema.empty_table()], footers or [{}]


def _count_active(table: pa.Table, footer: Mapping[str, Any], threshold: float) -> pa.Table:
    """The rows of a file with active_units at the study's threshold, should the file have been written at another."""
    if footer.get("threshold", threshold) == threshold:
        return table
    lists = table["activity"].combine_chunks()
    above = pc.greater(lists.flatten(), threshold).fill_null(False).to_numpy(zero_copy_only=False)
    counts = np.bincount(pc.list_parent_indices(lists).to_numpy(), weights=above, minlength=len(table))
    at = table.schema.get_field_index("active_units")
    return table.set_column(at, table.schema.field(at), pa.array(counts.astype(np.int32)))


def epochs_frame(files: Sequence[pa.Table], footers: Sequence[Mapping[str, Any]], threshold: float) -> pd.DataFrame:
    """The stream in the order of its files, with active_units at one threshold; vectors stay Arrow lists.

    Raises:
        RecordError: a (trial, epoch) is stored twice.
    """
    table = pa.concat_tables(_count_active(file, footer, threshold) for file, footer in zip(files, footers, strict=True))
    # Lists as Python objects would take seconds and a gigabyte.
    frame: pd.DataFrame = table.to_pandas(types_mapper=lambda kind: pd.ArrowDtype(kind) if pa.types.is_list(kind) else None)
    twice = frame.duplicated(["trial_id", "epoch"])
    if twice.any():
        trial_id, epoch = frame.loc[twice, ["trial_id", "epoch"]].to_numpy()[0]
        keys = [file.schema.metadata[b"key"].decode() for file in files if _has_row(file, trial_id, epoch)]
        raise RecordError(
            keys[-1], f"epoch {epoch} of trial {trial_id} is stored twice (see {keys[0]})", "move the wrong file away"
        )
    return frame


def _has_row(table: pa.Table, trial_id: str, epoch: int) -> bool:
    same = pc.and_(pc.equal(table["trial_id"], trial_id), pc.equal(table["epoch"], int(epoch)))
    return bool(pc.any(same).as_py())


def trials_frame(plan: Plan, ended: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """A row a planned trial: its settings, its goal, how far it came, and how it ended (null if it has not).

    Raises:
        RecordError: the stream has rows of a trial that was never planned.
    """
    frame = pd.DataFrame(
        {
            "trial_id": trial_id,
            "pack_id": plan.pack_of[trial_id],
            "fingerprint": trial.fingerprint,
            **flatten(trial.settings),
            "epochs_goal": plan.packs[plan.pack_of[trial_id]].epochs,
        }
        for trial_id, trial in plan.trials.items()
    )
    unknown = set(epochs["trial_id"].unique()) - set(plan.trials)
    if unknown:
        raise RecordError(
            EPOCHS_FOLDER, f"has rows of trial {min(unknown)}, which no entry of the plan names", "move its file away"
        )
    longest = ended.sort_values("epochs").drop_duplicates("trial_id", keep="last").set_index("trial_id")
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


def refuse_gaps(epochs: pd.DataFrame, trials: pd.DataFrame) -> None:
    """Every epoch of an ended trial was stored before its row in `trials`: what lacks now is lost.

    Raises:
        RecordError: an ended trial has fewer rows than epochs.
    """
    stored = trials["trial_id"].map(epochs.groupby("trial_id").size()).fillna(0)
    short = (trials["status"] != "unfinished") & (stored < trials["last_epoch"].fillna(0) + 1)
    if short.any():
        first = trials.assign(stored=stored)[short].iloc[0]
        raise RecordError(
            f"{EPOCHS_FOLDER}/{first['pack_id']}-*.parquet",
            f"{int(first['stored'])} of {int(first['last_epoch']) + 1} epochs of trial {first['trial_id']} are left",
            "restore the lost file from a copy",
        )
