from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.averages.average import AverageError, average
from analysis.effects.factorial import interactions, main_effects
from analysis.effects.seed_table import is_paired, per_seed
from analysis.effects.simple import effect, missing_text, simple_effects
from analysis.effects.variance_shares import importance, secondary, variance_shares
from analysis.stats.estimate import linear_contrast
from tests.analysis.effects import planted_effects as planted

BASE = {"batch_norm": False, "warmup": 0, "n_z": 50}


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    return planted.study(tmp_path_factory.mktemp("exact") / "s", bound=planted.exact)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    return planted.study(tmp_path_factory.mktemp("noisy") / "s")


@pytest.fixture(scope="module")
def holed(tmp_path_factory):
    """K = 5: seed 1 diverged after epoch 2, seed 0 with batch norm was not planned. K = 1 with batch norm: seed 4 is unfinished."""
    factors = {**planted.FACTORS, "warmup": [0], "n_z": [50]}
    return planted.study(
        tmp_path_factory.mktemp("holed") / "s",
        factors,
        diverged={(5, 1): 2},
        done=lambda s: 3 if s["k"] == 1 and s["batch_norm"] and s["seed"] == 4 else 10**9,
        excluded=lambda s: s["k"] == 5 and s["batch_norm"] and s["seed"] == 0,
    )


# --- one number a seed --------------------------------------------------------------------------------------------------


def test_a_table_has_every_cell_and_averages_to_what_average_gives(noisy):
    table = per_seed(noisy, "test_bound", {"n_z": [10, 50]})
    assert table.values.shape == (5, 16)
    assert (table.factors, table.epoch) == (("k", "batch_norm", "warmup", "n_z"), 4)
    assert table.names[0] == "k=1 batch_norm=False warmup=0 n_z=10"
    assert table.values.mean().tolist() == pytest.approx(average(noisy, "test_bound", at={"n_z": [10, 50]})["mean"])
    s = {"k": 5, "batch_norm": True, "warmup": 2, "n_z": 10, "seed": 3}
    assert table.values.loc[3, "k=5 batch_norm=True warmup=2 n_z=10"] == pytest.approx(planted.noisy(s, 4))
    one = per_seed(noisy, "nll", {**BASE, "k": 1}, "last")
    assert one.names == ["decoder=bernoulli k=1 batch_norm=False warmup=0 n_z=50"]
    assert one.values.iloc[:, 0].tolist() == pytest.approx(
        [-planted.noisy({**BASE, "k": 1, "seed": seed}, 4) - 1 for seed in range(5)]
    )


def test_a_table_says_why_a_value_is_absent(holed):
    table = per_seed(holed, "test_bound")
    assert table.values.isna().sum().tolist() == [0, 1, 1, 2]
    assert table.reasons.loc[1, "k=5 batch_norm=True"] == "diverged after epoch 2"
    assert table.reasons.loc[0, "k=5 batch_norm=True"] == "not planned"
    assert table.diverged.sum().tolist() == [0, 0, 1, 1]
    assert table.ended.sum().tolist() == [5, 0, 5, 4]
    assert missing_text(table) == (
        "seed 4 unfinished (3 of 4 epochs) at k=1 batch_norm=True; seed 1 diverged after epoch 2 at k=5 batch_norm=False; "
        "seed 0 not planned at k=5 batch_norm=True; seed 1 diverged after epoch 2 at k=5 batch_norm=True"
    )
    # Before it diverged a trial has values like any other.
    early = per_seed(holed, "test_bound", epoch=2)
    assert not early.diverged.any(axis=None)
    assert early.values.isna().sum().tolist() == [0, 0, 0, 1]


