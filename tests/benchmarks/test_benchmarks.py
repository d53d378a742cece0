"""What benchmarks rest on: honest intervals, peers that do the same work, studies that load, packs that train nothing."""

import math
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from analysis.loading.load import load
from benchmarks.contestants import NAMES, pack, products
from benchmarks.driver import measure
from benchmarks.eager import Autoencoder, objective
from benchmarks.forecast import GRIDS, compare
from benchmarks.images import N, digits
from benchmarks.quickstart import Taken, slice_of
from benchmarks.synthetic import write_study
from benchmarks.table import median_with_interval, page, ratio
from study.forecast.timing_process import shapes
from study.grid.design import trials_of
from study.grid.grid import parse_grid, read_grid
from tests import ROOT
from workers.train.learner import Learner


@pytest.mark.parametrize("n", [1, 2, 5, 6, 9, 10, 15, 30])
def test_the_interval_holds_the_true_median_as_often_as_it_says(n):
    draws = np.random.default_rng(n).exponential(size=(2_000, n))
    held = [low <= math.log(2) <= high for _, low, high in map(median_with_interval, draws)]
    # Below six values no order statistics reach 95%; then it is all of them.
    expected = 0.95 if n >= 6 else 1 - 2 * 0.5**n
    assert np.mean(held) >= expected - 0.015


def test_of_ten_values_it_is_the_second_and_the_ninth():
    assert median_with_interval(range(10)) == (4.5, 1, 8)
    assert ratio([1.0, 2.0, 3.0]) == "2.00 (1.00 to 3.00)"


def test_a_page_is_a_table_with_its_command():
    text = page("T", "Why?", ["a", "b"], [[1, 2]], ["a note"])
    assert "| a | b |\n| --- | --- |\n| 1 | 2 |" in text
    assert all(
        word in text for word in ("- a note", "- command: `python -m benchmarks.", "- machine: ", "load (1, 5, 15 min)")
    )


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("decoder", ["bernoulli", "gaussian"])
def test_the_eager_peer_computes_the_objective_of_a_pack(k, decoder, monkeypatch):
    """Same weights, same inputs, same noise: the same number from code that shares no line."""
    from workers.contract.settings import MeasureSettings
    from workers.contract.settings_table import settings_from
    from workers.contract.trial import Pack, trial_of
    from workers.data.arrays import Images
    from workers.model.inputs import data_from

    images = digits(64)[:100]
    data = data_from(
        Images(images, images, None, None), "0" * 64, MeasureSettings(images=10), torch.device("cpu"), "threshold"
    )
    settings = settings_from({"n_z": 7, "k": k, "decoder": decoder, "training.order": "fixed"})
    learner = Learner(
        Pack(pack_id="0" * 16, trials=(trial_of(settings, "0" * 64),), borders=(1,)), data, torch.device("cpu")
    )
    model = Autoencoder(64, 7, decoder)
    own = {name: tensor[0].detach() for name, tensor in learner.parameters.items()}
    places = {"encoder.hidden0": model.encoder[0], "encoder.hidden1": model.encoder[2], "encoder.mean": model.mean}
    places |= {"encoder.log_variance": model.log_variance, "decoder.hidden0": model.decoder[0]}
    places |= {"decoder.hidden1": model.decoder[2]}
    for name, layer in places.items():
        layer.weight.data, layer.bias.data = own[f"{name}.weight"].T, own[f"{name}.bias"][0]
    heads = ["decoder.mean", "decoder.log_variance"] if decoder == "gaussian" else ["decoder.logits"]
    model.pixels.weight.data = torch.cat([own[f"{head}.weight"].T for head in heads])
    model.pixels.bias.data = torch.cat([own[f"{head}.bias"][0] for head in heads])

    from workers.contract.streams import Stream

    noise = learner.seeds.normal(Stream.NOISE, 1, (k, 100, 7))[0]
    monkeypatch.setattr(torch, "randn", lambda *shape: noise.view(shape))
    theirs = float(objective(model, data.train, k, 1.0).detach())
    ours = float(learner.train_epoch(0)[0][0])
    assert theirs == pytest.approx(ours, rel=1e-5)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"jax"}))
