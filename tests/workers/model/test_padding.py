"""Trials of different n_z in one pack: each as it is alone, what pads them 0 for ever, and everything measured without it."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.workers import tiny
from tests.workers.by_unit import BY_UNIT
from tests.workers.variants import CELLS as VARIANTS
from tests.workers.variants import learner_of, settings_of
from workers.contract.columns import EPOCHS, TRIALS
from workers.contract.streams import Stream
from workers.measure.at_the_end import Final, measure_final
from workers.measure.every_epoch import Measurement, measure
from workers.model.inputs import training_batch
from workers.model.objective import free_bits_objective
from workers.model.padding import resized
from workers.replicas.seeds import COUNTER, NUMPY, Seeds
from workers.replicas.units import kept, units_of
from workers.train.checkpoint import take
from workers.train.optimizer import MOMENTS

CELLS = {name: cell for name, cell in VARIANTS.items() if "model.layers_above" not in cell}

cells = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)

both_draws = pytest.mark.parametrize("on_device", [True, False], ids=["draws of a GPU", "draws of a CPU"])


N_Z, SEEDS = (5, 1, 9, 5), (0, 5, 0, 7)


def members_of(cell, widths=N_Z):
    return [settings_of(cell, {"n_z": n, "seed": seed}) for n, seed in zip(widths, SEEDS, strict=False)]


def ended(learner):
    return (None,) * len(learner.seeds.index)


def trained(members, on_device, epochs=1):
    learner = learner_of(*members, on_device=on_device)
    for epoch in range(1, epochs + 1):
        learner.train_epoch(epoch)
    return learner


def alone_at(learner, members, replica, on_device):
    """The trial alone, in the state that it has in the pack."""
    alone = learner_of(members[replica], on_device=on_device)
    alone.restore(take(learner.state(1, ended(learner)), [replica]))
    return alone


def slopes(learner, t=7):
    """Objective, bound and gradients of one batch."""
    images = torch.arange(20).expand(len(learner.seeds.unique), -1)
    step = torch.tensor([t]) if learner.device_epoch else t
    x = training_batch(learner._data, learner.seeds, images, step)
    objective, bound = learner._objective(x, torch.full((len(learner.seeds.index), 1, 1), 0.7), step)
    return objective.detach(), bound.detach(), dict(zip(learner.parameters, learner._gradients(objective), strict=True))


def measured(learner):
    whole = learner._data
    test = {name: getattr(whole, name)[:30] for name in ("test", "other_test", "test_classes")}
    where = learner.parameters, learner.architecture, replace(whole, **test), learner.seeds
    final = measure_final(*where, MEASURE, 3, learner.statistics)
    return vars(measure(*where, learner.k, 3, learner.statistics)) | {f"final {n}": v for n, v in vars(final).items()}


MEASURE = settings_of({"measure.nll_samples": 65, "measure.secondary_samples": 3}).measure


def padding_of(tensors, learner, replica):
    """The numbers that stand for units that a replica does not have."""
    n_z, width = learner.architecture.units.widths[replica], learner.architecture.units.width
    for name, tensor in tensors.items():
        own = resized(name, tensor[replica], n_z)
        if own.shape != tensor[replica].shape:
            whole = resized(name, torch.ones_like(own), width) == 1
            yield name, tensor[replica][~whole]


def close(found, expected, name="", largest=0.0):
    """To 1e-5 of the largest number: what cancels is rounding alone."""
    atol = 1e-5 * max(largest, expected.abs().max().item())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=atol, msg=name)


# ---- as alone ----


@cells
@both_draws
def test_from_equal_states_a_trial_has_the_numbers_and_gradients_that_it_has_alone(cell, on_device):
    members = members_of(cell)
    pack = trained(members, on_device)
    state = pack.state(1, ended(pack))
    objective, bound, gradients = slopes(pack)
    # slopes moves running statistics.
    pack.restore(state)
    after = torch.stack(pack.train_epoch(2))
    for replica, n_z in enumerate(N_Z):
        alone = alone_at(pack, members, replica, on_device)
        alone.restore(take(state, [replica]))
        own = slopes(alone)
        close(objective[replica], own[0][0])
        close(bound[replica], own[1][0])
        assert gradients.keys() == own[2].keys()
        largest = max(gradient.abs().max().item() for gradient in own[2].values())
        for name, gradient in gradients.items():
            close(resized(name, gradient[replica], n_z), own[2][name][0], name, largest)
        for name, numbers in padding_of(gradients, pack, replica):
            assert numbers.numel()
            assert numbers.eq(0).all(), name
        alone.restore(take(state, [replica]))
        close(after[:, replica], torch.stack(alone.train_epoch(2))[:, 0])


@cells
def test_from_equal_states_everything_measured_is_what_is_measured_alone(cell):
    assert_measured_as_alone(cell, on_device=True)


@pytest.mark.parametrize("name", ["default", "normed", "mean_sigmoid", "pixels_tanh"])
def test_so_it_is_with_the_draws_of_a_cpu(name):
    assert_measured_as_alone(CELLS[name], on_device=False)


def assert_measured_as_alone(cell, on_device):
    members = members_of(cell)
    pack = trained(members, on_device)
    found = measured(pack)
    for replica, n_z in enumerate(N_Z):
        for name, expected in measured(alone_at(pack, members, replica, on_device)).items():
            own = found[name][replica]
            if name.removeprefix("final ") in BY_UNIT and own.numel():
                assert own[n_z:].eq(1 if name == "posterior_variance" else 0).all(), name
                own = own[:n_z]
            np.testing.assert_allclose(own.numpy(), expected[0].numpy(), rtol=2e-5, atol=5e-6, err_msg=name)


def test_every_vector_is_known_to_have_an_entry_a_unit_or_a_class():
    """So that a new one is not cut, or left whole, by chance."""
    ours = {field.name for field in (*fields(Measurement), *fields(Final))}
    lists = {field.name for schema in (EPOCHS, TRIALS) for field in schema if "list" in str(field.type)}
    assert lists & ours == BY_UNIT | {"reconstruction_per_class"}


@tiny.LAWS
@given(
    st.lists(st.integers(1, 20), min_size=2, max_size=4),
    st.sampled_from([1, 5]),
    st.sampled_from([{}, VARIANTS["pixels_tanh"]]),
    st.booleans(),
    st.sampled_from(["auto", "sampled"]),
    st.sampled_from([(6,), (9, 4)]),
    st.booleans(),
)
def test_laws_of_shapes(widths, k, decoder, batch_norm, kl, hidden, on_device):
    cell = {**decoder, "k": k, "batch_norm": batch_norm, "objective.kl": kl, "model.hidden": hidden, "warmup": 2}
    members = members_of(cell, widths)
    pack = trained(members, on_device)
    assert (pack.architecture.units is None) == (len(set(widths)) == 1)
    width = pack.architecture.n_z
    assert width == (widths[0] if len(set(widths)) == 1 else -(-max(widths) // 8) * 8)
    state, after = pack.state(1, ended(pack)), torch.stack(pack.train_epoch(2))
    for replica in range(len(widths)):
        alone = learner_of(members[replica], on_device=on_device)
        for name, parameter in learner_of(*members, on_device=on_device).parameters.items():
            own = resized(name, parameter[replica], widths[replica])
            assert torch.equal(own, alone.parameters[name][0]), "an initial weight knows its pack"
        alone.restore(take(state, [replica]))
        close(after[:, replica], torch.stack(alone.train_epoch(2))[:, 0])


@pytest.mark.parametrize("source", [COUNTER, NUMPY])
def test_a_draw_knows_no_padded_width(source):
    units = units_of(N_Z, tiny.CPU)
    where = Stream.NOISE, 3, (2, 7)
    (found,) = Seeds(SEEDS, tiny.CPU, source, units).normals(*where, [units.width], 4, (1, 5))
    for replica, (n_z, seed) in enumerate(zip(N_Z, SEEDS, strict=True)):
        (alone,) = Seeds([seed], tiny.CPU, source).normals(*where, [n_z], 4, (1, 5))
        assert torch.equal(found[replica, ..., :n_z], alone[0])
        assert found[replica, ..., n_z:].eq(0).all()


def test_no_unit_is_missing_where_all_have_as_many():
    assert units_of([3, 3, 3], tiny.CPU) is None
    values = torch.tensor([[[[torch.nan]]]])
    assert kept(values, None) is values


# ---- what pads ----


@cells
def test_what_pads_is_0_before_training_and_after(cell):
    members = members_of(cell)
    for epochs in (0, 3):
        pack = trained(members, epochs % 2 == 1, epochs)
        moments = {name: kinds[MOMENTS[0]] for name, kinds in pack._optimizer.moments.items()}
        for replica in (0, 1, 2, 3):
            seen = [*padding_of(pack.parameters, pack, replica), *padding_of(moments, pack, replica)]
            assert len(seen) >= 10
            for name, numbers in seen:
                assert numbers.eq(0).all(), name


def let_one_through(learner, replica=1):
    """A mask that takes one unit too many for one that exists."""
    units = learner.architecture.units
    exists = units.exists.clone()
    exists[replica, ..., units.widths[replica]] = True
    wrong = replace(units, exists=exists)
    learner.architecture = replace(learner.architecture, units=wrong)
    learner.seeds._units = wrong


@pytest.mark.parametrize("cell", [{"k": 1, "objective.kl": "sampled"}, {"k": 3}, {"k": 1}], ids=str)
def test_a_unit_that_is_let_through_is_seen(cell):
    learner = learner_of(*members_of(cell), on_device=True)
    let_one_through(learner)
    for epoch in (1, 2):
        learner.train_epoch(epoch)
    assert any(numbers.ne(0).any() for _, numbers in padding_of(learner.parameters, learner, 1))


@pytest.mark.parametrize(
    ("cell", "column"),
    [
        ({"model.encoder_mean_head": "sigmoid"}, "test_bound"),
        ({"model.encoder_logvar_head": "softplus"}, "kl_per_unit"),
        ({}, "final nll"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_unit_that_is_let_through_changes_what_is_measured(cell, column):
    learner = trained(members_of(cell), True)
    right = measured(learner)[column]
    let_one_through(learner)
    if column == "final nll":
        with torch.no_grad():
            learner.parameters["decoder.hidden0.weight"][1, 1] = 1.0
    wrong = measured(learner)[column]
    assert not torch.allclose(right[1], wrong[1], rtol=1e-4, atol=0, equal_nan=True)
    assert torch.equal(right[[0, 2, 3]].nan_to_num(), wrong[[0, 2, 3]].nan_to_num())


def test_free_bits_are_paid_for_units_that_exist_alone():
    units = units_of([2, 5], tiny.CPU)
    kl = kept(torch.rand(2, 1, 6, 8) + 1, units)
    log_px, beta = torch.zeros(2, 1, 6), torch.ones(2, 1, 1)
    found = free_bits_objective(log_px, kl, beta, 0.45, units)
    close(found[:, 0], -torch.stack([kl[0, 0, :, :2].mean(0).sum(), kl[1, 0, :, :5].mean(0).sum()]))
    assert not torch.equal(found, free_bits_objective(log_px, kl, beta, 0.45))


def test_no_number_is_chosen_by_multiplication():
    units = units_of([1, 3], tiny.CPU)
    values = torch.full((2, 1, 1, 8), torch.nan, requires_grad=True)
    found = kept(values, units)
    assert found[0, ..., 1:].eq(0).all()
    assert found[0, ..., 0].isnan().all()
    found.backward(torch.full_like(found, torch.inf))
    assert values.grad[0, ..., 1:].eq(0).all()


@pytest.mark.parametrize("cell", [{"k": 3}, CELLS["normed_latent"], CELLS["free_bits"]], ids=str)
@both_draws
@pytest.mark.parametrize("broken", [1, 2], ids=["narrow", "widest"])
def test_a_broken_replica_changes_no_bit_of_the_others(cell, on_device, broken):
    others = [i for i in range(4) if i != broken]
    seen = []
    for breaks in (False, True):
        learner = trained(members_of(cell), on_device)
        if breaks:
            with torch.no_grad():
                learner.parameters["encoder.mean.weight"][broken] = torch.nan
        epoch = torch.stack(learner.train_epoch(2))
        assert not breaks or epoch[:, broken].isnan().all()
        numbers = measured(learner)
        assert not breaks or numbers["activity"][broken, : N_Z[broken]].isnan().all()
        seen.append([epoch.T, *numbers.values(), *learner.parameters.values()])
    for a, b in zip(*seen, strict=True):
        np.testing.assert_array_equal(a.detach()[others].numpy(), b.detach()[others].numpy())


# ---- parameters as they are stored ----


@tiny.LAWS
@given(st.integers(1, 9), st.integers(0, 9))
def test_filling_up_and_cutting_again_changes_nothing(n_z, more):
    shapes = {"encoder.mean.weight": (2, 7, n_z), "encoder.log_variance.bias": (2, 1, n_z), "encoder.mean": (2, 1, n_z)}
    shapes |= {"decoder.hidden0.weight": (2, n_z, 7), "decoder.hidden0.bias": (2, 1, 7), "decoder.mean.weight": (2, 7, 4)}
    shapes |= {
        "encoder.hidden0.weight": (2, 7, n_z),
        "decoder.hidden1.weight": (2, n_z, 7),
        "running_mean/encoder.mean": (1, n_z),
    }
    for name, shape in shapes.items():
        tensor = torch.randn(shape)
        wide = resized(name, tensor, n_z + more)
        assert torch.equal(resized(name, wide, n_z), tensor)
        assert wide.sum() == pytest.approx(tensor.sum().item(), abs=1e-5)
        has_units = "encoder.mean" in name or "log_variance" in name or name == "decoder.hidden0.weight"
        assert wide.numel() - tensor.numel() == (more * tensor.numel() // n_z if has_units else 0)


@both_draws
@pytest.mark.parametrize("cell", [{}, CELLS["normed_running"], CELLS["second_moment"]], ids=str)
def test_a_state_is_gone_on_from_bit_for_bit(cell, on_device):
    learner, fresh = trained(members_of(cell), on_device, 2), learner_of(*members_of(cell), on_device=on_device)
    half = learner.state(2, ended(learner))
    rest = torch.stack(learner.train_epoch(3))
    fresh.restore(half)
    assert torch.equal(torch.stack(fresh.train_epoch(3)), rest)
    assert tiny.same_state(fresh.state(3, ended(learner)), learner.state(3, ended(learner)))
