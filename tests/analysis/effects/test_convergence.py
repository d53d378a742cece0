import numpy as np
import pytest
from scipy import stats

from analysis.averages.average import AverageError, average
from analysis.effects import bands
from analysis.effects.bands import curve_bands, sup_t
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


# --- bands --------------------------------------------------------------------------------------------------------------


def curves(n, epochs, memory, seed):
    """Curves with noise that is remembered for so many epochs."""
    rng = np.random.default_rng(seed)
    lag = np.abs(np.subtract.outer(np.arange(epochs), np.arange(epochs)))
    root = np.linalg.cholesky(np.exp(-lag / memory) + 1e-9 * np.eye(epochs))
    return (root @ rng.standard_normal((epochs, n))).T


def test_pointwise_is_that_of_scipy_and_simultaneous_is_wider():
    rows = curves(25, 30, 5, 0)
    band = sup_t(rows)
    low, high = stats.t.interval(0.95, 24, rows.mean(axis=0), stats.sem(rows))
    assert band["low"].to_numpy() == pytest.approx(low)
    assert band["high"].to_numpy() == pytest.approx(high)
    assert (band["sup_low"] < band["low"]).all()
    assert band["critical"][0] < stats.t.ppf(1 - 0.025 / 30, 24)
    assert sup_t(rows).equals(band)
    # One epoch is a plain interval; epochs that always agree are one epoch.
    assert sup_t(rows[:, :1])["critical"][0] == pytest.approx(stats.t.ppf(0.975, 24), rel=0.03)
    same = sup_t(np.repeat(rows[:, :1], 40, axis=1))["critical"][0]
    assert same == pytest.approx(stats.t.ppf(0.975, 24), rel=0.05)


@pytest.mark.parametrize(("n", "memory"), [(3, 10), (5, 10), (10, 1), (20, 3), (20, 10)])
def test_simultaneous_bands_cover_whole_curves_where_pointwise_ones_do_not(n, memory):
    simulations, pointwise, simultaneous = 250, 0, 0
    for seed in range(simulations):
        band = sup_t(curves(n, 40, memory, [seed, n]), draws=400)
        pointwise += bool(((band["low"] < 0) & (band["high"] > 0)).all())
        simultaneous += bool(((band["sup_low"] < 0) & (band["sup_high"] > 0)).all())
    assert simultaneous / simulations >= 0.91
    assert pointwise / simulations < 0.8


def test_bands_of_a_study_name_what_is_missing(study):
    band = curve_bands(study, "test_bound", at={"k": 1}, versus={"k": 5})
    assert band["epoch"].tolist() == list(range(LAST + 1))
    assert (band["n"].unique().tolist(), band["n_planned"].unique().tolist()) == ([4], [5])
    assert "seed 2 diverged after epoch 6" in band["missing"][0]
    assert band["mean"][LAST] == pytest.approx(1, abs=0.5)
    # What is asked of its first epochs does not lose the seed that diverged later.
    early = curve_bands(study, "test_bound", at={"k": 5}, epochs=[1, 2, 3])
    assert (early["n"].unique().tolist(), early["missing"].unique().tolist()) == ([5], [""])
    counts = curve_bands(study, "active_units", at={"k": 1}, epochs=[1, 2])
    assert counts["high"][0] - counts["mean"][0] == pytest.approx(stats.t.ppf(0.975, 4) * np.sqrt(1 / 12 / 5))
    with pytest.raises(InferenceError, match="takes one cell"):
        curve_bands(study, "test_bound", at={})
    assert np.isnan(sup_t([[1.0, 2.0]])["sup_high"]).all()
    with pytest.raises(InferenceError, match="shape"):
        sup_t([1.0, 2.0])


def test_few_seeds_get_bonferroni():
    rows = curves(bands.FEW - 1, 25, 5, 0)
    assert sup_t(rows)["critical"][0] == pytest.approx(stats.t.ppf(1 - 0.025 / 25, bands.FEW - 2))