def test_values_of_ones_own(noisy):
    own = noisy.trials.set_index("trial_id")["test_bound"].rename("own") * 2
    table = per_seed(noisy, own, {**BASE, "k": [1, 5]})
    theirs = per_seed(noisy, "test_bound", {**BASE, "k": [1, 5]})
    pd.testing.assert_frame_equal(table.values, 2 * theirs.values)
    assert table.name == "own"
    a_row = noisy.epochs["test_bound"] * 2
    pd.testing.assert_frame_equal(per_seed(noisy, a_row, {**BASE, "k": [1, 5]}, 3).values, 2 * theirs.values)


# --- simple effects -----------------------------------------------------------------------------------------------------


def test_planted_simple_effects_come_back(exact):
    rows = simple_effects(exact, "test_bound", "k", at={"n_z": 50, "warmup": 0}, by=["batch_norm"])
    assert rows["batch_norm"].tolist() == [False, True]
    assert rows["estimate"].tolist() == pytest.approx([2.0, 2.4])
    assert (rows["reference"].tolist(), rows["level"].tolist()) == ([1, 1], [5, 5])
    by_n_z = simple_effects(exact, "test_bound", "n_z", at={"k": 1, "batch_norm": False, "warmup": 0}, reference=10)
    assert dict(zip(by_n_z["level"], by_n_z["estimate"], strict=True)) == pytest.approx({2: -3.0, 50: 0.5})


def test_intervals_are_those_of_scipy_and_pairing_is_fixed_by_the_factor(noisy):
    at = {"k": 1, "warmup": 0, "n_z": 50}
    off, on = per_seed(noisy, "test_bound", {**at, "batch_norm": [False, True]}).values.to_numpy().T
    row = simple_effects(noisy, "test_bound", "batch_norm", at=at).iloc[0]
    theirs = stats.ttest_rel(on, off)
    assert (row["kind"], row["n"], row["missing"], row["survives"]) == ("paired t over seeds", 5, "", True)
    assert (row["p"], row["low"], row["high"]) == pytest.approx((theirs.pvalue, *theirs.confidence_interval()))
    welch = simple_effects(noisy, "test_bound", "batch_norm", at=at, paired=False).iloc[0]
    assert welch["p"] == pytest.approx(stats.ttest_ind(on, off, equal_var=False).pvalue)
    assert simple_effects(noisy, "test_bound", "k", at=BASE)["kind"].tolist() == ["Welch t"]
    assert [is_paired(names) for names in [("k",), ("n_z", "k"), ("k", "warmup"), ("decoder",), ("data.name",)]] == [
        False,
        False,
        True,
        True,
        False,
    ]


def test_holm_is_over_all_rows(noisy):
    rows = simple_effects(noisy, "test_bound", "n_z", by=["k", "batch_norm", "warmup"])
    assert len(rows) == 16
    smallest = rows["p"].idxmin()
    assert rows["p_holm"][smallest] == pytest.approx(16 * rows["p"][smallest])
    assert (rows["p_holm"] >= rows["p"]).all()


def test_missing_seeds_are_named_and_change_n(holed):
    row = simple_effects(holed, "test_bound", "batch_norm", at={"k": 5}).iloc[0]
    assert (row["n"], row["n_planned"]) == (3, 5)
    assert "seed 0 not planned at batch_norm=True" in row["missing"]
    assert row["diverged"].startswith("batch_norm=False: 1 of 5 (0.01 to 0.72); batch_norm=True: 1 of 4")
    kept = simple_effects(holed, "test_bound", "k", at={"batch_norm": False}).iloc[0]
    assert kept["n"] == 4
    assert kept["estimate"] == pytest.approx(2, abs=1)


def diverging(root, step, spread, diverged, factors=None):
    """K = 5 is better by `step`, and some of its seeds diverge."""
    names = factors or {**planted.FACTORS, "batch_norm": [False], "warmup": [0], "n_z": [50], "seed": list(range(8))}

    def bound(s, epoch):
        return -90 + step * (s["k"] == 5) + spread * planted.noise(s, 1)

    return planted.study(root, names, bound, diverged={(5, seed): 2 for seed in diverged})


