"""Measures of the end: pixels, ablations, the other reading, neighbours that diverge, and what is stored."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from tests.workers import tiny
from tests.workers.measure.second_computation import CELLS, GREY, Second, data_of, drawn, log_mean_exp, trained
from workers.contract.columns import EPOCHS, TRIALS
from workers.contract.settings import MeasureSettings
from workers.contract.streams import Stream
from workers.measure import at_the_end as final
from workers.measure.at_the_end import Final, ablations, measure_final, pixel_measures
from workers.measure.every_epoch import Measurement, measure
from workers.measure.posterior import evaluation_model, posterior_of
from workers.model.layers import fixed_statistics
from workers.model.networks import Model
from workers.store.memory import MemoryStore
from workers.train import loop as train
from workers.train.learner import Learner

PLAIN = fixed_statistics({})
DEEP = {"model__layers_above": "8-z2"}


def broken(learner):
    """The parameters with a second replica that has diverged."""
    return {name: torch.stack([p[0].detach(), p[1].detach() * torch.nan]) for name, p in learner.parameters.items()}


# ---- pixels ----


def expected_pixels(second):
    found = []
    for part, x in enumerate(second.data.test.double().split(100)):
        noise = [
            drawn(second.seed, Stream.SECONDARY_NOISE, 1, (len(x), n), 0, layer, part)
            for layer, (_, n) in enumerate(second.model.layers)
        ]
        with torch.no_grad():
            _, z = second.model.latents(x, noise, second.statistics)
            pixels = second.pixels(z[0])
            mean, x = pixels.mean[0].numpy(), x.numpy()
            clipped = np.clip(mean, 1e-6, 1 - 1e-6)
            ends = np.full(len(x), np.nan)
            limits = {"tanh": 1.0, "linear_clamped": second.settings.model.decoder_logvar_limit}
            limit = limits.get(second.settings.model.decoder_logvar)
            if second.settings.decoder == "gaussian" and limit:
                ends = (np.abs(2 * np.log(pixels.stddev[0].numpy())) > 0.98 * limit).mean(1)
        found.append(((x - mean).__pow__(2).mean(1), -(x * np.log(clipped) + (1 - x) * np.log1p(-clipped)).sum(1), ends))
    return dict(
        zip(
            ("test_mse", "test_cross_entropy", "saturated_pixels"),
            (np.concatenate(c).mean() for c in zip(*found, strict=True)),
            strict=True,
        )
    )


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_pixel_measures_are_numpys(cell):
    data = data_of(cell, n_test=107)
    learner = trained(cell, data)
    if "decoder.log_variance.weight" in learner.parameters:
        with torch.no_grad():
            learner.parameters["decoder.log_variance.weight"].mul_(20)
    network, _ = evaluation_model(learner.parameters, learner.architecture, data.measured, learner.seeds, 1)
    found = pixel_measures(network, data, learner.seeds, 1)
    for replica in range(2):
        expected = expected_pixels(Second(learner, data, cell, replica))
        for name, value in expected.items():
            assert found[name][replica].item() == pytest.approx(
                value, rel=1e-5, abs=1e-4 * (name == "saturated_pixels"), nan_ok=True
            ), name
    if cell is GREY:
        assert 0.05 < found["saturated_pixels"][0] < 0.95


@pytest.mark.parametrize("push", [-100.0, 100.0])
def test_a_wrong_and_certain_pixel_costs_the_logarithm_of_a_millionth(push):
    data = dataclasses.replace(data_of({}), test=torch.full((9, 64), float(push < 0)))
    learner = trained({}, data_of({}))
    with torch.no_grad():
        learner.parameters["decoder.logits.bias"].add_(push)
    found = pixel_measures(Model(learner.parameters, learner.architecture, PLAIN), data, learner.seeds, 1)
    assert found["test_mse"].tolist() == pytest.approx([1, 1], abs=1e-5)
    assert found["test_cross_entropy"].tolist() == pytest.approx([64 * math.log(1e6)] * 2, rel=2e-3)


# ---- ablations ----


def ablated(learner, data, settings, parameters=None):
    model = Model(parameters or learner.parameters, learner.architecture, PLAIN)
    train = posterior_of(model, data.measured, learner.seeds, Stream.MEASURED_NOISE, 1)
    return ablations(model, data.test, learner.seeds, train, settings, 1), train


@torch.no_grad()
def expected_change(second, limits, samples):
    """L_S and L_1 with q_u replaced in every unit above the lower and up to the upper limit, less those without, same draws."""
    codes, model, x = second.codes(second.data.measured), second.model, second.data.test.double()
    top, bounds = len(codes) - 1, []
    for is_silent in (False, True):
        q, z, below = [], [], x
        for layer, code in enumerate(codes):
            noise = drawn(second.seed, Stream.SECONDARY_NOISE, samples, (len(x), code.loc.shape[1]), 0, layer, 1 << 31)
            own = model.posterior(below, layer=layer)
            new = (
                (0.0, 1.0)
                if layer == top
                else (code.loc.mean(0), (code.loc.var(0, correction=0) + code.variance.mean(0)).sqrt())
            )
            activity = code.loc.var(0, correction=0)
            is_off = is_silent & (activity > limits[0]) & (activity <= limits[1])
            q.append(Normal(torch.where(is_off, new[0], own.loc), torch.where(is_off, new[1], own.scale)))
            below = q[-1].loc + q[-1].scale * noise
            z.append(below)
        log_w = second.pixels(z[0]).log_prob(x).sum(-1) + model.log_ratio(q, z)
        bounds.append((log_mean_exp(log_w.numpy()).mean(), log_w.mean().item()))
    return np.subtract(bounds[1], bounds[0])


@pytest.mark.parametrize("cell", [{}, {"decoder": "gaussian"}, DEEP], ids=str)
@pytest.mark.parametrize("which", ["some", "all"])
def test_an_ablation_is_the_bound_with_silent_units(cell, which):
    data = data_of(cell)
    learner = trained(cell, data, epochs=3)
    with torch.no_grad():
        for name in ("encoder.mean", "decoder.hidden0"):
            learner.parameters[f"{name}.weight"].mul_(3)
    activity = ablated(learner, data, MeasureSettings())[1].activity
    threshold = 1e9 if which == "all" else float(activity.median())
    found, _ = ablated(learner, data, MeasureSettings(threshold=threshold, secondary_samples=23))
    for replica in range(2):
        second = Second(learner, data, cell, replica)
        for name, limits in (("ablation_between", (0.01, threshold)), ("ablation_low", (-1.0, 0.01))):
            l_s, l_1 = expected_change(second, limits, 23)
            assert found[name][replica].item() == pytest.approx(l_s, abs=1e-4), name
            assert found[f"{name}_elbo"][replica].item() == pytest.approx(l_1, abs=1e-4), name
    assert (found["ablation_between"].abs() > 1e-3).all()
    assert (found["ablation_between_elbo"].abs() > 1e-3).all()


def test_units_that_matter_cost_nats():
    """The fewer the samples the more: with many, the weights find what q no longer says (log p(x) does not depend on q)."""
    data = data_of({}, n_test=40)
    learner = trained({"training__batch_size": 10, "k": 1}, data, epochs=20, seeds=(0,))
    changes = []
    for samples in (1, 5, 100):
        found, _ = ablated(learner, data, MeasureSettings(threshold=1e9, secondary_samples=samples))
        changes.append(found["ablation_between"].item())
    assert changes[0] < changes[1] < changes[2] < 0
    assert changes[0] < -0.5
    assert found["ablation_between_elbo"].item() < -0.5


def test_units_that_are_off_cost_nothing_exactly():
    data = data_of({})
    learner = trained({}, data, epochs=3)
    with torch.no_grad():
        learner.parameters["encoder.mean.weight"].mul_(5)
        for head in ("mean", "log_variance"):
            learner.parameters[f"encoder.{head}.weight"][:, :, 1] = 0
            learner.parameters[f"encoder.{head}.bias"][:, :, 1] = 0
    found, train = ablated(learner, data, MeasureSettings(threshold=0.02))
    assert (train.activity > 0.02).tolist() == [[True, False, True]] * 2
    assert found["ablation_low"].eq(0).all()
    assert found["ablation_between"].eq(0).all()
    with torch.no_grad():
        learner.parameters["encoder.mean.bias"][:, :, 1] = 1
    found, _ = ablated(learner, data, MeasureSettings())
    assert found["ablation_low"].ne(0).all()


def test_a_unit_at_the_threshold_is_silenced():
    data = data_of({})
    learner = trained({}, data, seeds=(0,))
    activity = ablated(learner, data, MeasureSettings())[1].activity[0]
    assert activity.min() > 0.01
    at = activity.min().item()
    changes = [
        ablated(learner, data, MeasureSettings(threshold=t))[0]["ablation_between"].item()
        for t in (at * (1 - 1e-9), at, at * (1 + 1e-9))
    ]
    assert changes[0] == 0
    assert changes[1] != 0
    assert changes[1] == changes[2]


# ---- the other reading of the pixels, and everything together ----

READINGS = {
    "bernoulli_grey": ({"data__input": "grey"}, "dynamic", "activity_bin"),
    "gaussian_grey": (GREY, "dynamic", "activity_bin"),
    "batch_norm_grey": ({"data__input": "grey", "batch_norm": True}, "dynamic", "activity_bin"),
    "two_layers_grey": ({**DEEP, "data__input": "grey"}, "dynamic", "activity_bin"),
    "continuous_bernoulli_grey": (CELLS["continuous_bernoulli_grey"], "dynamic", "activity_bin"),
    "dynamic": ({}, "grey", "activity_grey"),
    "static": ({"data__input": "static"}, "grey", "activity_grey"),
    "threshold": ({"data__input": "threshold"}, "grey", "activity_grey"),
}


def all_of(learner, data, parameters=None, **values):
    settings = MeasureSettings(**{"nll_samples": 12, "secondary_samples": 12, **values})
    return measure_final(parameters or learner.parameters, learner.architecture, data, learner.seeds, settings, 1)


@pytest.mark.parametrize(("cell", "other", "name"), READINGS.values(), ids=READINGS)
def test_the_other_reading_is_that_of_data_so_read(cell, other, name):
    data, otherwise = data_of(cell), data_of({"data__input": other})
    learner = trained(cell, data)
    found = all_of(learner, data)
    absent = {"activity_bin": "activity_grey", "activity_grey": "activity_bin"}[name]
    assert getattr(found, absent).shape == (2, 0)
    for replica in range(2):
        second = Second(learner, data, cell, replica)  # with the statistics of its own reading
        activity = [np.var(q.loc.numpy(), axis=0) for q in second.codes(otherwise.measured)]
        np.testing.assert_allclose(getattr(found, name)[replica], np.concatenate(activity), rtol=1e-4)
        if cell.get("decoder") == "continuous_bernoulli" or other == "grey":
            assert found.bound_bin[replica].isnan()
        else:
            second.data = otherwise
            log_w, _ = second.log_weights(12, Stream.SECONDARY_NOISE, first=1 << 31)
            assert found.bound_bin[replica].item() == pytest.approx(log_mean_exp(log_w).mean(), rel=1e-5)


@pytest.mark.parametrize("name", list(CELLS))
def test_a_diverged_replica_disturbs_no_measure_of_its_neighbour(name):
    data = data_of(CELLS[name])
    learner = trained(CELLS[name], data)
    # Thresholds below and above every activity: without and with units to silence.
    for threshold in (1e-9, 1e9):
        before, after = (
            all_of(learner, data, threshold=threshold),
            all_of(learner, data, broken(learner), threshold=threshold),
        )
        for field in dataclasses.fields(Final):
            whole, rest = getattr(before, field.name), getattr(after, field.name)
            assert torch.equal(whole[0].nan_to_num(7e7), rest[0].nan_to_num(7e7)), field.name
    assert after.nll[1].isnan()
    epochs = [measure(p, learner.architecture, data, learner.seeds, 2, 1) for p in (learner.parameters, broken(learner))]
    for field in dataclasses.fields(Measurement):
        whole, rest = (getattr(epoch, field.name)[0].nan_to_num(7e7) for epoch in epochs)
        assert torch.equal(whole, rest), field.name


# ---- what is stored ----

ABSENT = {
    "bernoulli_binary": {"saturated_pixels", "bound_bin", "activity_bin"},
    "bernoulli_grey": {"saturated_pixels", "nll_comparable", "activity_grey"},
    "gaussian_binary": {"bound_bin", "activity_bin"},
    "gaussian_grey": {"activity_grey"},
    "gaussian_clamped_grey": {"activity_grey"},
    "continuous_bernoulli_grey": {"saturated_pixels", "bound_bin", "activity_grey"},
    "two_layers": {"saturated_pixels", "bound_bin", "activity_bin"},
}
VECTORS = {
    "activity",
    "activity_test",
    "activity_pca",
    "kl_per_unit",
    "kl_per_unit_test",
    "posterior_mean",
    "posterior_variance",
}


def stored(cell, members):
    store, data = MemoryStore(), data_of(cell, n_test=20)
    pack = tiny.pack(*({**cell, **member} for member in members), borders=(1, 2))
    assert tiny.run(pack, store, data).status == "done"
    return pack, tiny.rows(store), tiny.ended(store), tiny.final_state(store, pack), data


def test_every_measure_has_a_column():
    assert {field.name for field in dataclasses.fields(Measurement)} <= set(EPOCHS.names)
    assert {field.name for field in dataclasses.fields(Final)} <= set(TRIALS.names)
    assert {field.name for field in EPOCHS if "list" in str(field.type)} == {*VECTORS, "reconstruction_per_class"}


@pytest.mark.parametrize(("name", "samples"), [(name, 64 if name == "gaussian_grey" else 12) for name in ABSENT])
def test_rows_have_what_was_measured_and_null_where_there_is_nothing(name, samples):
    cell = {**CELLS[name], "measure__nll_samples": samples, "measure__secondary_samples": 7}
    pack, rows, ended, state, data = stored(cell, ({"seed": 0}, {"seed": 1}))
    learner = Learner(pack, data, tiny.CPU)
    learner.restore(state)
    found = measure_final(state.parameters, learner.architecture, data, learner.seeds, pack.trials[0].settings.measure, 2)
    units = learner.architecture.n_z
    absent = ABSENT[name] | ({"l_64"} if samples < 64 else set())
    for i, trial in enumerate(pack.trials):
        row = ended[trial.trial_id]
        assert {column for column, value in row.items() if value is None} == absent
        assert (row["nll_samples"], row["secondary_samples"]) == (samples, 7)
        for field in dataclasses.fields(Final):
            if field.name not in absent:
                np.testing.assert_array_equal(
                    np.float32(row[field.name]), np.float32(getattr(found, field.name)[i].numpy()), err_msg=field.name
                )
        for key in ("activity_bin", "activity_grey"):
            assert row[key] is None or len(row[key]) == units
    assert rows.keys() == {(trial.trial_id, epoch) for trial in pack.trials for epoch in range(3)}
    for row in rows.values():
        assert {column for column, value in row.items() if value is None} == {"saturated_mean", "saturated_log_variance"}
        assert all(len(row[column]) == units and np.isfinite(row[column]).all() for column in VECTORS)
        assert all(math.isfinite(value) for value in row.values() if isinstance(value, float))


def test_bounded_heads_have_their_shares_stored():
    heads = {"model__encoder_mean_head": "sigmoid", "model__encoder_logvar_head": "tanh"}
    _, rows, *_ = stored(heads, ({"seed": 0},))
    assert all(0 <= row[name] <= 1 for row in rows.values() for name in ("saturated_mean", "saturated_log_variance"))


def test_a_diverged_trial_has_no_measure_of_the_end(monkeypatch):
    class Breaking(Learner):
        def train_epoch(self, epoch):
            if epoch == 2:
                with torch.no_grad():
                    self.parameters["encoder.hidden0.bias"][1] = torch.nan
            return super().train_epoch(epoch)

    _, _, whole, *_ = stored({}, ({"seed": 0}, {"seed": 1}))
    monkeypatch.setattr(train, "Learner", Breaking)
    pack, _, ended, *_ = stored({}, ({"seed": 0}, {"seed": 1}))
    good, bad = (trial.trial_id for trial in pack.trials)
    assert {field.name for field in dataclasses.fields(Final) if ended[bad][field.name] is not None} == set()
    assert ended[bad]["status"] == "diverged"
    for name in ended[good].keys() - {"seconds", "device"}:
        assert ended[good][name] == whole[good][name], name


# ---- negative controls ----


@pytest.mark.parametrize("fault", ["at_least", "removed", "other noise", "top is own"])
def test_the_check_of_ablations_sees_a_fault(fault, monkeypatch):
    whole = final._silence, final.bound_of
    match fault:
        case "at_least":
            monkeypatch.setattr(final, "_silence", lambda a, mask, train: whole[0](a, train.activity < 0, train))
        case "removed":
            monkeypatch.setattr(final, "_silence", lambda a, mask, train: lambda layer, m, v: (m * 0, v - 50))
        case "other noise":
            monkeypatch.setattr(
                final, "bound_of", lambda *args, **named: whole[1](*args[:4], args[4] + len(args), *args[5:], **named)
            )
        case _:
            monkeypatch.setattr(
                final, "_silence", lambda a, mask, train: lambda layer, m, v: (m.mean(2, keepdim=True).expand_as(m), v)
            )
    with pytest.raises(AssertionError):
        test_an_ablation_is_the_bound_with_silent_units({}, "some")
