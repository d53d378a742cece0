"""What the files of a planted study hold, and damage to them."""

import numpy as np
import pyarrow.parquet as pq

from analysis.loading.vectors import VECTORS
from tests.analysis.planted import write
from workers.contract.columns import EPOCHS
from workers.contract.trial import pack_id_of
from workers.store.keys import epochs_key
from workers.store.parquet import decode_with_footer, encode
from workers.store.plan_log import append_entry, read_plan

SCALARS = [name for name in EPOCHS.names if name not in VECTORS]


def all_lists(study, column, trial_ids=None):
    """The vectors of rows by trial and epoch."""
    rows, lengths, values = study.vectors(trial_ids, column)
    lists = np.split(values, np.cumsum(lengths)[:-1]) if len(rows) else []
    return {key: list(one) for key, one in zip(rows.itertuples(index=False, name=None), lists, strict=True)}


def flip(file, place):
    raw = bytearray(file.read_bytes())
    raw[round(place * len(raw))] ^= 0x55
    file.write_bytes(raw)


def flip_page(file, column):
    """Change a byte of the values of a column."""
    metadata = pq.read_metadata(file)
    chunk = metadata.row_group(0).column(metadata.schema.to_arrow_schema().names.index(column))
    begins = min(place for place in (chunk.dictionary_page_offset, chunk.data_page_offset) if place is not None)
    flip(file, (begins + chunk.total_compressed_size - 1) / file.stat().st_size)


def twice(root):
    """A study with the rows of one file also in a file of a pack that continues its own from the beginning; its key."""
    store = write(root)
    key = sorted(store.list("epochs"))[0]
    table, footer = decode_with_footer(store.read(key), key)
    plan = read_plan(store)
    pack = plan.packs[footer["pack_id"]]
    child_id = pack_id_of([trial.trial_id for trial in pack.trials], pack.pack_id, 0)
    child = pack.model_copy(update={"pack_id": child_id, "parent": pack.pack_id})
    append_entry(store, 2, [child], {name: plan.footers[0][name] for name in ("study", "grid", "factors")})
    copied = epochs_key(child_id, 0, 2)
    store.create(copied, encode(table, {**footer, "pack_id": child_id}))
    return copied
