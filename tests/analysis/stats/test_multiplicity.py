from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.stats.equivalence import equivalence, equivalence_chance, equivalence_power, exceedance_chance
from analysis.stats.estimate import COUNT_FLOOR, InferenceError, contrast, linear_contrast, mean_interval, one_sided
from analysis.stats.multiplicity import clopper_pearson, holm, holm_level, icc, rank_contrast, worst_rank
from tests.analysis.effects.planted_effects import seeds

NAN = float("nan")
A, B = [1.0, 2.5, 2.0, 4.0], [2.0, 2.0, 5.0, 9.0]

# --- independent computations -------------------------------------------------------------------------------------------


def test_mean_paired_and_welch_are_those_of_scipy():
    one = mean_interval(A, null=1.0)
    assert (one.low, one.high) == pytest.approx(stats.t.interval(0.95, 3, np.mean(A), stats.sem(A)))
    assert one.p == pytest.approx(stats.ttest_1samp(A, 1.0).pvalue)
    paired, theirs = contrast(A, B, paired=True, confidence=0.9), stats.ttest_rel(B, A)
    assert (paired.p, paired.low, paired.high) == pytest.approx((theirs.pvalue, *theirs.confidence_interval(0.9)))
    welch, theirs = contrast(A, B[:3], paired=False), stats.ttest_ind(B[:3], A, equal_var=False)
    assert (welch.p, welch.low, welch.high) == pytest.approx((theirs.pvalue, *theirs.confidence_interval()))
    assert welch.df == pytest.approx(theirs.df)
    assert [e.kind for e in (one, paired, welch)] == ["t over seeds", "paired t over seeds", "Welch t"]
    assert [e.n for e in (one, paired, welch)] == [4, 4, 3]


def test_paired_drops_seeds_that_lack_a_value_and_welch_keeps_the_other():
    a, b = [1.0, 2.0, NAN, 4.0], [2.0, NAN, 7.0, 9.0]
    assert contrast(a, b, paired=True) == contrast([1.0, 4.0], [2.0, 9.0], paired=True)
    assert contrast(a, b, paired=False) == contrast([1.0, 2.0, 4.0], [2.0, 7.0, 9.0], paired=False)


def test_linear_contrast_by_hand():
    columns, w = [A, B, [0.0, 1.0, 5.0, 2.0]], np.array([1.0, -0.5, -0.5])
    each = np.array(A) - 0.5 * np.array(B) - 0.5 * np.array(columns[2])
    assert linear_contrast(columns, w, paired=True) == replace(mean_interval(each), kind="paired t over seeds")
    welch = linear_contrast(columns, w, paired=False)
    parts = w**2 * np.var(columns, axis=1, ddof=1) / 4
    assert welch.se == pytest.approx(np.sqrt(parts.sum()))
    assert welch.df == pytest.approx(parts.sum() ** 2 / (parts**2 / 3).sum())
    assert welch.estimate == pytest.approx(each.mean())
    # A column without weight costs no seed.
    assert linear_contrast([*columns, [NAN] * 4], [*w, 0], paired=True).n == 4


@pytest.mark.parametrize("values", [[], [3.0], [NAN, 3.0]])
def test_a_single_seed_leaves_no_interval(values):
    e = mean_interval(values)
    assert np.isnan([e.low, e.high, e.p, e.sd]).all()
    assert e.n == len([v for v in values if v == v])
    equal = equivalence(e, 0.3)
    assert equal.verdict == "undecided"
    assert np.isnan(equal.power)
    assert np.isnan(one_sided(e, 1))


