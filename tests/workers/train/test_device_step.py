"""The step that a GPU captures, run on the CPU operation by operation: what it computes, and where it leaves it."""

import numpy as np
import pytest
import torch

from tests.workers import tiny
from tests.workers.variants import CELLS, learner_of, settings_of
from workers.replicas.seeds import COUNTER, Seeds
from workers.train.checkpoint import take

cells = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)


def members_of(cell):
    return [settings_of(cell, {"seed": 0}), settings_of(cell, {"seed": 5, "warmup": 0})]


@cells
def test_an_epoch_is_that_of_the_host_with_the_same_draws(cell):
    """Objective, bound, parameters, moments and statistics; Adam in another order of operations."""
    host, device = learner_of(*members_of(cell)), learner_of(*members_of(cell), on_device=True)
    host.seeds = Seeds([0, 5], tiny.CPU, COUNTER)
    for epoch in (0, 1):
        found, expected = torch.stack(device.train_epoch(epoch)), torch.stack(host.train_epoch(epoch))
        torch.testing.assert_close(found, expected, rtol=5e-6, atol=0)
    assert device.step == host.step == 3
    one, other = (learner.state(1, (None, None)) for learner in (device, host))
    for name, parameter in one.parameters.items():
        torch.testing.assert_close(parameter, other.parameters[name], rtol=1e-5, atol=1e-5, msg=name)
        for kind, moment in one.moments[name].items():
            torch.testing.assert_close(moment, other.moments[name][kind], rtol=1e-4, atol=1e-5, msg=name)
    for name, pair in one.statistics.items():
        torch.testing.assert_close(pair, other.statistics[name], rtol=1e-5, atol=1e-5, msg=name)


def test_other_draws_give_other_numbers():
    """So that the test above would see draws that differ."""
    host, device = learner_of(*members_of({})), learner_of(*members_of({}), on_device=True)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(torch.stack(device.train_epoch(1)), torch.stack(host.train_epoch(1)), rtol=5e-6, atol=0)


# ---- tensors that stay where they are ----

RESUMED = {
    "plain": {},
    "running": CELLS["two_normed_latent"],
    "burda": CELLS["burda_schedule"],
    "by_step": CELLS["cyclical_by_step"],
    "second_moment": CELLS["second_moment"],
}


def addresses(learner):
    state = [*learner.parameters.values(), *(m for kinds in learner._optimizer.moments.values() for m in kinds.values())]
    return [tensor.data_ptr() for tensor in [*state, *(t for pair in learner.statistics.values() for t in pair)]]


@pytest.mark.parametrize("cell", RESUMED.values(), ids=RESUMED)
def test_goes_on_from_a_state_bit_for_bit_in_the_same_tensors(cell):
    whole, other = (learner_of(*members_of(cell), on_device=True) for _ in range(2))
    for epoch in (1, 2):
        whole.train_epoch(epoch)
    half, before = whole.state(2, (None, None)), addresses(whole)
    rest = [torch.stack(whole.train_epoch(epoch)) for epoch in (3, 4)]
    end = whole.state(4, (None, None))
    for learner in (other, whole):
        learner.restore(half)
        again = [torch.stack(learner.train_epoch(epoch)) for epoch in (3, 4)]
        assert all(torch.equal(a, b) for a, b in zip(rest, again, strict=True))
        assert tiny.same_state(end, learner.state(4, (None, None)))
    assert addresses(whole) == before


def test_a_state_is_a_copy():
    learner = learner_of(*members_of(CELLS["normed_running"]), on_device=True)
    learner.train_epoch(1)
    state = learner.state(1, (None, None))
    copy = take(state, (0, 1))
    learner.train_epoch(2)
    assert tiny.same_state(state, copy)
    assert not tiny.same_state(state, learner.state(1, (None, None)))


def test_epoch_0_changes_nothing():
    learner = learner_of(*members_of(CELLS["normed_running"]), on_device=True)
    before = learner.state(0, (None, None))
    learner.train_epoch(0)
    assert tiny.same_state(before, learner.state(0, (None, None)))


@pytest.mark.parametrize("size", [7, 40, 120, 500])
def test_every_image_of_an_epoch_is_used_once(size):
    learner = learner_of(settings_of({"training.batch_size": size}), on_device=True)
    seen = []
    right = learner._device_step

    def step(n, update):
        seen.append(learner.device_epoch.tables.images(n).clone())
        right(n, update)

    learner._device_step = step
    learner.train_epoch(1)
    (order,) = learner._orders(1, 120)
    assert torch.equal(torch.cat(seen, 1)[0], order)
    assert learner.step == len(seen) == learner.steps_an_epoch


def test_betas_and_rates_are_those_of_the_step():
    cell = {**CELLS["cyclical_by_step"], "training.schedule": "burda", "training.schedule_over": 4}
    learner = learner_of(*members_of(cell), on_device=True)
    learner.train_epoch(1)
    learner.train_epoch(2)
    tables = learner.device_epoch.tables
    expected = [learner._betas_of_step(2, offset) for offset in range(3)]
    np.testing.assert_allclose(tables.betas.numpy(), expected, rtol=1e-6)
    assert tables.t.item() == 7
    assert tables.offset.item() == 3
