"""A tiny real study that has ended, trained once a test run: two packs, and of each a child that went on alone."""

import atexit
import io
import shutil
import tempfile
from collections.abc import Callable
from contextlib import chdir, redirect_stdout
from functools import cache
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
import torch

import study.commands.run
import study.pipeline
from tests.study.small_study import use_machine
from workers.store.parquet import decode_with_footer, encode

TINY = """
study: tiny
data: {n_valid: 1337}  # a hundred images to train on
factors: {k: [1, 2], seed: [0, 1]}
model: {hidden: [8], activation: relu}
training: {epochs: 2, batch_size: 50}
measure: {images: 100, nll_samples: 5, secondary_samples: 3}
run: {device: cpu, commit_every: 1, max_failures: 2}
"""
LONGER = ("--only", "seed=0", "--set", "training.epochs=4")


def finished(out: Path) -> Path:
    """A copy of the study below a folder."""
    shutil.copytree(_trained() / "tiny", out / "tiny")
    return out / "tiny"


@cache
def _trained() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="finished-study-"))
    atexit.register(shutil.rmtree, folder)
    with pytest.MonkeyPatch.context() as patch, chdir(folder), redirect_stdout(io.StringIO()):
        use_machine(patch)
        (folder / "tiny.yaml").write_text(TINY)
        for options in ((), LONGER):
            assert study.commands.run.main(["tiny.yaml", "--executor", "inline", "--out", str(folder), *options]) == 0
    # A worker sets it for its process; Hypothesis, which runs in this one later, draws no floats then.
    torch.set_flush_denormal(False)
    return folder


def changed(
    path: Path, change: Callable[[pd.DataFrame], None], footer: Callable[[dict], None] = lambda footer: None
) -> None:
    """Write a file anew with other numbers, and checksums and a content hash that fit them."""
    table, facts = decode_with_footer(path.read_bytes(), path.name)
    frame = table.to_pandas()
    change(frame)
    footer(facts)
    facts = {name: value for name, value in facts.items() if name not in ("schema_version", "content_sha256")}
    other = pa.Table.from_pylist(frame.to_dict("records"), schema=table.schema.remove_metadata())
    path.write_bytes(encode(other, facts))


def rewritten(
    path: Path, change: Callable[[list[dict]], object], footer: Callable[[dict], object] = lambda footer: None
) -> None:
    """The same as `changed`, for rows as they are stored: pandas has no whole numbers and lists beside nulls."""
    table, facts = decode_with_footer(path.read_bytes(), path.name)
    rows = table.to_pylist()
    change(rows)
    footer(facts)
    facts = {name: value for name, value in facts.items() if name not in ("schema_version", "content_sha256")}
    path.write_bytes(encode(pa.Table.from_pylist(rows, schema=table.schema.remove_metadata()), facts))
