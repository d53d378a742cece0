"""A short version of the simulations of verdicts: error rates, verdicts by effect, power and coverage."""

import numpy as np
import pytest

from analysis.claims.power import seeds_to_decide
from analysis.claims.reader import paper_claims
from benchmarks.verdict_rates import (
    MEMBERS,
    coverage_table,
    false_confirmations,
    power_table,
    sample_case,
    verdict_table,
)

CLAIMS = {claim.id: claim for claim in paper_claims()}


def test_false_confirmations_are_as_rare_as_promised():
    draws = 60
    *rows, (_, family) = false_confirmations(draws, counts=(5,))
    assert [row[0].split()[0] for row in rows] == [name for name in CLAIMS if name != "C4"]
    for name, percent in rows:
        level = 0.05 if "equality" in name else 0.025
        # Four standard errors of the simulation.
        assert float(percent) <= 100 * (level + 4 * np.sqrt(level * (1 - level) / draws)), name
    assert float(family) <= 100 * (0.05 + 4 * np.sqrt(0.05 * 0.95 / draws))


def test_verdicts_follow_the_true_effect():
    _, header, rows = verdict_table(100, counts=(20,))
    found = {(row[0].split()[0], row[2]): dict(zip(header[3:], map(float, row[3:]), strict=True)) for row in rows}
    for name in ("C5", "C3"):
        for none in ("0", "0.5"):
            assert found[name, none]["confirmed"] == 0
            assert found[name, none]["refuted: too small, or unequal"] > 80
        assert found[name, "1"]["refuted: too small, or unequal"] < 10
        assert found[name, "2"]["confirmed"] > 95
    assert found["C7", "0"]["confirmed"] > 95
    assert found["C7", "1"]["confirmed"] < 15
    assert found["C7", "2"]["refuted: too small, or unequal"] > 95
    assert all(sum(shares.values()) == pytest.approx(100, abs=0.3) for shares in found.values())


def test_power_is_what_is_seen():
    draws = 200
    for case, _, quoted, seen in power_table(draws)[2]:
        error = 4 * np.sqrt(0.25 / draws)
        if "said to decide" in case:
            assert float(seen) >= 0.8 - error, case
        else:
            assert float(quoted) == pytest.approx(float(seen), abs=error), case


def test_seeds_that_decide_are_the_least_that_do():
    level = 0.05 / MEMBERS
    for name, effect in (("C5", 1.5), ("C5", 0.4), ("C7", 0.4)):
        few, many = (seeds_to_decide(sample_case(CLAIMS[name], effect, sd, 6).tests, level, level) for sd in (0.3, 0.6))
        assert 2 < few < many
    # At its margin an effect is never decided, as its estimate lies on either side half of the time.
    assert seeds_to_decide(sample_case(CLAIMS["C5"], 1.0, 0.3, 6).tests, level, level) is None
    assert seeds_to_decide((), level, level) is None


def test_intervals_cover_what_they_say():
    _, _, rows = coverage_table(1500, counts=(3, 20))
    for words, *percents in rows:
        assert all(92.5 < float(one.strip("*")) < 98.5 for one in percents), words
