"""Small grids, their trials, and packs that have ended without being trained."""

import hashlib
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pytest

from study.grid.design import trials_of
from study.grid.grid import Grid, parse_grid
from study.plan.machine import Machine
from workers.contract.columns import EPOCHS, SCHEMA_VERSION, TRIALS
from workers.contract.settings import FACTORS
from workers.contract.settings_table import value_of
from workers.contract.trial import Pack, Trial
from workers.data.images import KNOWN
from workers.store.keys import EPOCHS_FOLDER, TRIALS_FOLDER, trials_key
from workers.store.open import open_store
from workers.store.parquet import content_sha256, decode, encode
from workers.store.placement import keys_at_borders
from workers.store.protocol import Store

CPU = Machine("cpu", 2)
DIGITS = KNOWN["digits"]


def use_machine(patch: pytest.MonkeyPatch, machine: Machine = CPU) -> None:
    """Run packs as if this were such a machine: they then have the same members on every machine."""
    patch.setattr("study.drive.executors.site.this_machine", lambda run: machine)


def grid_of(*lines: str, sets: Collection[str] = ()) -> Grid:
    """A grid named s with these further lines."""
    return parse_grid("\n".join(["study: s", *lines]), sets=sets)


def trials_in(grid: Grid) -> list[Trial]:
    return trials_of(grid, DIGITS.fingerprint)


def trials_from(*lines: str, sets: Collection[str] = ()) -> list[Trial]:
    return trials_in(grid_of(*lines, sets=sets))


def levels_of(trials: Collection[Trial], *names: str) -> list[tuple]:
    """What the trials have for these settings, in order."""
    return [tuple(value_of(trial.settings, name) for name in names) for trial in trials]


def end(store: Store, pack: Pack, diverged: Collection[str] = ()) -> None:
    """Write rows files without rows, and the trials file that says that a pack is done."""
    for key in keys_at_borders(pack, pack.epochs):
        store.create(key, encode(EPOCHS.empty_table(), {"kind": "epochs", "pack_id": pack.pack_id}))
    rows = []
    for trial in pack.trials:
        fell = trial.trial_id in diverged
        rows.append(
            {
                **{field.name: None for field in TRIALS},
                **{name: value_of(trial.settings, name) for name in FACTORS},
                "schema_version": SCHEMA_VERSION,
                "trial_id": trial.trial_id,
                "pack_id": pack.pack_id,
                "status": "diverged" if fell else "completed",
                "epochs": pack.epochs,
                "last_epoch": pack.epochs - fell,
            }
        )
    table = pa.Table.from_pylist(rows, schema=TRIALS)
    assert store.create(trials_key(pack.pack_id, pack.epochs), encode(table, {"kind": "trials", "pack_id": pack.pack_id}))


def files_in(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file of the results but the private checkpoints: when it was written and what it holds."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in folder.rglob("*")
        if path.is_file() and "checkpoints" not in path.parts
    }


def contents_of(folder: Path) -> dict[str, str]:
    """The content hash of every file of the stream and of the finished trials."""
    store = open_store(str(folder))
    keys = [*store.list(EPOCHS_FOLDER), *store.list(TRIALS_FOLDER)]
    return {key: content_sha256(decode(store.read(key), key)) for key in keys}
