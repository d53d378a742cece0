"""The judging sections of the report: what they show is what effects and claims say, and what is missing is named."""

import numpy as np
import pandas as pd
import pytest

from analysis.claims.judge import judge
from analysis.claims.reader import paper_claims
from analysis.effects.simple import simple_effects
from analysis.loading.load import load
from analysis.report.__main__ import main
from analysis.report.claims import claims_section
from analysis.report.judging import LATENT_CAPTIONS, effects_section, latent_section
from analysis.report.section import NONE
from analysis.report.write import write_report
from tests.analysis.planted import SMALL, flat_bound, write

FACTORIAL = {**SMALL, "batch_norm": [False, True], "warmup": [0, 2]}


@pytest.fixture
def root(tmp_path):
    return tmp_path / "planted"


def table(section, name):
    (found,) = [one for one in section.tables if one.name == name]
    return found


def test_effects_are_those_of_the_package(root):
    write(root, FACTORIAL)
    study = load(root)
    section = effects_section(study)
    simple = table(section, "effects-nll-bernoulli").frame
    assert list(simple["factor"]) == ["k", "batch_norm", "warmup"]
    base = {"decoder": "bernoulli", "batch_norm": False, "warmup": 0, "n_z": 3}
    expected = simple_effects(study, "nll", "k", at=base).iloc[0]
    row = simple[simple["factor"] == "k"].iloc[0]
    # nll is -20 + k and more, turned round: K = 5 lies 4 below.
    assert row["estimate"] == pytest.approx(-4)
    assert (row["estimate"], row["low"], row["n"]) == (expected["estimate"], expected["low"], expected["n"])
    main_effects = table(section, "main-nll-bernoulli").frame.set_index("factor")["estimate"]
    assert main_effects["batch_norm"] == pytest.approx(-10)
    assert main_effects["warmup"] == pytest.approx(0, abs=1e-12)
    assert table(section, "shares-nll-bernoulli").frame["share"].sum() == pytest.approx(1)


def test_a_missing_seed_and_a_diverged_trial_are_named_beside_the_effects(root):
    write(root, SMALL, diverged={(5, 1): 2})
    section = effects_section(load(root))
    shown = table(section, "effects-nll-bernoulli").texts.iloc[0]
    assert shown["n"] == "2 of 3"
    assert "seed 1 diverged after epoch 2 at k=5" in shown["remarks"]
    assert "k=5: 1 of 3" in shown["remarks"]


def test_an_unbalanced_factorial_has_simple_effects_and_says_why_no_more(root):
    write(root, FACTORIAL, excluded=lambda s: s["k"] == 5 and s["batch_norm"])
    section = effects_section(load(root))
    names = [one.name for one in section.tables]
    assert "effects-nll-bernoulli" in names
    assert not any(name.startswith("main-") for name in names)
    assert "Some main effects are not shown. Bernoulli decoder: " in section.words


def test_claims_are_those_of_the_engine(root):
    def better(s, epoch):
        return flat_bound({**s, "seed": 0}, epoch) + np.random.default_rng([s["seed"], s["k"]]).normal(0, 0.05)

    write(root, {**SMALL, "n_z": [50], "seed": list(range(5))}, bound=better, settings={"objective.kl": "sampled"})
    study = load(root)
    section = claims_section(study)
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
    shown = table(claims_section(load(root)), "claims").texts.set_index("claim")
    # Three seeds are too few for a rank correlation.
    assert shown.loc["C26", "estimate"] == shown.loc["C26", "95% interval"] == NONE


def test_nothing_is_judged_before_a_trial_has_ended(root):
    write(root, done=lambda s: 2)
    study = load(root)
    assert effects_section(study) is None
    assert claims_section(study) is None


def test_latent_pictures_are_those_that_were_written(root):
    write(root)
    study = load(root)
    assert latent_section(study) is None
    written = write_report(study)
    png = next(path for path in written if path.suffix == ".png")
    captions = pd.DataFrame(
        {"name": [png.stem, "gone"], "title": ["A", "B"], "caption": ["What it shows.", ""], "number": ["4.3", ""]}
    )
    captions.to_csv(root / "figures" / LATENT_CAPTIONS, index=False)
    (picture,) = latent_section(study).pictures
    assert (picture.number, picture.caption) == ("4.3", "What it shows.")
    assert picture.render(("png",))["png"] == png.read_bytes()


def test_the_page_has_effects_and_claims(root, capsys):
    write(root, {**FACTORIAL, "n_z": [50]})
    assert main([str(root)]) == 0
    page = (root / "report.html").read_text()
    assert "Simple effects on nll" in page
    assert "Claims of the paper" in page
    assert (root / "figures" / "claims.csv").is_file()
    assert (root / "figures" / "effects-nll-bernoulli.tex").is_file()
    assert "Claims of the paper" in (root / "report.md").read_text()
