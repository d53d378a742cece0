"""Measures how far trials differ by rounding alone: trained alone, padded, or with the kernels of another processor.

    OMP_NUM_THREADS=1 python -m benchmarks.verify_band [--epochs 60] [--seeds 2] [--n-z 10] [--kinds padded] [--out FOLDER]

Trains trials of the quick start's kind (digits; both decoders, K 1 and 5, batch norm, warm-up) side by side in packs, in the
same packs again, each alone, each alone on kernels without AVX (as an old processor would choose them), and in packs as on a
GPU, where several n_z are padded to the largest. Prints the table of docs/verify.md: the largest distance to the packed run.
It takes about an hour on one core; results in the output folder are reused.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

OLD_PROCESSOR = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41"}
KINDS = {
    "alone": ("alone", {}),
    "alone, other kernels": ("alone", OLD_PROCESSOR),
    "the same packs": ("packed", {}),
    "padded": ("padded", {}),
}
"""How each run differs from the packed one: in its packs and its environment."""
WHAT = ("bounds (of |bound|)", "activity", "activity (relative)")
GRID = """
study: band
data: {{name: digits}}
factors:
  {{decoder: [bernoulli, gaussian], k: [1, 5], batch_norm: [false, true], warmup: [0, 20], n_z: [{n_z}], seed: [{seeds}]}}
training: {{epochs: {epochs}, batch_size: 100, learning_rate: 0.001, beta1: 0.9, beta2: 0.9, epsilon: 0.0001}}
model: {{hidden: [200, 200], activation: softplus}}
measure: {{threshold: 0.1, images: 10000, nll_samples: 100, secondary_samples: 20}}
run: {{commit_every: {epochs}}}
"""


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--epochs", type=int, default=60)
    words.add_argument("--seeds", type=int, default=2)
    words.add_argument("--n-z", type=int, nargs="+", default=[10])
    words.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    words.add_argument("--out", default="verify-band")
    words.add_argument("--part", help=argparse.SUPPRESS)
    given = words.parse_args()
    n_z, seeds = (", ".join(map(str, levels)) for levels in (given.n_z, range(given.seeds)))
    text = GRID.format(epochs=given.epochs, n_z=n_z, seeds=seeds)
    if given.part:
        run_part(text, given.part, Path(given.out))
        return
    folders = {"packed": Path(given.out, "packed")}
    train_apart(given, folders["packed"], "packed", {})
    columns = (
        "trials",
        "bit-equal",
        *(f"{what}, {when}" for what in WHAT for when in ("last epoch", "all epochs")),
        "of the band",
    )
    print(f"| against the packed run | {' | '.join(columns)} |")
    print("|---" * (1 + len(columns)) + "|", flush=True)
    for kind in given.kinds:
        folder = Path(given.out, kind.replace(",", "").replace(" ", "-"))
        train_apart(given, folder, *KINDS[kind])
        print(row_of(kind, folders["packed"], folder), flush=True)


def train_apart(given: argparse.Namespace, folder: Path, part: str, environment: dict[str, str]) -> None:
    # Kernels are chosen when torch is loaded, so each kind runs in its own process.
    options = ["--epochs", str(given.epochs), "--seeds", str(given.seeds), "--out", str(folder), "--part", part]
    options += ["--n-z", *map(str, given.n_z)]
    command = [sys.executable, "-m", "benchmarks.verify_band", *options]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment)


def run_part(text: str, part: str, folder: Path) -> None:
    from study.grid.design import trials_of
    from study.grid.grid import parse_grid
    from study.plan.packing import pack_trials
    from workers.data.images import known
    from workers.model.inputs import load_data
    from workers.replicas.device import prepare_device
    from workers.store.listing import ended_packs
    from workers.store.open import open_store
    from workers.train.loop import train

    grid = parse_grid(text)
    known_data = known(grid.base.data)
    device = prepare_device("cpu")
    data = load_data(grid.base.data, grid.base.measure, device)
    run = grid.run.model_copy(update={"packing": "none" if part == "alone" else "auto"})
    packed_for = "cuda" if part == "padded" else "cpu"
    store = open_store(str(folder))
    done = ended_packs(store)
    for pack in pack_trials(trials_of(grid, known_data.fingerprint), run, packed_for, 1, known_data):
        if (pack.pack_id, pack.epochs) not in done:
            train(pack, data, store, device=device, attempt="0")
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def row_of(kind: str, packed: Path, other: Path) -> str:
    import numpy as np
    import pandas as pd
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from study.verify.gaps import BAND, gaps
    from workers.contract.column import NATS
    from workers.contract.columns import EPOCH_COLUMNS

    def read(folder: Path) -> pd.DataFrame:
        return pd.read_parquet(folder / "epochs").sort_values(["trial_id", "epoch"], ignore_index=True)

    was, now = read(packed), read(other)
    assert was[["trial_id", "epoch"]].equals(now[["trial_id", "epoch"]])
    last = (was["epoch"] == was["epoch"].max()).to_numpy()
    scale = was["test_bound"].abs().to_numpy()
    nats = [column.name for column in EPOCH_COLUMNS if column.unit == NATS and not column.is_vector]
    bounds = np.max([np.abs(was[name] - now[name]).to_numpy() / scale for name in nats], axis=0)
    activity = [np.abs(a.astype(float) - b) for a, b in zip(was["activity"], now["activity"], strict=True)]
    absolute = np.array([a.max() for a in activity])
    relative = np.array([(d / np.abs(a)).max() for d, a in zip(activity, was["activity"], strict=True)])
    numbers = bounds[last].max(), bounds.max(), absolute[last].max(), absolute.max(), relative[last].max(), relative.max()
    # Compare every column and the final measures, as `study verify` does.
    worst = {}
    for part in ("epochs", "trials"):
        tables = [
            pq.read_table(folder / part).sort_by("epoch" if part == "epochs" else "trial_id") for folder in (packed, other)
        ]
        for trial_id in was["trial_id"].unique():
            rows = [table.filter(pc.equal(table["trial_id"], trial_id)) for table in tables]
            worst[part, trial_id] = gaps(*rows, BAND, 0.1)
    ids = was["trial_id"].unique()
    equal = sum(not worst["epochs", trial_id] and not worst["trials", trial_id] for trial_id in ids)
    top = max((found[0] for found in worst.values() if found), key=lambda gap: gap.of_band, default=None)
    share = "0" if top is None else f"{top.of_band:.2f} ({top.column})"
    return f"| {kind} | {len(ids)} | {equal} | {' | '.join(f'{number:.1e}' for number in numbers)} | {share} |"


if __name__ == "__main__":
    main()
