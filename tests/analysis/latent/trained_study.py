"""A tiny study trained for real, and copies of it whose weights are changed."""

from itertools import product

import torch

from workers.contract.settings_table import settings_from
from workers.contract.trial import Pack, pack_id_of, trial_of
from workers.data.images import known
from workers.model.inputs import load_data
from workers.store.folder import FolderStore
from workers.store.plan_log import append_entry
from workers.store.weights_file import decode_weights, encode_weights
from workers.train.loop import train

CPU = torch.device("cpu")

TINY = {
    "k": 2,
    "model.hidden": (12,),
    "training.epochs": 2,
    "measure.images": 200,
    "measure.nll_samples": 2,
    "measure.secondary_samples": 2,
}

ID = "0123456789abcdef"


def train_study(root, factors, **settings):
    """A study trained for real, a pack a cell."""
    store, packs, trained = FolderStore(root), {}, []
    for levels in product(*factors.values()):
        values = dict(zip(factors, levels, strict=True))
        whole = settings_from({**TINY, **values, **{k.replace("__", "."): v for k, v in settings.items()}})
        trial = trial_of(whole, known(whole.data).fingerprint)
        packs.setdefault(tuple(v for n, v in values.items() if n != "seed"), []).append(trial)
    for trials in packs.values():
        pack = Pack(pack_id=pack_id_of([t.trial_id for t in trials], None, 0), trials=tuple(trials), borders=(2,))
        data = load_data(trials[0].settings.data, trials[0].settings.measure, CPU)
        trained.append((pack, data))
    footer = {"study": root.name, "grid": "study: x", "factors": dict(factors), "created": "2025-01-02T03:04:05+00:00"}
    assert append_entry(store, 1, [pack for pack, _ in trained], footer)
    for pack, data in trained:
        train(pack, data, store, device=CPU, attempt="a" * 16)
    return root


def copy_of(root, tmp_path):
    target = tmp_path / "copy"
    for path in root.rglob("*"):
        if path.is_file() and "figures" not in path.parts and "checkpoints" not in path.parts:
            (target / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(root)).write_bytes(path.read_bytes())
    return target


def edited(raw, change=lambda tensors: None, facts=lambda facts: None):
    """As a worker would have stored it: with a checksum that fits."""
    tensors, trial = decode_weights(raw, "weights")
    change(tensors)
    facts(trial)
    return encode_weights(tensors, trial)
