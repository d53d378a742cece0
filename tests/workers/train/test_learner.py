"""An epoch of a pack against the same epoch of the plain network: autograd, torch.distributions, Adam in numpy, float64."""

import numpy as np
import pytest
import torch

from tests.workers import reference, tiny

CELLS = {
    "k1": {"k": 1, "warmup": 2},
    "k1_sampled": {"k": 1, "objective__kl": "sampled"},
    "bernoulli_k5_warmup": {"k": 5, "warmup": 4},
    "gaussian_torch_epsilon": {"decoder": "gaussian", "training__epsilon_mode": "torch"},
    "batch_norm_k5": {"k": 5, "batch_norm": True, "model__hidden": (16, 12)},
    "gaussian_batch_norm_warmup": {"decoder": "gaussian", "batch_norm": True, "warmup": 2},
    "tanh_beta2": {"model__activation": "tanh", "training__beta2": 0.999},
}


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_two_epochs_are_those_of_the_plain_network(cell, data):
    members = [{**cell, "seed": 0}, {**cell, "seed": 5, "warmup": 0}]
    learner = tiny.learner(*members)
    start = {name: tensor.detach().clone() for name, tensor in learner.parameters.items()}
    results = np.array([[column.numpy() for column in learner.train_epoch(epoch)] for epoch in (1, 2)])
    for replica, member in enumerate(members):
        own = {name: tensor[replica : replica + 1] for name, tensor in start.items()}
        plain = reference.train(own, tiny.settings(**member), data.train.double(), (1, 2))
        np.testing.assert_allclose(results[..., replica], plain.results, rtol=1e-5)
        for name, values in plain.parameters.items():
            found = learner.parameters[name][replica].detach().numpy()
            np.testing.assert_allclose(found, values, rtol=1e-3, atol=2e-5, err_msg=name)


def test_training_raises_the_bound(data):
    learner = tiny.learner({"training__learning_rate": 0.01})
    bounds = [learner.train_epoch(epoch)[1].item() for epoch in range(6)]
    assert bounds[-1] > bounds[0] + 5


def test_epoch_0_changes_nothing(data):
    learner = tiny.learner({"seed": 0}, {"seed": 1})
    before = learner.state(0, (None, None))
    learner.train_epoch(0)
    assert tiny.same_state(before, learner.state(0, (None, None)))


def test_beta_weighs_the_objective_and_not_the_bound(data):
    learner = tiny.learner({"warmup": 0}, {"warmup": 2})
    for epoch, beta in ((0, 0.0), (1, 0.0), (2, 0.5), (3, 1.0)):
        assert learner.betas(epoch) == [1.0, beta]
        objective, bound = learner.train_epoch(epoch)
        assert objective[0] == pytest.approx(bound[0].item(), rel=1e-6)
        if beta == 1:
            assert objective[1] == pytest.approx(bound[1].item(), rel=1e-6)
        else:
            assert objective[1] > bound[1] + 0.01


RESUMED = {
    "plain": {},
    "batch_norm": {"batch_norm": True},
    "running": tiny.RUNNING,
    "two_layers_running_dreg": {**tiny.RUNNING, **tiny.DEEP, "objective__gradient": "dreg"},
    "burda": {"training__schedule": "burda", "training__schedule_over": 4, "training__initial_second_moment": 1.0},
    "by_step": {"objective__warmup_by": "step", "objective__warmup_cycles": 2},
}


@pytest.mark.parametrize("cell", RESUMED.values(), ids=RESUMED)
def test_goes_on_from_a_state_bit_for_bit(cell, data):
    members = [{"seed": 0, **cell}, {"seed": 1, "warmup": 3, **cell}]
    whole = tiny.learner(*members)
    for epoch in (1, 2):
        whole.train_epoch(epoch)
    half = whole.state(2, (None, None))
    rest = [whole.train_epoch(epoch) for epoch in (3, 4)]
    resumed = tiny.learner(*members)
    resumed.restore(half)
    again = [resumed.train_epoch(epoch) for epoch in (3, 4)]
    assert all(torch.equal(a, b) for one, two in zip(rest, again, strict=True) for a, b in zip(one, two, strict=True))
    assert tiny.same_state(whole.state(4, (None, None)), resumed.state(4, (None, None)))


def test_a_state_does_not_change_when_training_goes_on(data):
    learner = tiny.learner({})
    learner.train_epoch(1)
    state = learner.state(1, (None,))
    copy = {name: tensor.clone() for name, tensor in state.parameters.items()}
    learner.train_epoch(2)
    assert all(torch.equal(copy[name], tensor) for name, tensor in state.parameters.items())
    learner.restore(state)
    learner.train_epoch(2)
    assert all(torch.equal(copy[name], tensor) for name, tensor in state.parameters.items())
