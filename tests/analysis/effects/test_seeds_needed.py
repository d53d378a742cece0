import numpy as np
import pytest
from scipy import stats

from analysis.effects.seeds_needed import more_seeds, progress, sd_upper, seeds_for_equivalence, seeds_for_interval
from analysis.stats.equivalence import equivalence, equivalence_power
from analysis.stats.estimate import InferenceError, contrast
from tests.analysis.effects import planted_effects as planted

FACTORS = {**planted.FACTORS, "batch_norm": [False], "warmup": [0], "n_z": [50]}


@pytest.mark.parametrize(("sd", "half_width", "per_seed"), [(0.2, 0.1, 1), (0.4, 0.3, 1), (1.0, 0.3, 1), (0.4, 0.3, 2)])
def test_seeds_for_an_interval_are_enough_and_no_more(sd, half_width, per_seed):
    n = seeds_for_interval(sd, half_width, df_per_seed=per_seed)

    def narrow(n):
        df = per_seed * (n - 1)
        s = sd * np.sqrt(np.random.default_rng(n).chisquare(df, 40000) / df)
        return np.mean(stats.t.ppf(0.975, df) * s / np.sqrt(n) <= half_width)

    error = 3 * np.sqrt(0.8 * 0.2 / 40000)
    assert narrow(n) > 0.8 - error
    assert narrow(n - 1) < 0.8 + error
    # Without assurance the width is met about half of the time.
    assert seeds_for_interval(sd, half_width, assurance=None, df_per_seed=per_seed) <= n


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(("sd", "margin"), [(0.1, 0.3), (0.2, 0.3), (0.4, 0.3), (1.3, 1.0)])
def test_seeds_for_equivalence_are_enough_and_no_more(sd, margin, paired):
    n = seeds_for_equivalence(sd, margin, paired=paired)
    assert equivalence_power(sd, n, margin, paired=paired) >= 0.8
    assert n == 2 or equivalence_power(sd, n - 1, margin, paired=paired) < 0.8
    values = planted.seeds(n, [sd, sd], 1000, n)
    shown = np.mean([equivalence(contrast(a, b, paired=paired), margin).verdict == "equivalent" for a, b in values])
    power = equivalence_power(sd, n, margin, paired=paired)
    assert shown == pytest.approx(power, abs=4 * np.sqrt(power * (1 - power) / 1000) + 0.005)


def test_numbers_of_seeds_that_the_plan_rests_on():
    # Seeds a cell for power 0.8 at a margin of 0.3 nats, sd 0.1, 0.2, 0.4: "20 to 30" for claims.
    assert [seeds_for_equivalence(sd, 0.3) for sd in (0.1, 0.2, 0.4)] == [4, 10, 32]
    assert [seeds_for_equivalence(sd, 0.3, paired=False) for sd in (0.1, 0.2, 0.4)] == [4, 9, 32]
    assert seeds_for_equivalence(0.4, 0.3, icc=0.5) < 20
    assert seeds_for_equivalence(100, 0.3) is None
    assert seeds_for_interval(100, 0.3) is None
    assert seeds_for_interval(0, 0.3) == seeds_for_equivalence(0, 0.3) == 2


def test_the_upper_limit_of_an_sd_is_above_it_80_times_in_100():
    for df in (2, 4, 9):
        s = np.sqrt(np.random.default_rng(df).chisquare(df, 20000) / df)
        assert np.mean(s * sd_upper(1, df) >= 1) == pytest.approx(0.8, abs=0.01)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Five seeds of K = 1, of which the last is unfinished; of K = 5 seed 1 diverged."""
    root = tmp_path_factory.mktemp("power") / "s"
    return planted.study(root, FACTORS, diverged={(5, 1): 2}, done=lambda s: 3 if s["k"] == 1 and s["seed"] == 4 else 10**9)


def test_more_seeds_of_every_cell(study):
    table = more_seeds(study, "test_bound", half_width=0.3, margin=0.3).set_index("cell")
    values = [planted.noisy({"k": 5, "batch_norm": False, "warmup": 0, "n_z": 50, "seed": seed}, 4) for seed in (0, 2, 3, 4)]
    row = table.loc["k=5"]
    assert (row["n"], row["n_planned"]) == (4, 5)
    assert row["sd"] == pytest.approx(np.std(values, ddof=1))
    assert row["half_width"] == pytest.approx(stats.t.ppf(0.975, 3) * stats.sem(values))
    assert row["more_for_interval"] == seeds_for_interval(row["sd"], 0.3) - 4
    assert row["more_for_equivalence"] == seeds_for_equivalence(row["sd"], 0.3) - 4
    assert row["more_for_interval_safe"] > row["more_for_interval"]
    assert row["power"] == pytest.approx(equivalence_power(row["sd"], 4, 0.3))
    counts = more_seeds(study, "active_units", half_width=1, margin=1)
    assert counts["sd"].min() >= np.sqrt(1 / 12)
    single = more_seeds(study, "test_bound", half_width=0.3, margin=0.3, at={"seed": 0})
    assert single["more_for_interval"].isna().all()


def test_verdicts_are_interim_until_every_planned_trial_has_ended(study):
    whole, part = progress(study), progress(study, {"k": 5})
    # The pack of K = 1 is written as ended only once all of its seeds are.
    assert (whole.is_final, whole.text) == (False, "INTERIM (0 of 5 seeds)")
    assert (part.is_final, part.target, part.text) == (True, 5, "final (5 seeds)")
    assert more_seeds(study, "nll", half_width=1, margin=1)["progress"].unique().tolist() == [whole.text]


def test_what_cannot_be_planned_is_refused():
    with pytest.raises(InferenceError, match="half_width 0"):
        seeds_for_interval(1, 0)
    with pytest.raises(InferenceError, match="sd is nan"):
        seeds_for_equivalence(float("nan"), 1)
    with pytest.raises(InferenceError, match="margin is -1"):
        seeds_for_equivalence(1, -1)
