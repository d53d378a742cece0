"""The section on claims: what it shows is what the engine says, and the page has it."""

import numpy as np
import pytest

from analysis.claims.judge import judge
from analysis.claims.reader import paper_claims
from analysis.loading.load import load
from analysis.report.__main__ import main
from analysis.report.claims import claims_section
from analysis.report.computed import Computed
from analysis.report.effects import effects_section
from analysis.report.section import NONE
from tests.analysis.planted import SMALL, flat_bound, write
from tests.analysis.report.sections import FACTORIAL, table


@pytest.fixture
def root(tmp_path):
    return tmp_path / "planted"


def test_claims_are_those_of_the_engine(root):
    def better(s, epoch):
        return flat_bound({**s, "seed": 0}, epoch) + np.random.default_rng([s["seed"], s["k"]]).normal(0, 0.05)

    write(root, {**SMALL, "n_z": [50], "seed": list(range(5))}, bound=better, settings={"objective.kl": "sampled"})
    study = load(root)
    section = claims_section(Computed(study))
    verdicts = judge(study)
    assert len(table(section, "claims").frame) == len(verdicts) == len(paper_claims())
    shown = table(section, "claims").texts
    judged = [one for one in verdicts if one.verdict != "not testable"]
    assert list(shown["claim"]) == [one.claim for one in judged]
    assert all(word.startswith(one.verdict) for word, one in zip(shown["verdict"], judged, strict=True))
    for row, one in zip(shown.to_dict("records"), judged, strict=True):
        # One p, and what it is: C4 is a statement about every trial and has none.
        assert (row["p"] == NONE) == (row["which p"] == NONE) == (one.side == "")
        assert row["which p"] in (NONE, f"{one.side}, {one.family.partition(' primary')[0].partition(':')[0]}")
    assert (shown["which p"].str.count("Holm over") > 0).any()
    assert shown.set_index("claim").loc["C4", ["p", "95% interval"]].tolist() == [NONE, NONE]
    assert {"p_for", "p_against", "p_for_adjusted", "p_against_adjusted", "level", "family"} <= set(
        table(section, "claims").frame
    )
    untested = table(section, "claims-untested").texts
    assert len(shown) + len(untested) == len(verdicts)
    assert untested["why not"].str.len().gt(0).all()


def test_a_claim_without_an_estimate_shows_no_unit(root):
    write(root, {**SMALL, "n_z": [50]})
    shown = table(claims_section(Computed(load(root))), "claims").texts.set_index("claim")
    # Three seeds are too few for a rank correlation.
    assert shown.loc["C26", "estimate"] == shown.loc["C26", "95% interval"] == NONE


def test_nothing_is_judged_before_a_trial_has_ended(root):
    write(root, done=lambda s: 2)
    study = load(root)
    assert effects_section(Computed(study)) is None
    assert claims_section(Computed(study)) is None


def test_the_page_has_effects_and_claims(root, capsys):
    write(root, {**FACTORIAL, "n_z": [50]})
    assert main([str(root)]) == 0
    page = (root / "report.html").read_text()
    assert "Simple effects on nll" in page
    assert "Claims of the paper" in page
    assert (root / "figures" / "claims.csv").is_file()
    assert (root / "figures" / "effects-nll-bernoulli.tex").is_file()
    assert "Claims of the paper" in (root / "report.md").read_text()
