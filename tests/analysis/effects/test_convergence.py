import numpy as np
import pytest

from analysis.averages.average import AverageError, average
from analysis.effects.convergence import common_target, convergence
from analysis.effects.seed_table import per_seed
from analysis.effects.simple import simple_effects
from analysis.stats.curves import epochs_to, half_life, largest_drop, peak, slope
from analysis.stats.estimate import InferenceError
from tests.analysis.effects import planted_effects as planted

FACTORS = {**planted.FACTORS, "batch_norm": [False], "warmup": [0], "n_z": [50]}
LAST = 12

# --- scalars of a trial -------------------------------------------------------------------------------------------------


def test_epochs_to_a_common_target_are_censored_at_the_end():
    curves = [[-9, -5, -3, -1], [-9, -8, -7, -6], [-1, -9, -9, -9], [-9, np.nan, -3, -1]]
    epochs, reached = epochs_to(curves, -3)
    np.testing.assert_array_equal(epochs, [2, 3, 0, np.nan])
    np.testing.assert_array_equal(reached, [1, 0, 1, np.nan])


def test_slope_is_that_of_polyfit():
    curves = np.random.default_rng(0).normal(size=(4, 30)).cumsum(axis=1)
    assert slope(curves, 10) == pytest.approx(np.polyfit(np.arange(10), curves[:, -10:].T, 1)[0])
    assert slope(2.5 * np.arange(9)[None], 8) == pytest.approx([2.5])
    with pytest.raises(InferenceError, match="the last 9 of 8 epochs"):
        slope(np.zeros((1, 9)), 9)


def test_pruning_is_measured_from_the_peak_of_epochs_1_to_5():
    #         epoch  0   1   2   3   4   5   6  7  8
    pruned = np.array([50, 20, 30, 30, 28, 26, 20, 12, 10], float)
    whole, rising = np.array([0.0] + [7.0] * 8), np.arange(9.0)
    curves = np.stack([pruned, whole, rising])
    assert peak(curves).tolist() == [30, 7, 5]
    # 30 at epoch 2, half of what is lost (20) at epoch 6.
    np.testing.assert_allclose(half_life(curves), [4, np.nan, np.nan])
    assert largest_drop(curves).tolist() == [8, 0, 0]
    # Between epochs a straight line: 24 lies between 26 and 20.
    assert half_life(np.where(pruned == 10, 18.0, pruned)[None]) == pytest.approx([3 + 2 / 6])
    # A fall before the peak is no pruning.
    assert largest_drop([[9, 6, 1, 8, 7, 7, 7]]).tolist() == [1]


def test_half_life_of_exponential_pruning_does_not_depend_on_what_is_left():
    epochs = np.arange(200)
    for left in (0, 10, 30):
        curve = left + 20 * 0.5 ** (np.maximum(epochs - 1, 0) / 7)
        assert half_life([curve]) == pytest.approx([7], abs=0.02)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """K = 5 converges twice as fast to 1 nat more; seed 2 of it diverges; counts fall from 40 to 10."""

    def bound(s, epoch):
        return -90 + (s["k"] == 5) + planted.noise(s) - 8 * np.exp(-epoch / (2 if s["k"] == 5 else 4))

    def activity(s, epoch):
        live = 10 + round(30 * 0.5 ** (max(0, epoch - 1) / (2 if s["k"] == 1 else 4)))
        return np.where(np.arange(50) < live, 0.9, 0.001)

    root = tmp_path_factory.mktemp("convergence") / "s"
    return planted.study(root, FACTORS, bound, epochs=LAST, activity=activity, diverged={(5, 2): 6})


def test_scalars_of_a_study_go_into_effects(study):
    target = common_target(study, "test_bound", {"k": 1})
    assert target == pytest.approx(average(study, "test_bound", at={"k": 1})["mean"][0] - 1)
    table = convergence(study, target=target, last=5)
    assert list(table) == ["slope", "peak", "half_life", "largest_drop", "end", "epochs_to_target", "reached"]
    faster = simple_effects(study, table["epochs_to_target"], "k").iloc[0]
    assert faster["estimate"] == pytest.approx(-4, abs=2)
    assert "seed 2 diverged after epoch 6 at k=5" in faster["missing"]
    assert per_seed(study, table["end"]).values.equals(per_seed(study, "test_bound").values)
    units = convergence(study, "active_units")
    lives = per_seed(study, units["half_life"]).values.mean()
    assert lives["k=1"] == pytest.approx(2, abs=0.4)
    assert lives["k=5"] == pytest.approx(4, abs=1.5)
    assert per_seed(study, units["peak"]).values.stack().dropna().unique().tolist() == [40]


def test_scalars_are_conditional_on_convergence(study):
    diverged = study.trials.loc[study.trials["status"] == "diverged", "trial_id"]
    assert convergence(study, target=-200.0).loc[diverged].isna().all(axis=None)
    with pytest.raises(AverageError, match="did you mean"):
        convergence(study, "test_bond")
