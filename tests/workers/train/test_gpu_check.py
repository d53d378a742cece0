"""The program for GPU machines runs through on a CPU with tiny sizes, and its checks can fail."""

import math
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from benchmarks import device_checks, gpu_check
from benchmarks.device_speed import Peak, by_n_z, floor_seconds, paper_packs, slices
from benchmarks.scenes import pack_of, small
from tests import ROOT
from workers.measure import every_epoch as evaluate
from workers.model import networks as model
from workers.model import padding
from workers.replicas.seeds import Seeds
from workers.train.learner import Learner

CPU = torch.device("cpu")
CELL = "bernoulli, K 5, warm-up"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU: tests/workers/train/test_on_gpu.py"),
]


def test_it_runs_through_and_writes_its_tables(tmp_path):
    out = tmp_path / "gpu.md"
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--smoke", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    text = out.read_text()
    assert "FAILED" not in text
    for title in ("Checks", "The device in this run", "Training, 784", "Kernels of an epoch", "Packs of grids/paper.yaml"):
        assert f"## {title}" in text
    assert "All 485:" in text


def test_without_a_gpu_it_says_so(tmp_path, capsys):
    assert gpu_check.main(["--out", str(tmp_path / "gpu.md")]) == 2
    assert "no CUDA GPU" in capsys.readouterr().err
    assert not (tmp_path / "gpu.md").exists()


def coupled(self, objective):
    """Every replica's objective also counts the others'."""
    return objective + 1e-3 * objective.mean(0, keepdim=True)


def drawn_by_place(self, *place, **options):
    """The replica's place in the pack moves its numbers."""
    drawn = Seeds.__dict__["right"](self, *place, **options)
    return [noise + 0.1 * torch.arange(len(noise)).view(-1, 1, 1, 1) for noise in drawn]


FAULTS = {
    "a pack trains as its members alone do": "place",
    "chunks change nothing": "chunks",
    "resuming is bit equal": "restore",
    "a broken neighbour changes no bit": "coupled",
    "the same pack twice is bit equal": "twice",
}


@pytest.mark.parametrize(("name", "fault"), FAULTS.items(), ids=FAULTS)
def test_a_check_sees_its_fault(name, fault, monkeypatch):
    check = device_checks.CHECKS[name]
    check(CELL, CPU)
    if fault == "place":
        monkeypatch.setattr(Seeds, "right", Seeds.normals, raising=False)
        monkeypatch.setattr(Seeds, "normals", drawn_by_place)
    elif fault == "chunks":
        right = evaluate.chunks
        monkeypatch.setattr(evaluate, "chunks", lambda *args: ((part, 0, x) for part, _, x in right(*args)))
    elif fault == "restore":
        right_restore = Learner.restore
        monkeypatch.setattr(Learner, "restore", lambda self, state: (right_restore(self, state), setattr(self, "step", 0)))
    elif fault == "coupled":
        right_objective = Learner._objective

        def objective(self, x, beta, t):
            found, bound = right_objective(self, x, beta, t)
            return coupled(self, found), bound

        monkeypatch.setattr(Learner, "_objective", objective)
    else:
        calls, right_epoch = [], Learner.train_epoch

        def train_epoch(self, epoch):
            calls.append(1)
            with torch.no_grad():
                self.parameters["decoder.logits.bias"] += 1e-6 * len(calls)
            return right_epoch(self, epoch)

        monkeypatch.setattr(Learner, "train_epoch", train_epoch)
    with pytest.raises(AssertionError):
        check(CELL, CPU)


PADDED = "n_z from 1 to 9, K 3"


def unit_let_through(units_of):
    """One unit too many of the second replica."""

    def wrong(widths, device):
        units = units_of(widths, device)
        if units is None:
            return None
        exists = units.exists.clone()
        exists[1, ..., units.widths[1]] = True
        return replace(units, exists=exists)

    return wrong


def test_checks_of_a_padded_pack_see_their_faults(monkeypatch):
    checks = [device_checks.CHECKS[name] for name in ("what pads stays zero", "a pack measures as its members alone do")]
    for check in checks:
        check(PADDED, CPU)
    with monkeypatch.context() as patch:
        patch.setattr(padding, "units_of", unit_let_through(padding.units_of))
        with pytest.raises(AssertionError):
            checks[0](PADDED, CPU)
    monkeypatch.setattr(model, "kept", lambda values, units: values + 0.01 if units else values)
    with pytest.raises(AssertionError):
        checks[1](PADDED, CPU)


def test_a_padded_pack_is_timed_beside_those_that_it_stands_for():
    scene = small(CPU)
    pack = pack_of(scene, [{"n_z": n_z, "seed": seed} for n_z in (9, 1) for seed in (0, 1)])
    apart = by_n_z(pack, scene.data)
    assert [[(t.settings.n_z, t.settings.seed) for t in p.trials] for p in apart] == [[(1, 0), (1, 1)], [(9, 0), (9, 1)]]
    (timed,) = slices(scene, [pack], math.inf, 2)
    assert (timed.trials, timed.name.endswith("n_z 1 to 9")) == (4, True)
    (_, line) = gpu_check._apart(timed, apart, scene, math.inf)
    assert "in 2 packs of one n_z each" in line
    assert gpu_check._apart(timed, apart, scene, -math.inf) == []


def test_the_floor_is_that_of_the_slower_part():
    """By hand for K = 1: 0.2228 GFLOP and 20.8 MB."""
    assert floor_seconds(1, Peak(1e12, 1e30)) == pytest.approx(0.2228e-3)
    assert floor_seconds(1, Peak(1e30, 1e12)) == pytest.approx(20.8e-6)
    assert floor_seconds(50, Peak(1e30, 1e12)) == pytest.approx(150.65e-6)


def test_the_papers_grid_is_planned_whole():
    packs = paper_packs(str(ROOT / "grids/paper.yaml"))
    assert [len(pack.trials) for pack in packs] == [60] * 8 + [5]