def test_counts_without_spread_keep_the_variance_of_rounding():
    assert mean_interval([10.0] * 5).high == 10
    floored = mean_interval([10.0] * 5, floor=COUNT_FLOOR)
    assert floored.sd == pytest.approx(np.sqrt(1 / 12))
    assert contrast([10.0] * 5, [11.0] * 5, paired=True, floor=COUNT_FLOOR).sd == pytest.approx(np.sqrt(1 / 6))
    assert contrast([10.0] * 5, [11.0] * 5, paired=False, floor=COUNT_FLOOR).se == pytest.approx(np.sqrt(1 / 6 / 5))


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=9), st.floats(-50, 50))
def test_one_sided_and_two_sided_agree(values, null):
    e = mean_interval(values, null=null)
    up, down = one_sided(e, 1, null), one_sided(e, -1, null)
    assert 2 * min(up, down, 0.5) == pytest.approx(e.p, abs=1e-9)
    if e.se > 0:
        assert up + down == pytest.approx(1)


# --- what the intervals promise -----------------------------------------------------------------------------------------

SIMULATIONS = 2000


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize(
    ("paired", "weights", "sds", "correlation"),
    [
        (True, [-1, 1], [1, 3], 0.0),
        (True, [-1, 1], [1, 1], 0.8),
        (False, [-1, 1], [1, 1], 0.0),
        (False, [-1, 1], [1, 2], 0.0),
        (True, [1, -1, -1, 1], [1, 2, 0.5, 3], 0.3),
        (False, [1, -1, -1, 1], [1, 2, 1, 1], 0.0),
    ],
)
def test_intervals_cover_the_truth_95_times_in_100(n, paired, weights, sds, correlation):
    values = seeds(n, sds, SIMULATIONS, 100 + n, correlation)
    found = [linear_contrast(list(one), weights, paired=paired) for one in values]
    coverage = np.mean([e.low <= 0 <= e.high for e in found])
    assert 0.93 < coverage < 0.97


def test_pooled_variances_would_fail_where_welch_holds():
    a, b = seeds(20, [1], SIMULATIONS, 5)[:, 0], seeds(4, [4], SIMULATIONS, 6)[:, 0]
    welch = [contrast(x, y, paired=False) for x, y in zip(a, b, strict=True)]
    pooled = stats.ttest_ind(b, a, axis=1).pvalue > 0.05
    assert 0.93 < np.mean([e.low <= 0 <= e.high for e in welch]) < 0.97
    assert pooled.mean() < 0.75


def test_pairs_gain_what_the_intraclass_correlation_says():
    values = seeds(400, [1, 1], 1, 3, icc=0.75)[0]
    gain = contrast(*values, paired=True).se / contrast(*values, paired=False).se
    assert gain == pytest.approx(np.sqrt(1 - icc(values.T)), rel=0.01)
    assert icc(values.T) == pytest.approx(0.75, abs=0.05)


@given(st.lists(st.lists(st.floats(-10, 10), min_size=3, max_size=3), min_size=2, max_size=6))
def test_icc_takes_no_notice_of_cell_means_and_is_at_most_1(rows):
    table = np.array(rows)
    value = icc(table)
    assert np.isnan(value) or -0.5 - 1e-9 <= value <= 1 + 1e-9
    if table.std(axis=0).min() > 0.1:
        assert icc(table + np.array([0, 7, -3])) == pytest.approx(value, abs=1e-6)
        assert icc(np.vstack([table, [NAN, 1, 2]])) == pytest.approx(value)
        assert icc(np.repeat(table[:, :1], 3, axis=1)) == pytest.approx(1)


# --- equivalence --------------------------------------------------------------------------------------------------------


