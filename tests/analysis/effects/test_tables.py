"""Effects compare cells at one epoch, and say where K and the estimator of the KL change together."""

import numpy as np
import pytest
from scipy import stats

from analysis import load
from analysis.averages.average import AverageError
from analysis.effects.convergence import convergence
from analysis.effects.factorial import interactions, main_effects
from analysis.effects.seed_table import per_seed
from analysis.effects.simple import simple_effects
from analysis.effects.tables import base_effects, seed_icc
from analysis.effects.variance_shares import variance_shares
from tests.analysis.planted import SMALL, write

FACTORS = {**SMALL, "batch_norm": [False, True]}
HERE = {"batch_norm": False}


def climbing(s, epoch):
    return epoch - 50.0 + 2 * (s["k"] == 5) + np.random.default_rng([s["seed"], s["k"], s["batch_norm"]]).normal(0, 0.1)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """K = 5 is 2 nats better at every epoch, but K = 1 is trained for 30 epochs and K = 5 for 3."""
    root = tmp_path_factory.mktemp("uneven") / "s"
    write(root, {**FACTORS, "k": [1]}, epochs=30, bound=climbing)
    write(root, {**FACTORS, "k": [5]}, epochs=3, bound=climbing, entry=2)
    return load(root)


@pytest.fixture(scope="module")
def bridged(tmp_path_factory):
    root = tmp_path_factory.mktemp("bridged") / "s"
    write(root, FACTORS, bound=climbing)
    sampled = {**SMALL, "k": [1]}
    write(root, sampled, bound=lambda s, e: climbing(s, e) + 1.5, settings={"objective.kl": "sampled"}, entry=2)
    return load(root)


def test_cells_are_compared_at_the_last_epoch_that_all_reach(uneven):
    row = simple_effects(uneven, "test_bound", "k", at=HERE).iloc[0]
    assert row["epoch"] == 3
    assert row["estimate"] == pytest.approx(2, abs=0.3)
    for frame in (
        main_effects(uneven, "test_bound"),
        interactions(uneven, "test_bound"),
        variance_shares(uneven, "test_bound"),
    ):
        assert set(frame["epoch"]) == {3}
    assert main_effects(uneven, "test_bound").set_index("factor").loc["k", "estimate"] == pytest.approx(2, abs=0.3)
    within = simple_effects(uneven, "test_bound", "batch_norm", at={"k": 1}).iloc[0]
    assert within["epoch"] == 30
    assert simple_effects(uneven, "test_bound", "k", at=HERE, epoch=2)["epoch"].tolist() == [2]
    late = per_seed(uneven, "test_bound", HERE, epoch=10)
    assert set(late.reasons["k=5"]) == {"planned to epoch 3"}


def test_measures_of_the_end_are_not_compared_between_lengths(uneven):
    for call in (
        lambda: simple_effects(uneven, "nll", "k", at=HERE),
        lambda: main_effects(uneven, "nll"),
        lambda: variance_shares(uneven, "nll"),
    ):
        with pytest.raises(AverageError, match=r"k=1 to epoch 30, k=5 to epoch 3.*--set training\.epochs=30"):
            call()
    own = uneven.trials.set_index("trial_id")["nll"].rename("own")
    with pytest.raises(AverageError, match="own is one number per trial, taken at its end"):
        per_seed(uneven, own)
    # Whoever names the epoch says from which one the numbers are.
    assert per_seed(uneven, own, epoch=3).epoch == 3
    with pytest.raises(AverageError, match="one length"):
        convergence(uneven)


def test_the_tables_hold_every_pair_that_can_be_compared(uneven):
    frames = {one.value: one.frame for one in base_effects(uneven)}
    assert frames["nll"]["factor"].tolist() == ["batch_norm"]
    assert frames["active_units"][["factor", "epoch"]].to_numpy().tolist() == [["k", 3], ["batch_norm", 3]]