def test_contestants_train_as_many_steps_as_they_say(name):
    train, steps = NAMES[name](64, 1, 2)
    before = train()
    for _ in range(3):
        after = train()
    assert steps == 2 * N // 100
    assert name == "products" or before < after < 0, "it learns"


def test_the_products_are_those_of_a_step():
    """Counted by torch, against the arithmetic of the layers: forward once, backward twice less the pixels' gradient."""
    from torch.utils.flop_counter import FlopCounterMode

    train, steps = products(64, 5, 3)
    with FlopCounterMode(display=False) as counted:
        train()
    encoder, decoder = 64 * 200 + 200 * 200 + 2 * 200 * 50, 50 * 200 + 200 * 200 + 200 * 64
    assert counted.get_total_flops() == steps * 100 * (6 * (encoder + 5 * decoder) - 2 * 64 * 200)
    learn, same = pack(64, 5, 3)
    with FlopCounterMode(display=False) as trained:
        learn()
    assert same == steps
    assert trained.get_total_flops() == pytest.approx(counted.get_total_flops(), rel=1e-6)


def test_a_synthetic_study_is_one(tmp_path):
    write_study(tmp_path / "s32", 32, epochs=6, units=4, borders=2)
    study = load(tmp_path / "s32")
    assert (len(study.trials), study.is_complete, len(study.epochs)) == (32, True, 32 * 7)
    assert set(study.activity().groupby(["trial_id", "epoch"], observed=True).size()) == {4}


def test_a_study_whose_training_is_replaced_still_writes_every_row():
    """In processes of their own, so that this one keeps its learner."""
    row = measure(200, "inline")
    assert row[:2] == ["inline", "200"]
    assert int(row[7]) >= int(row[2]), "a file of the stream a pack, at least"
    assert Learner.__module__ == "workers.train.learner"


def test_the_slice_has_every_kind_of_trial_once():
    grid = read_grid(ROOT / "grid.yaml")
    chosen, n = slice_of(grid, None)
    assert (len(chosen), n) == (24, 147)
    assert len({(s.decoder, s.k, s.batch_norm, s.n_z) for s in chosen}) == 24
    assert {s.objective.kl for s in chosen} == {"auto"}, "the peers train at the default; the bridge costs as much"
    assert Taken(start=10, run=48, trials=24).whole(147) == 10 + 2 * 147


def test_a_run_is_compared_with_its_forecast(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    grid = "study: s\ndata: {n_valid: 1337}\nfactors: {n_z: [2, 3]}\ntraining: {epochs: 2}\nmeasure: {nll_samples: 2}\n"
    # In a process of its own, as all that compare runs.
    trials, predicted, took, off_by, wall, *disk = compare(grid, None, executor="inline")
    assert trials == "2"
    assert all(re.fullmatch(r"\d+ s|\d+ min \d+ s", duration) for duration in (predicted, took))
    assert re.fullmatch(r"[+-]\d+%", off_by)
    assert float(wall) > 0
    foreseen, stored = (float(size.removesuffix(" MB")) for size in disk)
    assert foreseen == pytest.approx(stored, rel=0.1)


def test_no_grid_of_the_forecast_was_calibrated_on():
    timed = {(s.k, s.n_z, s.batch_norm, s.decoder) for s in shapes("cpu")}
    for text in GRIDS.values():
        settings = [trial.settings for trial in trials_of(parse_grid(text), "0" * 64)]
        new = [s for s in settings if (s.k, s.n_z, s.batch_norm, s.decoder) not in timed]
        assert len(new) > len(settings) / 2


def test_a_contestant_answers_questions():
    asked = '{"n_x": 64, "k": 1, "replicas": 1, "epochs": 2}\n'
    command = [sys.executable, "-m", "benchmarks.contestants", "eager", "-1"]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=True, cwd=ROOT)
    assert '"steps": 28' in done.stdout
