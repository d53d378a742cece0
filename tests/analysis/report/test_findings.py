"""The opening of the report: every sentence is true of a planted study, and careful where there are few seeds."""

import re
from itertools import chain

import numpy as np
import pytest

from analysis import load
from analysis.averages.late_change import late_change
from analysis.claims.judge import judge
from analysis.effects.tables import base_effects
from analysis.report.computed import Computed
from analysis.report.findings import findings_section
from analysis.report.section import text_of
from tests.analysis.planted import write

FACTORS = {
    "decoder": ["bernoulli"],
    "k": [1, 5],
    "batch_norm": [False, True],
    "warmup": [0, 10],
    "n_z": [2, 50],
    "seed": [0, 1, 2, 3, 4],
}


ON_NLL = "On nll (nats per example; lower is better), Bernoulli decoder"


def noise(s):
    key = [s["seed"], s["k"], s["batch_norm"], s["warmup"], s["n_z"]]
    return float(np.random.default_rng([int(one) for one in key]).normal(0, 0.1))


def bound(s, epoch, late=0.0):
    """n_z 50 is 5 nats better than 2, K = 5 is 2 better than K = 1, batch norm 1 worse; warm-up changes nothing."""
    effects = 5.0 * (s["n_z"] == 50) + 2.0 * (s["k"] == 5) - 1.0 * s["batch_norm"]
    return -40.0 + effects + noise(s) + late * epoch


def no_effect(s, epoch):
    return -40.0 + noise(s)


def all_active(s, epoch):
    return np.full(s["n_z"], 0.6)


def planted(tmp_path, factors=FACTORS, epochs=20, **how):
    write(tmp_path / "planted", factors, epochs, **{"bound": bound, "activity": all_active, **how})
    return load(tmp_path / "planted")


def points(study):
    section = findings_section(Computed(study))
    assert section is not None
    return list(section.points)


def about(study, words):
    found = [point for point in points(study) if words in point]
    assert len(found) == 1, (words, points(study))
    return found[0]


def test_the_largest_effects_are_named_in_their_order_with_their_signs(tmp_path):
    words = about(planted(tmp_path), ON_NLL)
    first, second, third = (
        words.index(name) for name in ("n_z = 50 instead of n_z = 2", "K = 5 instead of", "batch norm instead")
    )
    assert first < second < third
    assert re.search(r"n_z = 50 instead of n_z = 2: lower by (4\.9|5|5\.0)", words)
    assert re.search(r"K = 5 instead of K = 1: lower by (1\.9|2|2\.0)", words)
    assert re.search(r"batch norm instead of no batch norm: higher by (0\.9|1|1\.[01])", words)
    assert "n = 5 seeds per cell: 3 effects are shown: n_z" in words


def test_what_was_not_shown_is_not_called_absent(tmp_path):
    _, _, words = about(planted(tmp_path), ON_NLL).partition("Not shown, which does not mean absent: ")
    assert words == "warm-up 10 epochs instead of no warm-up."


def test_without_an_effect_none_is_shown(tmp_path):
    assert "no effect is shown" in about(planted(tmp_path, bound=no_effect), ON_NLL)


def test_every_number_of_an_effect_stands_in_its_table(tmp_path):
    study = planted(tmp_path)
    tables = [one.frame for one in base_effects(study)]
    columns = chain.from_iterable(frame[name] for frame in tables for name in ("estimate", "low", "high"))
    allowed = {text_of(sign * float(number), 3) for number in columns for sign in (1, -1)}
    named = [point for point in points(study) if "instead of" in point]
    numbers = [number for point in named for number in re.findall(r"(?:by |interval | to )(\u2212?[\d.]+\d)", point)]
    assert len(numbers) >= 9
    assert set(numbers) <= allowed


def test_rows_are_named_and_not_factors_alone(tmp_path):
    """Where one level is shown and another is not, both are named."""

    def half(s, epoch):
        return bound({**s, "n_z": 2 if s["n_z"] == 10 else s["n_z"]}, epoch)

    words = about(planted(tmp_path, {**FACTORS, "n_z": [2, 10, 50]}, bound=half), ON_NLL)
    shown, _, others = words.partition("Not shown, which does not mean absent: ")
    assert "n_z = 50 instead of n_z = 2: lower by" in shown
    assert "n_z = 10 instead of n_z = 2" in others


def test_what_only_a_main_effect_shows_is_named(tmp_path):
    """Batch norm is 0.2 nats worse: too little for one contrast of three noisy seeds, but not for the mean of eight."""

    def slightly(s, epoch):
        key = [int(s[name]) for name in ("seed", "k", "batch_norm", "warmup", "n_z")]
        return -40.0 + float(np.random.default_rng(key).normal(0, 0.15)) - 0.3 * s["batch_norm"]

    words = about(planted(tmp_path, bound=slightly), ON_NLL)
    assert "no effect is shown. Not shown" in words
    assert words.endswith("Shown only on average over all crossed cells (main effects): batch normalisation.")


