"""Synthetic studies written through the real contract, with numbers that a test can plant and expect back."""

from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa

from workers.contract.columns import EPOCHS, SCHEMA_VERSION, TRIALS
from workers.contract.settings_table import settings_from
from workers.contract.trial import Pack, pack_id_of, trial_of
from workers.store.folder import FolderStore
from workers.store.keys import epochs_key, trials_key
from workers.store.parquet import encode
from workers.store.plan_log import append_entry

FINGERPRINT = "ab" * 32
BASELINE = {"bernoulli": -25.0, "gaussian": -40.0}
FINAL = {
    "l_1": -21.0,
    "l_5": -20.5,
    "l_64": -20.1,
    "nll_comparable": 20.0,
    "test_mse": 0.05,
    "test_cross_entropy": 15.0,
    "saturated_pixels": None,
    "mutual_information": 4.0,
    "marginal_kl": 1.0,
    "ablation_low": -0.01,
    "ablation_between": -0.5,
    "ablation_low_elbo": -0.02,
    "ablation_between_elbo": -0.9,
    "bound_bin": None,
    "activity_bin": None,
    "activity_grey": [0.1, 0.2],
}
SMALL = {"decoder": ["bernoulli"], "k": [1, 5], "batch_norm": [False], "warmup": [0], "n_z": [3], "seed": [0, 1, 2]}
PROVENANCE = {
    "device": "cpu",
    "precision": "float32",
    "generator": "numpy-philox",
    "versions": {"torch": "2.11.0", "python": "3.11.9"},
    "commit": "6b0292a",
    "dirty": False,
    "fingerprint": FINGERPRINT,
}


def flat_bound(s, epoch):
    """A bound that tells every trial and epoch apart."""
    return -20.0 + s["k"] + 10 * s["batch_norm"] + s["seed"] ** 2 + epoch / 100


def flat_activity(s, epoch):
    """Two active units, at places that change with the seed."""
    values = np.full(s["n_z"], 0.001)
    values[s["seed"] % s["n_z"]] = 0.5
    values[(s["seed"] + 1) % s["n_z"]] = 0.9
    return values


