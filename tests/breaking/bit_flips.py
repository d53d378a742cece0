"""Flip single bits of stored files: each is detected, the file named, or changes nothing that is read.

    python -m tests.breaking.bit_flips --count 10000 --seed 0

A flip is judged by reading the one file whole. That this is what `load(vectors=True)` and `read_model` make of it is shown
for every `--wholes`-th flip; and that what `load` leaves in its files is no gap: whoever reads the vectors later is told, or
nothing that was read has changed. The control reads the same bytes without the project's checksums.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from analysis.latent import models
from analysis.loading.load import load
from analysis.loading.study import Study
from analysis.loading.vectors import VECTORS
from tests.breaking import victim
from workers.contract.errors import RecordError
from workers.store.parquet import decode_with_footer
from workers.store.placement import refuse_renamed
from workers.store.weights_file import decode_weights

ROWS = ("epochs", "trials")


def read_checked(key: str, raw: bytes) -> object:
    """What a file says, read as the project reads it."""
    if key.startswith("weights/"):
        return bytes_of(*decode_weights(raw, key))
    table, footer = decode_with_footer(raw, key)
    if key.startswith(ROWS):
        refuse_renamed(key, table, footer)
    return table, footer


def read_unchecked(key: str, raw: bytes) -> object:
    """The same without a checksum: by Parquet and safetensors alone."""
    if key.startswith("weights/"):
        return bytes_of(load_tensors(raw), victim.facts_of(raw))
    table = pq.read_table(pa.BufferReader(raw), use_threads=False)
    return table, json.loads(table.schema.metadata[b"study"])


def bytes_of(tensors, facts) -> tuple:
    return {name: (array.dtype, array.shape, array.tobytes()) for name, array in tensors.items()}, facts


def is_same(one, other) -> bool:
    tables = [isinstance(found[0], pa.Table) for found in (one, other)]
    content = one[0].equals(other[0]) if all(tables) else one[0] == other[0]
    return content and one[1] == other[1]


def outcome(read, key: str, raw: bytes, whole) -> str:
    """What comes of damaged bytes: detected | harmless | silent."""
    try:
        found = read(key, raw)
    except RecordError as error:
        assert error.path == key, f"{key}: the error names {error.path}"
        return "detected"
    return "harmless" if is_same(found, whole) else "silent"


def outcome_unchecked(key: str, raw: bytes, whole) -> str:
    try:
        return "harmless" if is_same(read_unchecked(key, raw), whole) else "silent"
    except (pa.ArrowException, SafetensorError, OSError, ValueError, KeyError, TypeError):
        return "detected"


def outcome_of_whole(root: Path, file: Path, whole) -> str:
    """What `load`, or `read_model` of weights, makes of the damaged study; silent if that is what reading in parts is."""
    outcomes = []
    for vectors in (False, True):
        try:
            outcomes.append("harmless" if same_study(read_study(root, file, vectors), whole) else "silent")
        except RecordError as error:
            assert error.path == str(file), f"{file}: the error names {error.path}"
            outcomes.append("detected")
    return "silent" if "silent" in outcomes else outcomes[-1]


def read_study(root: Path, file: Path, vectors: bool = True) -> Study | models.Model:
    if file.parent.name != "weights":
        return load(root, vectors=vectors)
    trial_id, epochs = file.stem.split("-")
    return models.read_model(root, trial_id, int(epochs))


def same_study(one, other) -> bool:
    if isinstance(one, models.Model):
        numbers = (
            {name: t.numpy().tobytes() for name, t in m.parameters.items()}
            | {name: (a.numpy().tobytes(), b.numpy().tobytes()) for name, (a, b) in m.statistics.items()}
            for m in (one, other)
        )
        facts = ((m.trial_id, m.epoch, m.settings) for m in (one, other))
        return len({repr(sorted(n.items())) for n in numbers}) == 1 and len(set(facts)) == 1
    try:
        for name in ("trials", "epochs", "missing"):
            pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
        for column in VECTORS:
            for mine, theirs in zip(one.vectors(column=column), other.vectors(column=column), strict=True):
                np.testing.assert_array_equal(mine, theirs)
    except AssertionError:
        return False
    facts = ((s.name, s.factors, s.threshold, s.provenance) for s in (one, other))
    return next(facts) == next(facts)


def flip(raw: bytes, bit: int) -> bytes:
    damaged = bytearray(raw)
    damaged[bit // 8] ^= 1 << (bit % 8)
    return bytes(damaged)


def run(root: Path, count: int, seed: int, every: int, folder: Path) -> tuple[Counter, Counter, Counter]:
    """Outcomes of all flips, of the control, and of whole loads by whether the one file's outcome was the same."""
    raws = {str(file.relative_to(root)): file.read_bytes() for file in victim.stored(root)}
    wholes = {key: read_checked(key, raw) for key, raw in raws.items()}
    plain = {key: read_unchecked(key, raw) for key, raw in raws.items()}
    studies = {key: read_study(root, root / key) for key in raws if key.startswith("weights/")}
    study = load(root, vectors=True)
    copied = victim.copy(root, folder)
    rng = np.random.default_rng(seed)
    keys = sorted(raws)
    checked, control, agree = Counter(), Counter(), Counter()
    for number in range(count):
        key = keys[int(rng.integers(len(keys)))]
        bad = flip(raws[key], int(rng.integers(8 * len(raws[key]))))
        found = outcome(read_checked, key, bad, wholes[key])
        checked[found] += 1
        control[outcome_unchecked(key, bad, plain[key])] += 1
        if number % every == 0:
            victim.replace(copied / key, bad)
            agree[outcome_of_whole(copied, copied / key, studies.get(key, study)) == found] += 1
            victim.replace(copied / key, raws[key])
    return checked, control, agree


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--wholes", type=int, default=50, help="every such flip is also judged by a whole load")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        checked, control, agree = run(
            victim.make(Path(folder) / "made"), asked.count, asked.seed, asked.wholes, Path(folder)
        )
    print(
        f"{asked.count} flips: {checked['detected']} detected, {checked['harmless']} harmless, {checked['silent']} silent; "
        f"without checksums {control['silent']} silent; {agree[True]} of {agree.total()} whole loads agree"
    )
    return int(checked["silent"] > 0 or control["silent"] == 0 or agree[False] > 0)


if __name__ == "__main__":
    sys.exit(main())
