"""Trials that take their process with them, on real Ray, while they train or at their end: their neighbours are saved."""

import os
import subprocess
import sys

import pandas as pd
import pytest

from tests import ROOT

pytestmark = pytest.mark.slow

GRID = """
study: deadly
factors: {k: [1, 2], seed: [0, 1, 2]}
model: {hidden: [16]}
training: {epochs: 4}
measure: {nll_samples: 20}
run: {commit_every: 1, max_failures: 1}
"""
DEADLY = """
import sys
if any("default_worker" in word for word in sys.argv):
    import os, signal
    import workers.train.learner, workers.train.loop
    train, final = workers.train.learner.Learner.train_epoch, workers.train.loop.measure_final

    def train_epoch(self, epoch):
        if epoch == 3 and self.k == 1 and 1 in self.seeds.unique:
            os.kill(os.getpid(), signal.SIGKILL)
        return train(self, epoch)

    def measure_final(parameters, architecture, data, seeds, *rest):
        if 2 in seeds.unique and 2 in K:
            os.kill(os.getpid(), signal.SIGKILL)
        return final(parameters, architecture, data, seeds, *rest)

    K = []
    begin = workers.train.learner.Learner.__init__

    def init(self, *rest):
        begin(self, *rest)
        K[:] = [self.k]

    workers.train.learner.Learner.__init__ = init
    workers.train.learner.Learner.train_epoch = train_epoch
    workers.train.loop.measure_final = measure_final
"""
"""What every worker process runs first: (k 1, seed 1) dies in epoch 3, (k 2, seed 2) while its end is measured."""


def test_a_trial_that_kills_its_process_does_not_take_its_neighbours(tmp_path):
    (tmp_path / "grid.yaml").write_text(GRID)
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "sitecustomize.py").write_text(DEADLY)
    root = ROOT
    done = subprocess.run(
        [sys.executable, "-m", "study.run", str(tmp_path / "grid.yaml"), "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=500,
        cwd=root,
        env=os.environ | {"PYTHONPATH": f"{tmp_path / 'first'}:{root}"},
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "4 of 6 trials completed" in done.stdout, done.stdout
    assert "failed: 2; try them again with --retry-failed" in done.stdout
    assert "why: its worker process died" in done.stdout
    trials = pd.read_parquet(tmp_path / "deadly" / "trials").set_index(["k", "seed"])
    assert trials["status"].value_counts().to_dict() == {"completed": 4, "failed": 2}
    assert (trials.loc[(1, 1), "status"], trials.loc[(1, 1), "last_epoch"]) == ("failed", 2)
    assert (trials.loc[(2, 2), "status"], trials.loc[(2, 2), "last_epoch"]) == ("failed", 4)
    rows = pd.read_parquet(tmp_path / "deadly" / "epochs")
    assert not rows.duplicated(["trial_id", "epoch"]).any()
    assert len(rows) == 5 * 5 + 3
