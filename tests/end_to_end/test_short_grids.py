"""Short versions of the files in grids/, trained and read back: on the digits everywhere, on MNIST where it is at hand."""

import os

import numpy as np
import pytest

from analysis.loading.load import load
from study.commands.run import main
from tests import ROOT

pytestmark = pytest.mark.slow

DATA = os.environ.get("STUDY_DATA_ROOT")
SHORT = ("training.epochs=2", "factors.seed=[0]", "measure.nll_samples=70", "measure.secondary_samples=5")
ON_DIGITS = ("data.name=digits", "data.n_valid=0")


def run(name, tmp_path, *sets, only=()):
    words = [str(ROOT / "grids" / f"{name}.yaml"), "--executor", "inline", "--out", str(tmp_path)]
    words += [word for option in (*SHORT, *sets) for word in ("--set", option)]
    assert main([*words, *(word for option in only for word in ("--only", option))]) == 0
    return load(tmp_path / name)


def check(study, cells):
    trials = study.trials
    assert len(trials) == cells
    assert (trials["status"] == "completed").all()
    for name in ("nll", "l_1", "l_5", "l_64", "mutual_information", "ablation_low"):
        assert np.isfinite(trials[name].astype(float)).all(), name
    assert (trials["l_1"] < trials["l_64"]).all()
    assert (trials["l_64"] < -trials["nll"] + 0.5).all()
    # The last epoch is better than the start.
    ends = study.epochs.pivot(index="trial_id", columns="epoch", values="test_elbo")
    assert (ends[2] > ends[0]).all()
    return trials


def test_burdas_table(tmp_path):
    trials = check(run("burda", tmp_path, *ON_DIGITS, "training.schedule_over=2"), 5)
    assert set(zip(trials["k"], trials["objective.bound"], strict=True)) == {
        (1, "iwae"),
        (5, "iwae"),
        (5, "vae"),
        (50, "iwae"),
        (50, "vae"),
    }
    assert (trials["training.batch_size"] == 20).all()


def test_further_research_on_subsets(tmp_path):
    study = run("further", tmp_path, *ON_DIGITS, only=("k=1",))
    assert len(study.trials) == 8
    assert (study.trials["status"] == "completed").all()
    everything = ",".join(map(str, range(10)))
    classes = study.activity(column="reconstruction_per_class")
    ends = classes[(classes["epoch"] == 2) & np.isfinite(classes["reconstruction_per_class"])]
    for row in study.epochs[study.epochs["epoch"] == 2].to_dict("records"):
        named = row["data.subset"] == "classes" and row["data.classes"] != "all"
        there = ends.loc[ends["trial_id"] == row["trial_id"], "unit"]
        assert ",".join(map(str, there)) == (row["data.classes"] if named else everything)


def test_further_research_on_continuous_data(tmp_path):
    trials = check(run("further-continuous", tmp_path, *ON_DIGITS), 18)
    assert set(trials["decoder"]) == {"gaussian", "continuous_bernoulli"}
    assert np.isfinite(trials["nll_comparable"]).all()
    # Densities in their own nats; in those of 256 grey levels all decoders lie on one scale.
    assert trials["nll_comparable"].between(0, 64 * np.log(256) * 1.2).all()


@pytest.mark.skipif(DATA is None, reason="set STUDY_DATA_ROOT to the folder of frey_faces.npz")
def test_frey_faces(tmp_path):
    only = ("n_z=2", "k=1")
    study = run("further-continuous", tmp_path, f"data.root={DATA}", only=only)
    ended = study.trials[study.trials["status"] == "completed"]
    assert len(ended) == 4
    assert (ended["test_mse"] < 0.1).all()


def test_burdas_two_layers(tmp_path):
    study = run("burda-two-layers", tmp_path, *ON_DIGITS, "training.schedule_over=2", only=("k=5",))
    assert (study.trials["status"] == "completed").all()
    assert set(study.vectors()[1]) == {150}


def test_deep_ladder(tmp_path):
    study = run("deep", tmp_path, *ON_DIGITS, "training.learning_rate=0.002", only=("warmup=0",))
    assert (study.trials["status"] == "completed").all()
    rows, lengths, _ = study.vectors()
    assert dict(zip(study.epochs.loc[rows.index, "model.layers_above"], lengths, strict=True)) == {
        "none": 64,
        "256-256-z32": 64 + 32,
        "256-256-z32-128-128-z16": 64 + 32 + 16,
        "256-256-z32-128-128-z16-64-64-z8-32-32-z4": 64 + 32 + 16 + 8 + 4,
    }
    ends = study.epochs.pivot(index="trial_id", columns="epoch", values="test_elbo")
    assert (ends[2] > ends[0]).all()
