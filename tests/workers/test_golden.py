"""One tiny trial, pinned; `python tests/workers/test_golden.py` writes golden.json anew.

A refactoring leaves these numbers as they are. A commit that changes them says so in the changelog: "changes numbers".
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.workers import tiny
from workers.contract.settings import DataSettings, MeasureSettings
from workers.contract.settings_table import settings_from
from workers.contract.trial import trial_of
from workers.model.inputs import load_data
from workers.store.memory import MemoryStore

PAGE = Path(__file__).with_name("golden.json")

TRIALS = {
    "bernoulli": {"warmup": 2},
    "gaussian_batch_norm": {"decoder": "gaussian", "batch_norm": True, "seed": 1},
}
COMMON = {"model.hidden": (16,), "n_z": 3, "k": 2, "measure.images": 500, "measure.nll_samples": 20}
EPOCHS = 3

SCALARS = (
    "beta",
    "train_objective",
    "train_bound",
    "test_bound",
    "test_elbo",
    "test_reconstruction",
    "test_kl",
    "ess",
)
VECTORS = ("activity", "activity_test", "kl_per_unit", "kl_per_unit_test", "posterior_mean", "posterior_variance")

# Another CPU or BLAS adds float32 numbers in another order: 6e-8 a sum, at most some 1e-5 after three epochs of Adam.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


def train(name):
    data = load_data(DataSettings(), MeasureSettings(images=COMMON["measure.images"]), tiny.CPU)
    trial = trial_of(settings_from(COMMON | TRIALS[name]), data.fingerprint)
    store = MemoryStore()
    tiny.run(tiny.pack_of((trial,), (EPOCHS,)), store, data)
    rows = [tiny.rows(store)[trial.trial_id, epoch] for epoch in range(EPOCHS + 1)]
    numbers = {column: [row[column] for row in rows] for column in SCALARS + VECTORS}
    return {"trial_id": trial.trial_id, **numbers, "nll": tiny.ended(store)[trial.trial_id]["nll"]}


@pytest.mark.parametrize("name", TRIALS)
def test_numbers_are_those_that_were_stored(name):
    stored, found = json.loads(PAGE.read_text())["trials"][name], train(name)
    assert found["trial_id"] == stored["trial_id"]
    assert found.keys() == stored.keys()
    for column in (*SCALARS, *VECTORS, "nll"):
        np.testing.assert_allclose(found[column], stored[column], **TOLERANCE, err_msg=column)


@pytest.mark.parametrize("change", [{"seed": 3}, {"training.beta2": 0.91}], ids=str)
def test_another_trial_is_outside_the_tolerance(change, monkeypatch):
    monkeypatch.setitem(TRIALS, "bernoulli", TRIALS["bernoulli"] | change)
    stored = json.loads(PAGE.read_text())["trials"]["bernoulli"]
    found = train("bernoulli")["train_bound"]
    assert not np.allclose(found[-1], stored["train_bound"][-1], **TOLERANCE)


if __name__ == "__main__":
    torch.set_num_threads(1)
    text = {
        "written by": "python tests/workers/test_golden.py",
        "torch": torch.__version__,
        "numpy": np.__version__,
        "common settings": COMMON,
        "settings": TRIALS,
        "trials": {name: train(name) for name in TRIALS},
    }
    PAGE.write_text(json.dumps(text, indent=1) + "\n")