def test_power_is_what_was_measured_for_one_contrast_a_seed():
    # docs/statistics.md: five independent seeds a cell.
    assert [round(equivalence_power(sd, 5, 0.3), 2) for sd in (0.1, 0.2, 0.4)] == [0.97, 0.35, 0.03]
    assert [round(equivalence_power(sd, 5, 1), 2) for sd in (0.4, 0.8, 1.3)] == [0.88, 0.20, 0.03]
    assert [round(equivalence_power(sd, 5, 0.3, paired=False), 2) for sd in (0.1, 0.2, 0.4)] == [0.99, 0.39, 0.01]


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(("sd", "n"), [(0.1, 5), (0.2, 5), (0.2, 10), (0.4, 20), (0.15, 3)])
def test_power_is_that_of_a_simulation(paired, sd, n):
    values = seeds(n, [sd, sd], 20000, n)
    if paired:
        d = values[:, 1] - values[:, 0]
        se, df = d.std(axis=1, ddof=1) / np.sqrt(n), n - 1
        mean = d.mean(axis=1)
    else:
        mean, variances = values[:, 1].mean(axis=1) - values[:, 0].mean(axis=1), values.var(axis=2, ddof=1)
        se = np.sqrt(variances.sum(axis=1) / n)
        df = (n - 1) * variances.sum(axis=1) ** 2 / (variances**2).sum(axis=1)
    shown = np.mean(np.abs(mean) < 0.3 - stats.t.ppf(0.95, df) * se)
    power = equivalence_power(sd, n, 0.3, paired=paired)
    assert power == pytest.approx(shown, abs=4 * np.sqrt(power * (1 - power) / 20000) + 1e-3)
    one = seeds(n, [sd, sd], 1, 1)[0]
    e = contrast(one[0], one[1], paired=True)
    assert equivalence(e, 0.3).power == pytest.approx(equivalence_power(e.sd / np.sqrt(2), n, 0.3))


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("truth", [0.3, -0.3])
def test_at_the_margin_either_verdict_is_wrong_5_times_in_100(paired, truth):
    values = seeds(5, [0.1, 0.1], 2000, 9)
    verdicts = [equivalence(contrast(a, b + truth, paired=paired), 0.3).verdict for a, b in values]
    limit = 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)
    assert verdicts.count("equivalent") / 2000 < limit
    assert verdicts.count("different") / 2000 < limit


def test_verdicts_and_their_interval():
    close, far, wide = mean_interval([-0.1, 0.0, 0.1]), mean_interval([4.9, 5.0, 5.1]), mean_interval([-1.0, 0.0, 1.0])
    found = [equivalence(e, 0.3) for e in (close, far, wide)]
    assert [one.verdict for one in found] == ["equivalent", "different", "undecided"]
    for one in found:
        assert (one.p <= 0.05) == (-0.3 < one.low < one.high < 0.3) == (one.verdict == "equivalent")
        assert (one.p_beyond <= 0.05) == (one.low > 0.3 or one.high < -0.3)
    assert found[2].power < 0.8
    # Within the margin, and yet not 0: both are true.
    both = mean_interval([0.09, 0.1, 0.11])
    assert (both.p < 0.05, equivalence(both, 0.3).verdict) == (True, "equivalent")
    still = equivalence(mean_interval([0.25] * 3), 0.3)
    assert (still.p, still.power, still.verdict) == (0.0, 1.0, "equivalent")


# --- multiplicity, divergence, ranks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "p", [[0.3], [0.01, 0.04, 0.03], [0.02, 0.02, 0.9, 1.0], [0.6, 0.5, 0.0], [0.011, 0.02, 0.01, 0.04, 0.0499]]
)
def test_holm_is_that_of_statsmodels(p):
    found = holm({str(place): one for place, one in enumerate(p)})
    assert list(found.values()) == pytest.approx(multipletests(p, method="holm")[1])


def test_holm_counts_what_could_not_be_tested():
    found = holm({"a": 0.01, "b": NAN, "c": 0.04})
    assert (found["a"], found["c"]) == pytest.approx((0.03, 0.08))
    assert np.isnan(found["b"])


@given(
    st.lists(st.one_of(st.floats(0, 1), st.floats(0, 0.02), st.just(NAN)), min_size=1, max_size=9),
    st.sampled_from([0.01, 0.05, 0.2]),
)
def test_the_level_of_one_member_rejects_exactly_what_holm_rejects(p, alpha):
    family = {str(place): one for place, one in enumerate(p)}
    adjusted = holm(family)
    for name, one in family.items():
        level = holm_level(family, name, alpha)
        assert alpha / len(p) <= level <= alpha
        # The level depends on the others alone.
        assert holm_level({**family, name: 0.5}, name, alpha) == level
        if not np.isnan(one) and abs(one - level) > 1e-12:
            assert (adjusted[name] <= alpha) == (one <= level)


