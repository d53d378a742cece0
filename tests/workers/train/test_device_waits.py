"""The step that a GPU captures, and a measurement, neither ask the host for anything nor tell it: they run without numbers."""

from dataclasses import fields, replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.workers import tiny
from tests.workers.variants import CELLS, images_of, settings_of
from workers.measure.every_epoch import measure
from workers.train.learner import Learner

cells = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
META = torch.device("meta")


class OneDevice(TorchDispatchMode):
    """Fails where an operation takes or makes a tensor of another device: a copy from the host, or a look at a number."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, out)):
            assert not isinstance(tensor, torch.Tensor) or tensor.device == META, f"{function} on {tensor.device}"
        return out


def onto(data, device):
    tensors = {field.name: getattr(data, field.name) for field in fields(data)}
    return replace(data, **{name: t.to(device) for name, t in tensors.items() if isinstance(t, torch.Tensor)})


PADDED = {name: cell for name, cell in CELLS.items() if name in ("default", "normed_running", "free_bits", "mean_sigmoid")}


def learner_on_meta(cell, n_z=(3, 3)):
    """On the device that has shapes and no numbers: it cannot give the host any."""
    members = [settings_of(cell, {"seed": 0, "n_z": n_z[0]}), settings_of(cell, {"seed": 5, "warmup": 0, "n_z": n_z[1]})]
    data = onto(images_of(members[0].data, members[0].measure), META)
    pack = tiny.pack_of(tuple(tiny.trial_of(member, data.fingerprint) for member in members), (2,))
    return Learner(pack, data, META, on_device=True), data


@cells
def test_a_step_neither_asks_the_host_nor_tells_it(cell):
    learner, _ = learner_on_meta(cell)
    with OneDevice():
        learner._device_step(20, update=True)


@cells
def test_measuring_asks_nothing_but_at_the_end(cell, monkeypatch):
    learner, data = learner_on_meta(cell)
    monkeypatch.setattr("workers.measure.every_epoch.on_host", lambda measured: measured)
    with OneDevice():
        found = measure(learner.parameters, learner.architecture, data, learner.seeds, learner.k, 1, learner.statistics)
    assert all(value.device == META for value in vars(found).values())


@pytest.mark.parametrize("cell", PADDED.values(), ids=PADDED)
def test_neither_does_a_pack_whose_trials_differ_in_n_z(cell, monkeypatch):
    learner, data = learner_on_meta(cell, (2, 11))
    assert learner.architecture.units
    monkeypatch.setattr("workers.measure.every_epoch.on_host", lambda measured: measured)
    with OneDevice():
        learner._device_step(20, update=True)
        measure(learner.parameters, learner.architecture, data, learner.seeds, learner.k, 1, learner.statistics)


def test_a_pass_without_updates_asks_nothing():
    learner, _ = learner_on_meta(CELLS["normed_running"])
    with OneDevice():
        learner._device_step(50, update=False)


FAULTS = {
    "a number read": lambda x: x * x.sum().item(),
    "a branch on a number": lambda x: x if x.sum() > 0 else -x,
    "a number copied in": lambda x: x * torch.tensor(2.0),
    "a list copied in": lambda x: x + torch.tensor([1.0, 2.0]).view(-1, 1, 1).to(x.device),
    "a choice by a mask": lambda x: x[x > 0].sum() + x,
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_check_sees(fault, monkeypatch):
    right = Learner._objective
    monkeypatch.setattr(Learner, "_objective", lambda self, x, beta, t: right(self, fault(x), beta, t))
    learner, _ = learner_on_meta({})
    with OneDevice(), pytest.raises((AssertionError, RuntimeError, NotImplementedError)):
        learner._device_step(20, update=True)