def test_a_verdict_survives_one_diverged_seed_but_not_many(tmp_path):
    one = simple_effects(diverging(tmp_path / "one", 2, 0.1, [3]), "test_bound", "k").iloc[0]
    many = simple_effects(diverging(tmp_path / "many", 2, 0.1, [1, 2, 3]), "test_bound", "k").iloc[0]
    none = simple_effects(diverging(tmp_path / "none", 2, 0.1, []), "test_bound", "k").iloc[0]
    assert (one["p"] < 0.05, many["p"] < 0.05, none["p"] < 0.05) == (True, True, True)
    assert (one["survives"], many["survives"], none["survives"]) == (True, False, True)
    assert (none["diverged"], many["n"]) == ("", 5)


def test_where_neither_direction_is_better_a_verdict_survives_both(tmp_path):
    study = diverging(tmp_path / "s", 2, 0.1, [3])
    value = study.trials.set_index("trial_id")["test_bound"].where(
        study.trials.set_index("trial_id")["status"] == "completed"
    )
    unknown = value.rename("no_direction")
    frame = {better: simple_effects(study, unknown, "k", higher_is_better=better).iloc[0] for better in (True, False, None)}
    assert frame[None]["survives"] == (frame[True]["survives"] and frame[False]["survives"])
    assert frame[False]["survives"]
    # Among many diverged only one of the two directions destroys the effect.
    many = diverging(tmp_path / "t", 2, 0.1, [1, 2, 3])
    value = many.trials.set_index("trial_id")["test_bound"].where(many.trials.set_index("trial_id")["status"] == "completed")
    found = [
        simple_effects(many, value.rename("x"), "k", higher_is_better=b).iloc[0]["survives"] for b in (True, False, None)
    ]
    assert found == [False, True, False]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: simple_effects(s, "test_bound", "k"), "batch_norm varies"),
        (lambda s: simple_effects(s, "test_bound", "k", at={**BASE, "k": 1}), "k has only one level"),
        (lambda s: simple_effects(s, "test_bound", "k", at=BASE, reference=7), "k has no level 7 here; it has 1, 5"),
        (lambda s: simple_effects(s, "bound", "k", at=BASE), "is not measured"),
        (
            lambda s: simple_effects(s, "test_bound", "warm", at={**BASE, "k": 1}),
            "warm is not a factor of this study; did you mean warmup",
        ),
        (lambda s: main_effects(s, "test_bound", at={**BASE, "k": 1}), "no factor varies"),
        (lambda s: interactions(s, "test_bound", order=5), "between 2 and the number of factors that vary, 4 "),
    ],
)
def test_what_would_hide_something_is_refused(noisy, call, words):
    with pytest.raises(AverageError, match=words):
        call(noisy)


def test_decoders_are_never_pooled_and_holes_in_the_factorial_are_named(tmp_path):
    factors = {**planted.FACTORS, "decoder": ["bernoulli", "gaussian"], "warmup": [0]}
    study = planted.study(tmp_path / "s", factors, excluded=lambda s: s["k"] == 5 and s["n_z"] == 2)
    for call in (main_effects, interactions, variance_shares, secondary):
        with pytest.raises(AverageError, match="decoders are never pooled"):
            call(study, "test_bound")
        with pytest.raises(AverageError, match=r"2 of 12 cells were never planned .k=5 batch_norm=False n_z=2"):
            call(study, "test_bound", at={"decoder": "gaussian"})
    both = simple_effects(study, "test_bound", "decoder", at={"k": 1, "batch_norm": False, "n_z": 10})
    assert both["level"].tolist() == ["gaussian"]
    # A level that some cells lack is no row there.
    assert len(simple_effects(study, "test_bound", "k", at={"decoder": "gaussian", "batch_norm": False}, by=["n_z"])) == 2


# --- main effects, interactions, shares ---------------------------------------------------------------------------------