def test_an_effect_of_k_says_where_it_is_also_one_of_the_estimator(bridged):
    at = {"decoder": "bernoulli", "objective.kl": "auto"}
    both = "K = 1 takes the KL in closed form, K = 5 at its samples: the difference is not of K alone"
    simple = simple_effects(bridged, "nll", "k", at={**at, **HERE}).iloc[0]
    assert simple["remark"] == f"{both}; compare with the cell at objective.kl = sampled"
    main = main_effects(bridged, "nll", at=at).set_index("factor")["remark"]
    assert main["k"].startswith(both)
    assert main["batch_norm"] == ""
    assert interactions(bridged, "nll", at=at)["remark"][0].startswith(both)
    shares = variance_shares(bridged, "nll", at=at).set_index("term")["remark"]
    assert shares["k"].startswith(both)
    assert shares["k x batch_norm"].startswith(both)
    assert (shares["batch_norm"], shares["seed"], shares["rest"]) == ("", "", "")


def test_the_row_that_compares_like_with_like(bridged):
    (frame,) = [one.frame for one in base_effects(bridged) if one.value == "nll"]
    rows = frame.set_index("title")
    assert frame["factor"].tolist() == ["k", "k", "batch_norm", "objective.kl"]
    five = [-climbing({"k": 5, "batch_norm": False, "seed": seed}, 4) for seed in range(3)]
    one = [-climbing({"k": 1, "batch_norm": False, "seed": seed}, 4) - 1.5 for seed in range(3)]
    like = rows.loc["importance samples K (both sampled)"]
    theirs = stats.ttest_ind(five, one, equal_var=False)
    assert like["estimate"] == pytest.approx(np.mean(five) - np.mean(one))
    assert (like["p"], like["low"], like["high"]) == pytest.approx((theirs.pvalue, *theirs.confidence_interval()))
    assert (like["level"], like["reference"], like["remark"], like["kind"]) == (5, 1, "", "Welch t")
    assert rows.loc["objective.kl", "estimate"] == pytest.approx(-1.5)
    assert (rows.loc["objective.kl", "level"], rows.loc["objective.kl", "reference"]) == ("sampled", "auto")
    needed = "factor level reference estimate low high p p_holm kind n n_planned epoch remark survives missing diverged"
    assert set(needed.split()) <= set(frame)


def test_nothing_is_remarked_where_all_cells_take_the_kl_alike(tmp_path):
    write(tmp_path / "s", FACTORS, settings={"objective.kl": "sampled"})
    study = load(tmp_path / "s")
    for frame in [one.frame for one in base_effects(study)]:
        assert frame["remark"].tolist() == ["", ""]
        assert frame["factor"].tolist() == ["k", "batch_norm"]
    write(tmp_path / "t", {**FACTORS, "k": [5, 50]})
    assert set(main_effects(load(tmp_path / "t"), "nll")["remark"]) == {""}


def test_without_a_cell_to_compare_with_the_remark_says_what_would_tell(tmp_path):
    write(tmp_path / "s", {**FACTORS, "decoder": ["bernoulli", "gaussian"]})
    # A cell of the other decoder is of no use.
    write(tmp_path / "s", {**SMALL, "k": [1]}, settings={"objective.kl": "sampled"}, entry=2)
    at = {**HERE, "decoder": "gaussian"}
    row = simple_effects(load(tmp_path / "s"), "nll", "k", at=at).iloc[0]
    assert row["remark"].endswith("a cell at objective.kl = sampled would tell them apart")


def test_a_planted_correlation_of_the_seed_comes_back(tmp_path):
    """Seeds share a part of variance 0.8 squared, cells add one of 0.6 squared: the correlation is 0.64."""
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    def bound(s, epoch):
        shared = np.random.default_rng([1, s["seed"]]).normal(0, 0.8)
        own = np.random.default_rng([s["seed"], s["k"], s["batch_norm"], s["warmup"]]).normal(0, 0.6)
        return -50 + s["k"] + shared + own

    write(tmp_path / "s", {**FACTORS, "warmup": [0, 2], "seed": list(range(40))}, bound=bound)
    study = load(tmp_path / "s")
    row = seed_icc(study).set_index("value").loc["nll"]
    assert (row["n"], row["n_planned"], row["cells"]) == (40, 40, 8)
    assert row["icc"] == pytest.approx(0.64, abs=0.12)
    rows = study.trials.assign(cell=study.trials[["k", "batch_norm", "warmup"]].astype(str).agg("".join, axis=1))
    squares = anova_lm(ols("nll ~ C(cell) + C(seed)", rows).fit())["mean_sq"]
    between, rest = squares["C(seed)"], squares["Residual"]
    assert row["icc"] == pytest.approx((between - rest) / (between + 7 * rest))
