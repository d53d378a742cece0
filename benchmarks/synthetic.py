"""Writes synthetic studies of any size, column by column in the real format; the numbers mean nothing."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from workers.contract.columns import EPOCHS, SCHEMA_VERSION, TRIALS
from workers.contract.settings import FACTORS
from workers.contract.settings_table import settings_from, value_of
from workers.contract.trial import Pack, Trial, pack_id_of, trial_of
from workers.store.folder import FolderStore
from workers.store.keys import epochs_key, trials_key
from workers.store.parquet import encode
from workers.store.plan_log import append_entry

FINGERPRINT = "ab" * 32
PACK = 60
CLASSES = 10
PROVENANCE = {
    "device": "cuda",
    "device_name": "synthetic",
    "precision": "ieee",
    "generator": "numpy-philox",
    "python": "3.11",
    "torch": "2.14.1",
    "commit": "0" * 40,
    "dirty": False,
    "fingerprint": FINGERPRINT,
}


def write_study(root: Path, trials: int, epochs: int = 300, units: int = 50, borders: int = 30) -> None:
    """Write a finished study of 16 cells with the seeds that `trials` needs, in packs of up to 60 with `borders` commits."""
    store, draws = FolderStore(root), np.random.default_rng(0)
    cells = [
        {"decoder": decoder, "k": k, "batch_norm": batch_norm, "warmup": warmup, "n_z": units}
        for decoder, k, batch_norm, warmup in product(("bernoulli", "gaussian"), (1, 5), (False, True), (0, 100))
    ]
    seeds = range(trials // len(cells))
    edges = tuple(sorted({max(1, epochs * i // borders) for i in range(1, borders + 1)}))
    planned = []
    for cell in cells:
        members = [trial_of(settings_from({**cell, "seed": seed, "training.epochs": epochs}), FINGERPRINT) for seed in seeds]
        for start in range(0, len(members), PACK):
            some = tuple(members[start : start + PACK])
            pack = Pack(pack_id=pack_id_of([trial.trial_id for trial in some], None, 0), trials=some, borders=edges)
            planned.append(pack)
            _write_pack(store, pack, units, draws)
    factors = {name: sorted({cell[name] for cell in cells}) for name in cells[0]} | {"seed": list(seeds)}
    footer = {"study": root.name, "grid": f"study: {root.name}", "factors": factors, "created": "2026-01-01T00:00:00+00:00"}
    assert append_entry(store, 1, planned, {**footer, "provenance": {"commit": "0" * 40, "dirty": False}})


def _write_pack(store: FolderStore, pack: Pack, units: int, draws: np.random.Generator) -> None:
    base, first = draws.normal(-90, 1, len(pack.trials)), 0
    for border in pack.borders:
        n = border - first + 1
        epoch = np.tile(np.arange(first, border + 1, dtype=np.int32), len(pack.trials))
        owner = np.repeat(np.arange(len(pack.trials)), n)
        table = _epochs(pack.trials, owner, epoch, base, units, draws)
        footer = {"kind": "epochs", "pack_id": pack.pack_id, "threshold": 0.1, "provenance": PROVENANCE}
        assert store.create(epochs_key(pack.pack_id, first, border), encode(table, footer))
        first = border + 1
    rows = [_end(trial, pack, base[i]) for i, trial in enumerate(pack.trials)]
    footer = {"kind": "trials", "pack_id": pack.pack_id, "provenance": PROVENANCE}
    assert store.create(trials_key(pack.pack_id, pack.epochs), encode(pa.Table.from_pylist(rows, schema=TRIALS), footer))


def _epochs(trials: Sequence[Trial], owner: Any, epoch: Any, base: Any, units: int, draws: np.random.Generator) -> pa.Table:
    n = len(owner)
    bound = base[owner] - 100 * np.exp(-epoch / 20) + draws.normal(0, 0.1, n)
    columns: dict[str, Any] = {
        "schema_version": np.full(n, SCHEMA_VERSION, np.int32),
        "trial_id": np.array([trial.trial_id for trial in trials])[owner],
        "epoch": epoch,
        "active_units": np.full(n, units // 2, np.int32),
    }
    for name in FACTORS:
        columns[name] = np.array([value_of(trial.settings, name) for trial in trials])[owner]
    arrays = []
    for field in EPOCHS:
        if pa.types.is_list(field.type):
            width = CLASSES if field.name == "reconstruction_per_class" else units
            flat = pa.array(draws.random(n * width, dtype=np.float32))
            arrays.append(pa.ListArray.from_arrays(pa.array(np.arange(n + 1, dtype=np.int32) * width), flat))
        else:
            values = columns.get(field.name, bound)
            arrays.append(pa.nulls(n, field.type) if "saturated" in field.name else pa.array(values).cast(field.type))
    return pa.Table.from_arrays(arrays, schema=EPOCHS)


def _end(trial: Trial, pack: Pack, base: float) -> dict[str, Any]:
    numbers = {field.name: float(base) for field in TRIALS if pa.types.is_floating(field.type)}
    return {
        **dict.fromkeys(TRIALS.names),
        **numbers,
        **{name: value_of(trial.settings, name) for name in FACTORS},
        "schema_version": SCHEMA_VERSION,
        "trial_id": trial.trial_id,
        "pack_id": pack.pack_id,
        "status": "completed",
        "epochs": pack.epochs,
        "last_epoch": pack.epochs,
        "nll": -float(base),
        "nll_samples": 5000,
        "secondary_samples": 100,
        "active_units": 25,
        "device": "synthetic",
    }
