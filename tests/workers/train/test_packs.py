"""A trial's numbers do not depend on its pack, and a replica that breaks breaks alone."""

from functools import cache

import numpy as np
import pytest
import torch

from tests.workers import tiny
from workers.measure.every_epoch import measure
from workers.replicas.device import describe_device
from workers.store.memory import MemoryStore
from workers.train.learner import Learner
from workers.train.optimizer import Adam

CELLS = {
    "plain": {},
    "k5_gaussian": {"k": 5, "decoder": "gaussian"},
    "batch_norm": {"batch_norm": True, "model__hidden": (16, 12)},
    "two_layers": tiny.DEEP,
    "two_layers_k5_gaussian_batch_norm": {**tiny.DEEP, "k": 5, "decoder": "gaussian", "batch_norm": True},
    "three_layers_dreg_running": {
        **tiny.RUNNING,
        "model__layers_above": "8-z3-6-z2",
        "objective__gradient": "dreg",
        "training__beta2": 0.999,
    },
}
cells = pytest.mark.parametrize("cell", CELLS)

MEMBERS = [{"seed": 0}, {"seed": 1, "warmup": 2}, {"seed": 0, "warmup": 5}, {"seed": 8}]


def stored(*members, borders=(1, 3), **options):
    store = MemoryStore()
    outcome = tiny.run(tiny.pack(*members, borders=borders), store, **options)
    assert outcome.status == "done"
    return store


@cache
def together(cell):
    """The members in one pack; not to be trained on."""
    return stored(*members_of(cell))


@cache
def undisturbed():
    return stored(*MEMBERS[:3], borders=(1, 4))


def members_of(cell):
    return [{**CELLS[cell], **member} for member in MEMBERS]


def assert_same_numbers(found, expected):
    """One epoch from equal states to 1e-5; two more multiply what rounding began.

    Measured on x86-64 with torch 2.14: 2.1e-6 relative after one epoch, 2.5e-6 after three (bounds: 1.7e-8); a batched product
    adds in another order than a single one.
    """
    for (trial_id, epoch), row in expected.items():
        tolerance = 1e-5 if epoch <= 1 else 5e-5
        tiny.assert_close(found[trial_id, epoch], row, rtol=tolerance, atol=tolerance)


@cells
def test_alone_and_in_a_pack_a_trial_has_the_same_numbers(cell):
    rows, ends = tiny.rows(together(cell)), tiny.ended(together(cell))
    for member in members_of(cell)[:2]:
        alone = stored(member)
        assert_same_numbers(rows, tiny.rows(alone))
        for trial_id, row in tiny.ended(alone).items():
            tiny.assert_close(ends[trial_id], row, rtol=1e-4)


@cells
def test_the_same_pack_twice_is_bit_equal(cell):
    assert tiny.content(stored(*members_of(cell))) == tiny.content(together(cell))


def test_global_seeds_change_nothing():
    contents = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        contents.append(tiny.content(stored({"batch_norm": True}, borders=(1,))))
    assert contents[0] == contents[1]


def test_another_seed_gives_other_numbers():
    rows = list(tiny.rows(stored({"seed": 0}, {"seed": 1}, borders=(1,))).values())
    for name in ("train_bound", "test_bound", "test_elbo", "activity", "kl_per_unit_test"):
        assert rows[0][name] != rows[1][name], name


@cells
def test_the_order_of_a_packs_members_is_of_no_account(cell):
    one, other = tiny.rows(together(cell)), tiny.rows(stored(*reversed(members_of(cell))))
    assert one.keys() == other.keys()
    assert_same_numbers(one, other)


def test_warmups_of_a_pack_stay_apart():
    rows = tiny.rows(stored({"warmup": 0}, {"warmup": 2}, borders=(3,)))
    betas = {(row["warmup"], row["epoch"]): row["beta"] for row in rows.values()}
    assert betas == {(0, e): 1.0 for e in range(4)} | {(2, 0): 0.0, (2, 1): 0.0, (2, 2): 0.5, (2, 3): 1.0}


# ---- A replica that is no longer finite ----


def poison(learner, replica, name="encoder.mean.weight"):
    with torch.no_grad():
        learner.parameters[name][replica] = torch.nan


def assert_neighbours_are_unchanged(cell, data):
    undisturbed, poisoned = (tiny.learner(*members_of(cell)) for _ in range(2))
    poison(poisoned, 1)
    for epoch in (1, 2):
        results = []
        for learner in (undisturbed, poisoned):
            trained = torch.stack(learner.train_epoch(epoch))
            found = measure(learner.parameters, learner.architecture, data, learner.seeds, learner.k, epoch)
            results.append([trained, *(getattr(found, name).movedim(0, -1) for name in vars(found))])
        for a, b in zip(*results, strict=True):
            # NaN equals itself: the saturated share of a head that is not bounded.
            np.testing.assert_array_equal(a[..., [0, 2, 3]].numpy(), b[..., [0, 2, 3]].numpy(), strict=True)
        assert results[1][0][:, 1].isnan().all()
    states = [learner.state(2, (None,) * 4) for learner in (undisturbed, poisoned)]
    for name, parameter in states[0].parameters.items():
        others = [0, 2, 3]
        assert torch.equal(parameter[others], states[1].parameters[name][others])
        for kind, moment in states[0].moments[name].items():
            assert torch.equal(moment[others], states[1].moments[name][kind][others])


