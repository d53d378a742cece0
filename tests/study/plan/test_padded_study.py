"""A study whose packs have trials of several n_z, as on a GPU: planned, run, stopped, split, verified and read as any other."""

from pathlib import Path

import pandas as pd
import pytest

import study.commands.run
import study.pipeline
from analysis.loading.load import load
from study.commands.main import main
from tests.study.small_study import contents_of, use_machine
from workers.store.open import open_store
from workers.store.plan_log import read_plan

GRID = """
study: padded
data: {n_valid: 1337}  # a hundred images to train on
factors: {decoder: [bernoulli, gaussian], n_z: [2, 3, 9], seed: [0, 1]}
model: {hidden: [8]}
training: {epochs: 2, batch_size: 50}
measure: {images: 100, nll_samples: 5, secondary_samples: 3}
run: {device: cpu, commit_every: 1}
"""


@pytest.fixture(autouse=True)
def on_a_device_that_pads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    use_machine(monkeypatch)
    monkeypatch.setattr("study.plan.packing.PADDED", ("cpu",))
    Path("padded.yaml").write_text(GRID)


def run(*options: str) -> Path:
    assert study.commands.run.main(["padded.yaml", "--executor", "inline", *options]) == 0
    return Path("results/padded")


def widths_of(folder: Path) -> list[list[int]]:
    return [[trial.settings.n_z for trial in pack.trials] for pack in read_plan(open_store(str(folder))).packs.values()]


def test_rows_are_of_their_own_n_z_and_come_back_bit_by_bit(capsys):
    folder = run()
    assert widths_of(folder) == [[2, 2, 3, 3, 9, 9]] * 2
    epochs = pd.read_parquet(folder / "epochs")
    assert len(epochs) == 12 * 3
    for name in ("activity", "activity_pca", "kl_per_unit", "posterior_variance"):
        assert (epochs[name].str.len() == epochs["n_z"]).all()
    assert len(load(folder).trials) == 12
    assert main(["verify", "padded", "--sample", "1"]) == 0
    assert "6 bit-equal" in capsys.readouterr().out


def test_alone_they_agree_within_the_band(capsys):
    run()
    assert main(["verify", "padded", "--sample", "6", "--alone"]) == 0
    assert "6 within the band" in capsys.readouterr().out


def test_a_longer_part_goes_on_without_its_neighbours():
    """Of both packs the narrow trials alone: their children have no padding, or less."""
    folder = run()
    before = contents_of(folder)
    run("--only", "n_z=2", "--set", "training.epochs=3")
    assert sorted(widths_of(folder)) == [[2, 2], [2, 2], *[[2, 2, 3, 3, 9, 9]] * 2]
    assert before.items() <= contents_of(folder).items()
    epochs = pd.read_parquet(folder / "epochs")
    assert epochs[epochs["n_z"] == 2].groupby("trial_id")["epoch"].max().eq(3).all()


def test_a_study_that_was_planned_without_padding_keeps_its_packs(monkeypatch):
    monkeypatch.setattr("study.plan.packing.PADDED", ())
    folder = run("--set", "training.epochs=1")
    planned = widths_of(folder)
    assert sorted(planned) == sorted([[n, n] for n in (2, 3, 9)] * 2)
    monkeypatch.setattr("study.plan.packing.PADDED", ("cpu",))
    run()
    assert widths_of(folder) == planned