@pytest.mark.parametrize(("truth", "sd", "n"), [(0.0, 0.2, 5), (0.15, 0.2, 12), (0.45, 0.3, 8), (-0.4, 0.2, 6)])
def test_chances_at_any_effect_are_those_of_a_simulation(truth, sd, n):
    alpha, margin, least = 0.01, 0.3, 0.2
    d = truth + seeds(n, [sd], 20000, n)[:, 0]
    mean, half = d.mean(axis=1), stats.t.ppf(1 - alpha, n - 1) * d.std(axis=1, ddof=1) / np.sqrt(n)
    se = sd / np.sqrt(n)
    for quoted, shown in (
        (equivalence_chance(truth, se, n - 1, margin, alpha), np.abs(mean) < margin - half),
        (exceedance_chance(truth, 0.0, se, n - 1, alpha), mean > half),
        (exceedance_chance(truth, least, se, n - 1, alpha), (mean > half) & (mean >= least)),
    ):
        assert quoted == pytest.approx(shown.mean(), abs=4 * np.sqrt(0.25 / 20000))
    assert equivalence_chance(0.2, 0.0, 4, 0.3, alpha) == exceedance_chance(0.2, 0.2, 0.0, 4, alpha) == 1
    assert equivalence_chance(0.3, 0.0, 4, 0.3, alpha) == exceedance_chance(0.1, 0.2, 0.0, 4, alpha) == 0


def test_clopper_pearson_is_that_of_scipy_and_covers():
    for n in (1, 5, 30):
        for k in range(n + 1):
            theirs = stats.binomtest(k, n).proportion_ci(0.9, "exact")
            assert clopper_pearson(k, n, 0.9) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
        for truth in (0.01, 0.2, 0.5):
            hit = [low <= truth <= high for low, high in (clopper_pearson(k, n) for k in range(n + 1))]
            assert stats.binom.pmf(range(n + 1), n, truth) @ hit >= 0.95
    assert clopper_pearson(0, 0) == (0, 1)


def test_diverged_trials_rank_last_and_equally():
    worst = worst_rank([1.0, 3.0], 2, higher_is_better=True)
    assert worst.tolist() == [1, 3, -np.inf, -np.inf]
    assert worst_rank([1.0], 1, higher_is_better=False).tolist() == [1, np.inf]
    # Ranks of all: 2 diverged share 1.5, then 1, 2, 3, 4.
    e = rank_contrast(worst, [2.0, 4.0], paired=False)
    assert e.estimate == pytest.approx(np.mean([4, 6]) - np.mean([3, 5, 1.5, 1.5]))
    plain = rank_contrast(A, B, paired=True)
    ranks = stats.rankdata([*A, *B])
    assert plain == contrast(ranks[:4], ranks[4:], paired=True)
    assert rank_contrast([*A, NAN], [*B, 1.0], paired=True).n == 4


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mean_interval([1, np.inf]), "1 of them infinite"),
        (lambda: mean_interval([1, 2], confidence=1), "confidence is 1"),
        (lambda: mean_interval([1], confidence=95), "confidence is 95"),
        (lambda: contrast([1, 2], [1], paired=True), r"lengths \[1, 2\]"),
        (lambda: linear_contrast([A], [1, 2], paired=True), "1 columns and the weights"),
        (lambda: linear_contrast([A], [0], paired=True), "at least one of them not 0"),
        (lambda: one_sided(mean_interval(A), 0), "direction is 0"),
        (lambda: equivalence(mean_interval(A), 0), "margin is 0"),
        (lambda: equivalence_power(1, 5, 1, alpha=0.6), "alpha 0.6"),
        (lambda: equivalence_power(1, 5, 1, paired=False, icc=0.2), "icc is 0.2"),
        (lambda: clopper_pearson(3, 2), "k is 3 and n 2"),
    ],
)
def test_what_allows_no_inference_is_refused(call, words):
    with pytest.raises(InferenceError, match=words):
        call()
