"""Combines the epoch files of a study into one frame of scalars, in which each row belongs to a planned trial."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from analysis.loading.files import STREAM, File
from analysis.loading.vectors import Vectors
from workers.contract.columns import EPOCHS, SCHEMA_VERSION, VECTORS
from workers.contract.errors import RecordError
from workers.contract.settings import FACTORS
from workers.store.keys import EPOCHS_FOLDER
from workers.store.placement import repeated_rows
from workers.store.protocol import Store


def stream_frame(
    files: Sequence[File],
    planned: pd.DataFrame,
    store: Store,
    problems: dict[str, str] | None = None,
    kept: dict[tuple[str, str], pa.Array] | None = None,
) -> tuple[pd.DataFrame, Vectors]:
    """Return the scalars of the stream in the order of its files, and the places of its vectors.

    trial_id and decoder are categories.

    Args:
        files: with the columns STREAM.
        planned: see planned_frame.
        store: where the files are.
        problems: see read_folder. Both copies of a row that is stored twice are left out, as it is unknown which one is
            right, and so are rows of trials that no entry of the plan names.
        kept: vectors that have been read already.

    Raises:
        RecordError: without `problems`: a (trial, epoch) is stored twice, or was never planned.
    """
    begins = np.concatenate([[0], np.cumsum([len(file.table) for file in files], dtype=np.int64)]).astype(np.int64)
    whole = pa.concat_tables([EPOCHS.empty_table().select(STREAM), *(file.table for file in files)])
    codes = _codes_of((file.table for file in files), planned["trial_id"])
    epochs = whole["epoch"].to_numpy()
    chosen = _refuse_twice(files, begins, codes, epochs, planned["trial_id"], problems)
    chosen &= _refuse_unknown(whole, codes, problems)
    rows = np.flatnonzero(chosen)
    is_all = len(rows) == len(whole)
    codes = codes if is_all else codes[rows]
    columns: dict[str, Any] = {}
    for name in (name for name in EPOCHS.names if name not in VECTORS):
        if name == "trial_id":
            columns[name] = pd.Categorical.from_codes(codes, categories=pd.Index(planned["trial_id"]))
        elif name == "schema_version":
            columns[name] = np.full(len(rows), SCHEMA_VERSION, np.int32)
        elif name in FACTORS:
            columns[name] = by_trial(planned[name], codes, EPOCHS.field(name).type.to_pandas_dtype())
        else:
            values = whole[name].to_numpy()
            columns[name] = values if is_all else values[rows]
    vectors = Vectors(
        store,
        tuple(file.key for file in files),
        tuple(file.footer["content_sha256"] for file in files),
        begins,
        rows,
        problems,
        {} if kept is None else kept,
    )
    # One block per column: pandas would copy them into one.
    return pd.DataFrame(columns, copy=False), vectors


def by_trial(values: pd.Series, codes: NDArray[np.integer[Any]], kind: Any = None) -> Any:
    """Return the value of each row's trial, with texts as categories."""
    if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return values.to_numpy(kind)[codes]
    return pd.Categorical(values).take(codes)


def _codes_of(tables: Iterable[pa.Table], trial_ids: pd.Series) -> NDArray[np.int32]:
    """Return for each row the position of its trial among the planned ones; -1 if it was not planned."""
    place_of = {trial_id: place for place, trial_id in enumerate(trial_ids)}
    found = [np.zeros(0, np.int32)]
    for table in tables:
        # There are few trials and many rows.
        coded = table["trial_id"].combine_chunks().dictionary_encode()
        places = np.array([place_of.get(one, -1) for one in coded.dictionary.to_pylist()], np.int32)
        found.append(places[coded.indices.to_numpy()])
    return np.concatenate(found)


def _refuse_twice(
    files: Sequence[File],
    begins: NDArray[np.int64],
    codes: NDArray[np.int32],
    epochs: NDArray[np.int32],
    trial_ids: pd.Series,
    problems: dict[str, str] | None,
) -> NDArray[np.bool_]:
    """Tell which rows are stored once; see stream_frame."""
    # Rows of trials that were not planned all have code -1 and cannot be compared.
    twice = repeated_rows(codes, epochs) & (codes >= 0)
    if not twice.any():
        return np.ones(len(codes), bool)
    place = int(np.argmax(twice))
    among = np.flatnonzero((codes == codes[place]) & (epochs == epochs[place]))
    keys = [files[int(np.searchsorted(begins, one, "right")) - 1].key for one in among]
    words = f"epoch {epochs[place]} of trial {trial_ids.iloc[codes[place]]} is stored twice (see {keys[0]})"
    found = RecordError(keys[-1], words, "move the wrong file away")
    if problems is None:
        raise found
    problems[keys[-1]] = f"{found}; {int(twice.sum())} rows are left out in both files"
    last = repeated_rows(codes[::-1], epochs[::-1])[::-1]
    once: NDArray[np.bool_] = ~(twice | last) | (codes < 0)
    return once


def _refuse_unknown(whole: pa.Table, codes: NDArray[np.int32], problems: dict[str, str] | None) -> NDArray[np.bool_]:
    """Tell which rows belong to planned trials; see stream_frame."""
    known: NDArray[np.bool_] = codes >= 0
    if not known.all():
        unknown = whole["trial_id"].filter(pa.array(~known)).unique().to_pylist()
        found = RecordError(
            EPOCHS_FOLDER, f"has rows of trial {min(unknown)}, which no entry of the plan names", "move its file away"
        )
        if problems is None:
            raise found
        problems[EPOCHS_FOLDER] = f"{found} ({len(unknown)} such trials are left out)"
    return known