def test_planted_main_effects_and_interactions_come_back(exact):
    rows = main_effects(exact, "test_bound").set_index(["factor", "level"])["estimate"]
    half = planted.K_BY_BATCH_NORM / 2
    assert rows["k", 5] == pytest.approx(planted.K + half)
    assert rows["batch_norm", True] == pytest.approx(planted.BATCH_NORM + half)
    assert rows["warmup", 2] == pytest.approx(planted.WARMUP)
    assert [rows["n_z", 10], rows["n_z", 50]] == pytest.approx([3.0, 3.5])
    pairs = interactions(exact, "test_bound").set_index(["factor", "level"])["estimate"]
    assert len(pairs) == 3 + 3 * 2
    assert pairs["k x batch_norm", "5 x True"] == pytest.approx(planted.K_BY_BATCH_NORM)
    assert pairs.drop(("k x batch_norm", "5 x True")).abs().max() < 1e-9
    assert interactions(exact, "test_bound", order=3)["estimate"].abs().max() < 1e-9


def test_main_effects_are_one_contrast_a_seed(noisy):
    row = main_effects(noisy, "test_bound").set_index("factor").loc["warmup"]
    table = per_seed(noisy, "test_bound")
    with_, without = ([n for n in table.names if f"warmup={w}" in n] for w in (2, 0))
    each = table.values[with_].mean(axis=1) - table.values[without].mean(axis=1)
    low, high = stats.t.interval(0.95, 4, each.mean(), stats.sem(each))
    assert (row["estimate"], row["low"], row["high"]) == pytest.approx((each.mean(), low, high))
    assert (row["kind"], row["n"]) == ("paired t over seeds", 5)
    assert row["over"] == "k in {1, 5}, batch_norm in {False, True}, n_z in {2, 10, 50}"


def test_welch_main_effects_cover_although_cells_of_a_side_share_their_seeds(noisy):
    table = per_seed(noisy, "test_bound", {"batch_norm": False})
    weights = table.weights({"k": {1: -1.0, 5: 1.0}}) / 6
    rng = np.random.default_rng(0)
    sides = np.array([cell[0] == 5 for cell in table.cells], int)
    inside, independent = 0, 0
    for _ in range(1000):
        # Each K has its own luck with a seed, the same in all of its cells.
        values = rng.normal(size=(5, 2))[:, sides] + rng.normal(0, 0.3, (5, len(sides)))
        one = replace(table, values=pd.DataFrame(values, table.values.index, table.values.columns))
        found = effect(one, weights, paired=False).estimate
        inside += found.low <= 0 <= found.high
        wrong = linear_contrast(list(values.T), weights, paired=False)
        independent += wrong.low <= 0 <= wrong.high
    assert 0.93 < inside / 1000 < 0.97
    assert independent / 1000 < 0.75
    assert (found.kind, found.n) == ("Welch t", 5)


def test_missing_trials_are_named_in_main_effects(holed):
    rows = main_effects(holed, "test_bound").set_index("factor")
    assert rows.loc["batch_norm", "n"] == 2
    assert "seed 4 unfinished (3 of 4 epochs) at k=1 batch_norm=True" in rows.loc["batch_norm", "missing"]
    # Ranks are no numbers whose marginal means could be compared.
    assert not rows["survives"].any()
    table = per_seed(holed, "test_bound")
    assert effect(table, table.weights({"k": {1: 1.0}, "batch_norm": {True: 1.0, False: -1.0}}), paired=True).survives


