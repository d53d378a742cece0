"""Small studies that are trained for real, copies of them, and files that are written anew with right checksums."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from tests.breaking import victim
from tests.study.small_study import use_machine
from workers.store.parquet import decode_with_footer, encode
from workers.store.weights_file import decode_weights, encode_weights

COPIED = (*victim.STORED, "checkpoints")

GRID = victim.GRID.replace("packing: none", "device: cpu")
"""Two packs of two trials each; then the trials with seed 0 go on alone, in two packs that continue these."""

LONGER = ("--only", "seed=0", "--set", "training.epochs=3")

OTHERS = {
    "other seeds": ("seed: [0, 1]", "seed: [0, 2]"),
    "other name": ("study: victim", "study: another"),
    "other images": ("images: 60", "images: 40"),
    "other samples": ("nll_samples: 2", "nll_samples: 3"),
    "other threshold": ("measure: {", "measure: {threshold: 0.02, "),
    "other data": ("classes: [0, 1]", "classes: [2, 3]"),
    "other epochs": ("epochs: 2", "epochs: 3"),
    "other borders": ("commit_every: 1", "commit_every: 2"),
    "other model": ("hidden: [4]", "hidden: [5]"),
}


def make_all(folder: Path) -> dict[str, Path]:
    """Train the victim and, beside it, every study that its files could be mixed up with."""
    with pytest.MonkeyPatch.context() as patch:
        use_machine(patch)
        made = {"victim": make(folder / "victim", GRID)}
        for name, (was, now) in OTHERS.items():
            assert was in GRID
            made[name] = make(folder / name.replace(" ", "-"), GRID.replace(was, now))
    return made


def make(folder: Path, grid: str) -> Path:
    folder.mkdir(parents=True)
    for options in ((), LONGER):
        code, text = victim.run(folder, "--set", "n_z=2", *options, grid=grid)
        assert code == 0, text
    (root,) = (path.parent for path in folder.glob("*/plan"))
    return root


def copy(root: Path, target: Path) -> Path:
    for folder in COPIED:
        shutil.copytree(root / folder, target / folder, copy_function=os.link)
    return target


def files(root: Path, *folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (root / folder).iterdir())


def write(path: Path, raw: bytes) -> None:
    """Other bytes under this name; the file of which it is a link stays as it was."""
    path.unlink(missing_ok=True)
    path.write_bytes(raw)


def edit(path: Path, rows: Callable = lambda rows: rows, footer: Callable = lambda footer: footer, to: Path | None = None):
    """Write a file with other rows and another footer, and checksums that fit; its values may be such that it cannot be."""
    table, facts = decode_with_footer(path.read_bytes(), path.name)
    for name in ("schema_version", "content_sha256", "columns_sha256"):
        del facts[name]
    changed = pa.Table.from_pylist(rows(table.to_pylist()), schema=table.schema.remove_metadata())
    raw = encode(changed, footer(facts))
    if to is not None:
        path.unlink()
    write(to or path, raw)


def edit_model(path: Path, change: Callable) -> None:
    tensors, facts = decode_weights(path.read_bytes(), path.name)
    change(facts)
    write(path, encode_weights(tensors, facts))
