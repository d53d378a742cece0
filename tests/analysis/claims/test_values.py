"""The numbers that a claim reads from a trial."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.claims.trial import Trial, Undefined
from analysis.claims.values import VALUES, least_variance
from tests.analysis.claims.verdicts import LAWS


def trial_of(active=None, activity=None, warmup=0, threshold=0.1, **row):
    stream = {}
    if active is not None:
        stream["active_units"] = active
    vectors = {} if activity is None else {"activity": np.array(activity, np.float32)}
    frame = pd.DataFrame(stream)
    return Trial({"layer_sizes": (50,), **row}, frame, np.arange(len(frame)), threshold, warmup, read=vectors.__getitem__)


def value(name, trial, **how):
    found = VALUES[name].of(trial, how)
    return found if isinstance(found, Undefined) else found[0]


def test_half_life_is_from_the_early_peak_to_half_of_what_is_lost():
    # The count at epoch 0 is no baseline, whatever it is.
    trial = trial_of([50, 30, 40, 40, 38, 30, 24, 18, 10, 10])
    assert trial.peak == (2, 40)
    # Half of the 30 lost is gone at 25: between 30 (epoch 5) and 24 (epoch 6).
    assert value("half_life", trial) == pytest.approx(5 + 5 / 6 - 2)
    assert value("largest_drop", trial) == 8
    assert value("lost", trial) == 30
    flat = trial_of([0, 10, 10, 10, 10, 10, 9, 10, 9, 9])
    assert "no half-life" in value("half_life", flat).reason


@LAWS
@given(st.floats(1, 30), st.integers(10, 40), st.integers(2, 9))
def test_half_life_of_an_exponential_is_that_of_physics(tau, start, end):
    epochs = np.arange(200)
    curve = end + (start - end) * np.exp(-np.maximum(0, epochs - 1) / tau)
    if start - curve[-1] >= 2:
        assert value("half_life", trial_of(curve)) == pytest.approx(tau * np.log(2), abs=0.5)


def test_returns_and_falls_are_counted_by_unit():
    # Unit 0 falls and returns once, unit 1 never lives, unit 2 lives on, unit 3 falls into the gap only.
    activity = [
        [0.01, 0.02, 0.0, 0.0],
        [0.5, 0.02, 0.5, 0.5],
        [0.005, 0.02, 0.5, 0.05],
        [0.05, 0.02, 0.5, 0.05],
        [0.5, 0.001, 0.5, 0.05],
        [0.5, 0.02, 0.5, 0.5],
    ]
    trial = trial_of(activity=activity)
    # Unit 0 is pruned at epochs 2 and 3, and back at 4: one return in two epochs.
    assert value("return_rate", trial, low=0.01, high=0.1) == 0.5
    assert value("fallen", trial) == 2
    assert value("between", trial, low=0.01, high=0.1) == 1
    assert VALUES["return_rate"].least_sd(trial, {"low": 0.01, "high": 0.1}) == 0.5
    assert "no unit was pruned" in value("return_rate", trial_of(activity=[[0.5], [0.5]]), low=0.01, high=0.1).reason


def test_what_happened_within_epoch_1_cannot_be_told():
    """A peak below the number of units and no loss after it: pruned before, or never active."""
    early = trial_of([50, *[12] * 9])
    whole = trial_of([0, *[50] * 9])
    for name in ("lost", "largest_drop", "kept"):
        assert "within epoch 1" in value(name, early).reason
        assert value(name, whole) == (1 if name == "kept" else 0)
    assert value("lost", trial_of([0, *[12] * 5, 10])) == 2
    dead = [[0.5, 0.01], [0.5, 0.02]]
    assert "never active" in value("fallen", trial_of(activity=dead)).reason
    assert value("fallen", trial_of(activity=[*dead, [0.05, 0.01]])) == 1
    assert value("fallen", trial_of(activity=[[0.5, 0.01], [0.5, 0.2]])) == 0
    assert "no unit is active" in value("kept", trial_of([3, *[0] * 9])).reason


def test_epochs_to_the_own_end_measure_the_rate_and_not_the_level():
    epochs = np.arange(101)
    for level in (0, -7):
        curve = level - 30 * np.exp(-epochs / 6)
        trial = Trial({}, pd.DataFrame({"test_bound": curve}), epochs, 0.1)
        end = curve[-5:].mean()
        expected = next(e for e in epochs if (np.abs(curve[e:] - end) <= 1).all())
        assert value("epochs_to_end", trial, column="test_bound", within=1.0) == expected == 21
    # A rise that goes on to the end has not converged, and neither has a curve that is far off in its last quarter.
    for slow in (0.5 * epochs, np.where(epochs == 80, 5.0, 0.0)):
        trial = Trial({}, pd.DataFrame({"test_bound": slow}), epochs, 0.1)
        assert "had not converged" in value("epochs_to_end", trial, column="test_bound", within=1.0).reason


def test_a_target_that_is_never_reached_is_no_number():
    trial = Trial({}, pd.DataFrame({"test_bound": np.arange(9.0)}), np.arange(9), 0.1, target=5.0)
    how = {"column": "test_bound", "reference": "a", "below": 1.0}
    assert value("epochs_to_target", trial, **how) == 5
    never = Trial({}, trial.stream, trial.places, 0.1, target=9.0)
    assert value("epochs_to_target", never, **how).reason == "test_bound never reaches the target of 9"
    assert np.isnan(value("epochs_to_target", Trial({}, trial.stream, trial.places, 0.1), **how))


def test_an_ablation_without_units_is_undefined():
    how = {"column": "ablation_between", "low": 0.01}
    for low, expected in ((0.05, -0.5), (0.0999, -0.5), (0.0099, None), (0.2, None)):
        found = value("ablation", trial_of(activity=[[0.6, low]], ablation_between=-0.5), **how)
        assert found == expected if expected else "no unit's activity" in found.reason


def test_warm_up_values_scale_with_its_length():
    curve = np.r_[[0.0], np.full(9, 40.0), np.linspace(40, 20, 91), np.full(50, 20.0)]
    trial = trial_of(curve, warmup=100, layer_sizes=(40,))
    assert value("kept", trial) == 1
    assert value("slope_in_warmup", trial) == pytest.approx(-20 / 90)
    assert value("change_after_warmup", trial) == 0
    assert value("kept", trial_of(curve, warmup=20, layer_sizes=(30, 10))) == 1
    assert value("change_after_warmup", trial_of(curve, warmup=20)) == 20 - curve[21]


def test_steps_of_the_bound_go_by_their_number_of_samples():
    row = {"l_1": -90.0, "l_5": -88.0, "l_64": -86.0, "nll": 87.0}
    assert value("smallest_step", trial_of(**row, nll_samples=5000)) == -1
    assert value("smallest_step", trial_of(**row, nll_samples=20)) == 1


def test_equal_slopes_of_a_few_seeds_are_not_certain():
    """Three seeds whose counts fall alike give no sd of 0: rounding leaves one in every epoch."""
    trial = trial_of(np.full(151, 40.0), warmup=100)
    counts = np.random.default_rng(0).uniform(-0.5, 0.5, (20_000, 91))
    steps = np.arange(91) - 45
    simulated = float((counts @ steps / (steps @ steps)).std())
    assert least_variance("slope_in_warmup", trial, {}) ** 0.5 == pytest.approx(simulated, rel=0.02)