def test_shares_are_those_of_the_anova(noisy):
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    shares = variance_shares(noisy, "test_bound").set_index("term")
    assert shares["share"].sum() == pytest.approx(1)
    assert shares.loc["rest", "df"] == 4 * 23
    assert shares["df"].sum() == 5 * 24 - 1
    rows = noisy.trials.assign(y=noisy.trials["test_bound"])
    factors = ["k", "batch_norm", "warmup", "n_z"]
    theirs = anova_lm(ols("y ~ " + "*".join(f"C({name})" for name in factors) + " + C(seed)", rows).fit(), typ=1)
    names = [" x ".join(c) for order in range(1, 5) for c in combinations(factors, order)]
    for name in names:
        term = ":".join(f"C({one})" for one in name.split(" x "))
        assert shares.loc[name, "ss"] == pytest.approx(theirs.loc[term, "sum_sq"], rel=1e-6, abs=1e-9)
    assert shares.loc["seed", "ss"] == pytest.approx(theirs.loc["C(seed)", "sum_sq"])
    assert shares.loc["rest", "ss"] == pytest.approx(theirs.loc["Residual", "sum_sq"])


def test_shares_rest_on_whole_seeds_and_name_the_others(holed):
    shares = variance_shares(holed, "test_bound")
    assert shares["n"].unique().tolist() == [2]
    assert "seed 0 not planned" in shares["missing"][0]


@pytest.mark.parametrize("model", ["hc3", "mixed"])
def test_the_secondary_model_agrees_with_the_primary_where_nothing_is_missing(noisy, model):
    first, second = main_effects(noisy, "test_bound"), secondary(noisy, "test_bound", model=model)
    assert second["estimate"].tolist() == pytest.approx(first["estimate"].tolist())
    assert second["level"].tolist() == first["level"].tolist()
    assert second["converged"].all()
    table = per_seed(noisy, "test_bound").values
    row = second.set_index("factor").loc["warmup"]
    half = (row["high"] - row["low"]) / 2 / stats.norm.ppf(0.975)
    if model == "hc3":
        # HC3 of a mean: the residuals over 1 - 1/n, squared, over n squared.
        assert half == pytest.approx(np.sqrt((table.var(ddof=1) / 4).sum()) / 12)
    else:
        rest = variance_shares(noisy, "test_bound").set_index("term").loc["rest"]
        assert half == pytest.approx(np.sqrt(rest["ss"] / rest["df"] * 24 / 5) / 12, rel=0.02)


def test_the_mixed_model_uses_seeds_that_lack_a_cell(holed):
    rows = secondary(holed, "test_bound", model="mixed").set_index("factor")
    assert rows["n"].unique().tolist() == [16]
    assert rows.loc["k", "estimate"] == pytest.approx(2.2, abs=0.2)
    with pytest.raises(AverageError, match=r"k=5 batch_norm=True has fewer than two values"):
        secondary(holed, "test_bound", at={"k": [1, 5], "seed": [0, 1, 2]})


def test_fanova_agrees_with_exact_shares_where_ped_anova_does_not(noisy):
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator

    table = importance(noisy, "test_bound", "bernoulli").set_index("factor")
    assert table["share"].sum() == pytest.approx(1)
    assert table["fanova"].sum() == pytest.approx(1)
    assert table["fanova"].to_dict() == pytest.approx(table["share"].to_dict(), abs=0.1)
    ss = variance_shares(noisy, "test_bound").set_index("term")["ss"]
    assert table.loc["k", "share"] == pytest.approx(ss["k"] / ss[["k", "batch_norm", "warmup", "n_z"]].sum())
    # The negative control: two factors, one with eight times the effect of the other.
    search = optuna.create_study()
    levels = optuna.distributions.CategoricalDistribution(["0", "1"])
    rng = np.random.default_rng(0)
    for _ in range(10):
        for a in range(2):
            for b in range(2):
                value = 8.0 * a + b + rng.normal(0, 0.01)
                search.add_trial(
                    optuna.create_trial(
                        params={"a": str(a), "b": str(b)}, distributions={"a": levels, "b": levels}, value=value
                    )
                )
    ped = PedAnovaImportanceEvaluator().evaluate(search)
    assert ped["a"] < 8 * ped["b"]