def write(
    root: Path,
    factors: Mapping[str, list] = SMALL,
    epochs: int = 4,
    settings: Mapping = {},
    done: Callable[[dict], int] = lambda s: 10**9,
    diverged: Mapping[tuple, int] = {},
    excluded: Callable[[dict], bool] = lambda s: False,
    bound: Callable = flat_bound,
    activity: Callable = flat_activity,
    borders: int = 2,
    entry: int = 1,
    threshold: float = 0.1,
) -> FolderStore:
    """Write a study: `done(settings)` epochs of each trial (-1: none); `diverged[(k, seed)]` is a last epoch."""
    store = FolderStore(root)
    packs = {}
    for levels in product(*factors.values()):
        values = dict(zip(factors, levels, strict=True))
        if excluded(values):
            continue
        trial = trial_of(
            settings_from({"measure.nll_samples": 500, **values, "training.epochs": epochs, **settings}), FINGERPRINT
        )
        packs.setdefault(tuple(v for n, v in values.items() if n not in ("seed", "warmup")), []).append((trial, values))
    edges = tuple(sorted({*(max(1, epochs * i // borders) for i in range(1, borders)), epochs}))
    planned = []
    for members in packs.values():
        pack = Pack(
            pack_id=pack_id_of([t.trial_id for t, _ in members], None, 0), trials=tuple(t for t, _ in members), borders=edges
        )
        planned.append(pack)
        write_rows(store, pack, members, done, diverged, bound, activity, threshold)
    footer = {"study": root.name, "grid": "study: x", "factors": dict(factors), "created": "2025-01-02T03:04:05+00:00"}
    assert append_entry(store, entry, planned, {**footer, "provenance": {"commit": "6b0292a", "dirty": False}})
    return store


def write_rows(store, pack, members, done, diverged, bound, activity, threshold):
    first = 0
    for border in pack.borders:
        rows = [
            row_of(trial, values, epoch, bound, activity, threshold)
            for trial, values in members
            for epoch in range(first, min(border, done(values), last_epoch(values, pack, diverged)) + 1)
        ]
        if rows:
            table = pa.Table.from_pylist(rows, schema=EPOCHS)
            footer = {"kind": "epochs", "pack_id": pack.pack_id, "threshold": threshold, "provenance": PROVENANCE}
            store.create(epochs_key(pack.pack_id, first, border), encode(table, footer))
        first = border + 1
    if all(done(values) >= pack.epochs for _, values in members):
        table = pa.Table.from_pylist(
            [end_of(t, v, pack, diverged, bound, activity, threshold) for t, v in members], schema=TRIALS
        )
        store.create(
            trials_key(pack.pack_id, pack.epochs),
            encode(table, {"kind": "trials", "pack_id": pack.pack_id, "provenance": PROVENANCE}),
        )


def last_epoch(values, pack, diverged):
    return diverged.get((values["k"], values["seed"]), pack.epochs)


def row_of(trial, values, epoch, bound, activity, threshold):
    units = np.asarray(activity(values, epoch))
    value = float(bound(values, epoch))
    return {
        "schema_version": SCHEMA_VERSION,
        "trial_id": trial.trial_id,
        **{name: values[name] for name in ("decoder", "k", "batch_norm", "warmup", "n_z", "seed")},
        "epoch": epoch,
        "beta": 1.0,
        **dict.fromkeys(("train_objective", "train_bound", "test_bound", "test_elbo"), value),
        "test_reconstruction": value + 5,
        "test_kl": 5.0,
        "ess": 1.0,
        "saturated_mean": None,
        "saturated_log_variance": None,
        "activity_pca": np.sort(units)[::-1],
        "active_units": int((units > threshold).sum()),
        **dict.fromkeys(("activity", "activity_test", "kl_per_unit", "kl_per_unit_test"), units),
        **dict.fromkeys(("posterior_mean", "posterior_variance"), units),
        "reconstruction_per_class": [value] * 10,
        "seconds": 0.5,
    }


def end_of(trial, values, pack, diverged, bound, activity, threshold):
    last = last_epoch(values, pack, diverged)
    row = row_of(trial, values, last, bound, activity, threshold)
    completed = last == pack.epochs
    return {
        **{name: row[name] for name in TRIALS.names if name in row},
        "pack_id": pack.pack_id,
        "status": "completed" if completed else "diverged",
        "epochs": pack.epochs,
        "last_epoch": last,
        "nll": -row["test_bound"] - 1 if completed else None,
        "nll_samples": trial.settings.measure.nll_samples,
        **{name: value if completed else None for name, value in FINAL.items()},
        "secondary_samples": 100,
        "baseline_bound": BASELINE[values["decoder"]],
        "device": "cpu",
    }


# --- a study that looks like one: for the eye, and for the clock --------------------------------------------------------

FACTORIAL = {
    "decoder": ["bernoulli", "gaussian"],
    "k": [1, 5],
    "batch_norm": [False, True],
    "warmup": [0, 20],
    "n_z": [2, 10, 50],
    "seed": [0, 1, 2],
}


def plausible_bound(s, epoch):
    noise = np.random.default_rng([s["seed"], s["k"], s["n_z"], s["batch_norm"], s["warmup"], epoch])
    offset = np.random.default_rng([s["seed"], 7]).normal(0, 0.12)
    goal = {2: -22.0, 10: -19.2}.get(s["n_z"], -18.9) + 0.5 * (s["k"] > 1) - 0.25 * s["batch_norm"]
    speed = 4 if s["batch_norm"] else 6
    early = -18 * np.exp(-epoch / (speed * 0.5)) - 3 * np.exp(-epoch / (2 * speed))
    pressure = -4 * max(0, 1 - epoch / s["warmup"]) ** 2 if s["warmup"] else 0
    decoder = -14 if s["decoder"] == "gaussian" else 0
    return goal + decoder + early + pressure + offset + noise.normal(0, 0.05)


def plausible_activity(s, epoch):
    rng = np.random.default_rng([s["seed"], s["n_z"], s["k"]])
    final = 9 + 3 * (s["k"] > 1) + 2 * s["batch_norm"]
    order = rng.permutation(s["n_z"])
    live = np.clip(0.95 - 0.5 * order / s["n_z"] + rng.normal(0, 0.05, s["n_z"]), 0.2, 1.0)
    died = (3 if s["k"] == 1 else 8) * np.exp((s["n_z"] - order) / 18) - 3 + 0.7 * s["warmup"]
    fading = np.where(order < final, 1.0, np.exp(-np.maximum(0, epoch - died) / 3))
    risen = 1 - np.exp(-(epoch + 0.02) / 1.2)
    return np.maximum(live * risen * fading, 0.0006 * rng.uniform(0.3, 1.5, s["n_z"]))