@cells
def test_a_nan_replica_leaves_its_neighbours_bitwise_unchanged(cell, data):
    assert_neighbours_are_unchanged(cell, data)


def test_the_check_sees_a_coupling_of_replicas(data, monkeypatch):
    """Clipping the gradient of the whole pack, which changes nothing until a replica breaks."""

    class Clipping(Adam):
        def step(self, gradients, t, learning_rate):
            norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
            scale = (1e9 / norm).clamp(max=1)
            super().step([gradient * scale for gradient in gradients], t, learning_rate)

    monkeypatch.setattr("workers.train.learner.Adam", Clipping)
    with pytest.raises(AssertionError):
        assert_neighbours_are_unchanged("plain", data)


def breaking_learner(at):
    """A Learner whose replicas break in an epoch: {replica: epoch}."""

    class Breaking(Learner):
        def train_epoch(self, epoch):
            for replica in (r for r, breaks in at.items() if breaks == epoch):
                poison(self, replica)
            return super().train_epoch(epoch)

    return Breaking


@pytest.fixture
def breaking(monkeypatch):
    """Make replicas of every pack trained from now on break."""
    return lambda at: monkeypatch.setattr("workers.train.loop.Learner", breaking_learner(at))


@pytest.mark.parametrize("at", [2, 3, 4], ids=["after a border", "between borders", "at the last border"])
def test_a_diverged_trial_stops_alone_and_says_so(at, breaking, monkeypatch):
    whole = undisturbed()
    breaking({1: at})
    store, pack, reports = MemoryStore(), tiny.pack(*MEMBERS[:3], borders=(1, 4)), []
    outcome = tiny.run(pack, store, report=reports.append)
    broken = pack.trials[1].trial_id
    assert outcome.diverged == {broken: at}
    assert reports[-1].diverged == {broken: at}

    expected = {key: row for key, row in tiny.rows(whole).items() if key[0] != broken or key[1] < at}
    found = tiny.rows(store)
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        tiny.assert_close(found[key], row, rtol=0)

    ends = tiny.ended(store)
    assert (ends[broken]["status"], ends[broken]["last_epoch"], ends[broken]["nll"]) == ("diverged", at - 1, None)
    assert ends[broken]["test_bound"] == found[broken, at - 1]["test_bound"]
    for trial_id, row in tiny.ended(whole).items():
        if trial_id != broken:
            tiny.assert_close(ends[trial_id], row, rtol=0)
    weights = {key for key in store.list("weights") if broken in key}
    assert not weights
    assert len(store.list("weights")) == 2


def test_a_diverged_trial_stays_so_after_a_resume(breaking):
    breaking({0: 1})
    whole, halted = MemoryStore(), MemoryStore()
    pack = tiny.pack(*MEMBERS[:2], borders=(1, 2, 3))
    tiny.run(pack, whole)
    assert tiny.run(pack, halted, should_stop=tiny.stop_after(1)).status == "stopped"
    assert tiny.run(pack, halted).diverged == {pack.trials[0].trial_id: 1}
    assert tiny.content(halted) == tiny.content(whole)


@pytest.mark.parametrize("at", [1, 3], ids=["in the first border", "after a border"])
def test_a_pack_ends_when_all_its_trials_have_diverged(at, breaking):
    breaking({0: at, 1: at})
    store, pack = MemoryStore(), tiny.pack(*MEMBERS[:2], borders=(2, 4, 6))
    epochs = []
    outcome = tiny.run(pack, store, report=lambda progress: epochs.append(progress.epoch))
    assert outcome.status == "done"
    assert max(epochs) == at
    assert {epoch for _, epoch in tiny.rows(store)} == set(range(at))
    assert {(row["status"], row["last_epoch"]) for row in tiny.ended(store).values()} == {("diverged", at - 1)}
    before = tiny.everything(store)
    assert tiny.run(pack, store).status == "done"
    assert tiny.everything(store) == before


def test_who_loses_to_a_pack_that_diverged_elsewhere_ends_with_it(monkeypatch):
    """Its rows end in the middle of the segment: rows of later epochs would leave a gap."""
    pack, store = tiny.pack({}, borders=(1, 4, 6)), MemoryStore()
    tiny.run(pack, store, should_stop=tiny.stop_after(1))

    def diverge_elsewhere():
        with monkeypatch.context() as patch:
            patch.setattr("workers.train.loop.Learner", breaking_learner({0: 3}))
            patch.setattr(
                "workers.train.loop.describe_device", lambda device: describe_device(device) | {"device_name": "other"}
            )
            assert tiny.run(pack, store).diverged

    outcome = tiny.run(pack, tiny.overtaken(store, diverge_elsewhere))
    assert outcome.diverged == {pack.trials[0].trial_id: 3}
    assert sorted(epoch for _, epoch in tiny.rows(store)) == [0, 1, 2]
    assert [row["status"] for row in tiny.ended(store).values()] == ["diverged"]