def test_models_that_learned_nothing_are_named(tmp_path):
    """The baseline of planted Bernoulli models is -25."""

    def collapsed(s, epoch):
        return -26.0 + noise(s) if s["k"] == 1 and s["n_z"] == 50 else -20.0 + noise(s)

    words = about(planted(tmp_path, bound=collapsed), "not shown to beat independent pixels")
    assert words.startswith("Of 16 Bernoulli cells, 4 are")
    assert "K = 1, no batch norm, no warm-up, n_z = 50" in words
    assert "; and 1 more." in words
    better = planted(tmp_path / "better", bound=lambda s, epoch: -20.0 + noise(s))
    assert not [point for point in points(better) if "independent pixels" in point]


def test_one_seed_shows_nothing(tmp_path):
    study = planted(tmp_path, {**FACTORS, "seed": [0]})
    words = about(study, ON_NLL)
    assert "no difference can be told from luck" in words
    assert "interval" not in words
    assert not [point for point in points(study) if "shown:" in point or "Not shown" in point]


@pytest.mark.parametrize(("seeds", "errors"), [(2, "12.7"), (3, "4.3")])
def test_few_seeds_are_explained(tmp_path, seeds, errors):
    study = planted(tmp_path, {**FACTORS, "seed": list(range(seeds))})
    assert f"with {seeds} seeds an interval reaches up to {errors} standard errors" in about(study, "standard errors")


def test_enough_seeds_need_no_explanation(tmp_path):
    assert not [point for point in points(planted(tmp_path)) if "standard errors" in point]


def test_what_is_missing_is_counted(tmp_path):
    assert "all 80 planned trials completed" in points(planted(tmp_path))[0]
    write(tmp_path / "gone", FACTORS, 20, bound=bound, activity=all_active, diverged={(5, 1): 3})
    assert "8 of 80 planned trials are missing from the means: 8 diverged" in points(load(tmp_path / "gone"))[0]


def test_a_bound_that_still_rises_is_not_called_the_end(tmp_path):
    def still(s, epoch):
        return bound(s, epoch, late=0.1)

    study = planted(tmp_path, bound=still)
    assert "changed by 0.2 (Bernoulli decoder) nats per example in the median cell" in about(study, "had not settled")
    np.testing.assert_allclose(late_change(study)["change"], 0.2, atol=1e-9)
    assert (late_change(study)[["from", "to"]] == [18, 20]).all().all()


def test_a_bound_that_has_settled_gives_no_warning(tmp_path):
    assert not [point for point in points(planted(tmp_path)) if "had not settled" in point]


def test_an_effect_of_k_that_is_not_of_k_alone_says_so(tmp_path):
    """K = 1 takes the KL in closed form and K = 5 at its samples; with kl sampled both take it alike."""
    assert "Do not read an effect of K as that of K alone" in about(planted(tmp_path), "Do not read an effect of K")
    alike = planted(tmp_path / "alike", settings={"objective.kl": "sampled"})
    assert not [point for point in points(alike) if "Do not read an effect of K" in point]


def test_decoders_are_not_compared(tmp_path):
    two = planted(tmp_path, {**FACTORS, "decoder": ["bernoulli", "gaussian"], "seed": [0, 1]})
    assert about(two, "nats of different decoders")
    assert [
        point for point in points(two) if point.startswith("On nll (nats per example; lower is better), Gaussian decoder")
    ]


def test_the_verdicts_are_those_of_the_claims(tmp_path):
    study = planted(tmp_path, {**FACTORS, "n_z": [2, 5, 10, 50]})
    verdicts = judge(study)
    words = about(study, f"Of {len(verdicts)} claims")
    confirmed = [one.claim for one in verdicts if one.verdict == "confirmed"]
    assert confirmed
    assert f"Confirmed: {', '.join(confirmed)}." in words
    assert f"{sum(one.verdict == 'not testable' for one in verdicts)} cannot be tested" in words
    needed = [one for one in verdicts if one.verdict == "undecided" and one.seeds_needed is not None]
    told = [point for point in points(study) if point.startswith("Seeds per cell that would decide")]
    assert len(told) == bool(needed)
    assert all(f"{one.claim} about {one.seeds_needed:,}" in told[0] for one in needed[:3])


def test_a_running_study_is_interim_and_one_without_ends_has_no_section(tmp_path):
    running = planted(tmp_path, done=lambda s: 10 if s["seed"] == 4 and s["batch_norm"] else 10**9)
    assert "trials of their cells have not ended" in about(running, "claims,")
    assert "unfinished" in points(running)[0]
    begun = planted(tmp_path / "begun", done=lambda s: 3)
    assert findings_section(Computed(begun)) is None


def test_a_study_of_one_cell_has_no_effects(tmp_path):
    one = planted(tmp_path, {**FACTORS, "k": [5], "batch_norm": [False], "warmup": [0], "n_z": [50]})
    assert not [point for point in points(one) if "effect" in point and "Do not" not in point]
    assert len(late_change(one)) == 1
