"""Files of claims: every mistake is named with its place."""

import re

import pytest

from analysis.claims.claim import ClaimsError
from analysis.claims.judge import judge
from analysis.claims.reader import read_claims
from tests.analysis.claims.claims_files import BAD, GOOD
from tests.analysis.claims.planted_claims import Plant, n_z


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    (claim,) = read_claims(path)
    assert (claim.id, claim.figure, claim.primary) == ("mine", "2.5", True)
    assert claim.cells["few"] == {"decoder": "bernoulli", "k": 5, "batch_norm": False, "warmup": 0, "n_z": 20}
    study = Plant(n_z(20, 50)).write(tmp_path / "s")
    assert judge(study, [claim])[0].verdict == "confirmed"
    path.write_text(GOOD + "base: {k: 1}\n")
    assert read_claims(path)[0].cells["few"]["k"] == 1


def test_every_mistake_is_named_with_its_place(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    with pytest.raises(ClaimsError) as caught:
        read_claims(path)
    found = caught.value.problems
    expected = [
        (1, "k is 0"),
        (1, "colour cannot be fixed: it is not a setting"),
        (3, "a claim: text is missing"),
        (4, "n_z is 'twenty'"),
        (4, "seed cannot be fixed: claims are over all seeds"),
        (6, "there is no value finale; did you mean final?"),
        (7, "final cannot read column nlll; did you mean nll?"),
        (7, "lots is not one of its cells"),
        (7, "margin is -1; it must be above 0"),
        (7, "paired takes true or false, got 'perhaps'"),
        (8, "range must be [low, high]"),
        (9, "greater compares at least two cells, got 1"),
        (9, "margn is not a key here; did you mean margin?"),
        (10, "slope cannot read column nll"),
        (10, "last takes a whole number above 0, got 2.5"),
        (10, "limit is missing"),
        (11, "epochs takes a whole number above 0, got 'many'"),
        (15, "parts must be a list with at least one entry"),
    ]
    for line, text in expected:
        assert any(re.match(rf"{re.escape(str(path))}:{line}:\d+: ", one) and text in one for one in found), (
            line,
            text,
            found,
        )
    assert len(found) == len(expected), found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GOOD + "paper: {epochs: 0}\n", "9:17: epochs takes a whole number above 0, got 0"),
        (GOOD + "paper: {epoch: 9}\n", "9:9: paper: epoch is not a key here; did you mean epochs?"),
        (
            GOOD.replace("equal,", "greater,").replace("paired: false", "paired: false, zero_in: [many]"),
            "8:111: mine: nll: only the value ablation takes zero_in, got final",
        ),
        (
            GOOD.replace("final, column: nll", "ablation, low: 0.01, column: ablation_low"),
            "8:49: mine: nll: ablation cannot read column ablation_low; did you mean ablation_between?",
        ),
        (
            GOOD.replace("final, column: nll", "epochs_to_end, within: 1, column: nll"),
            "8:54: mine: nll: epochs_to_end cannot read column nll",
        ),
        ("", "1:1: is empty; analysis/claims/paper.yaml shows a file of claims"),
        ("claims: [", "1:10: is not valid YAML"),
        ("- a\n", "1:1: the file: must be a table of keys and values"),
        ("claims: 3\n", "1:9: claims must be a list"),
        ("claims:\n  - 3\n", "2:5: a claim: must be a table of keys and values, got 3"),
        ("claims:\n  - {}\n", "2:5: a claim: id is missing"),
        (GOOD + GOOD.split("claims:\n")[1], "9:5: claim mine is given twice"),
        (GOOD.replace("n_z: 20", "n_z: 20, n_z: 30"), "6:28: n_z: is given twice, first in line 6; keep one"),
        (GOOD.replace("paired: false", "paired: false, decides: false"), "3:5: mine: no part decides"),
        (
            GOOD.replace("final, column", "pair, with: nll, column"),
            "8:58: mine: nll: the test uncorrelated and the value pair need each other",
        ),
        (GOOD.replace("{n_z: 20}", "[n_z]"), "6:18: mine: cell few: must be a table of keys and values"),
        (GOOD.replace("margin: 0.5", "margin: !!python/name:os.system 1"), "8:89: tags are not allowed, got"),
        (GOOD.replace("margin: 0.5", "margin: &half 0.5"), "8:89: anchors and aliases (& and *) are not allowed"),
        (GOOD.replace("margin: 0.5", "margin: .inf"), "8:89: margin takes a number, got '.inf'"),
        (GOOD.replace("margin: 0.5", "margin: 1e999"), "8:89: margin takes a number, got inf"),
        (GOOD.replace("[few, many]", "[few, [many]]"), "8:74: mine: nll: ['many'] is not one of its cells"),
        (GOOD + "---\n", "9:1: a second document begins here; a file of claims holds one"),
        (GOOD.replace("[few, many]", "[" * 9 + "]" * 9), "8:71: is nested deeper than 8 levels"),
        (GOOD + "#" * 130_000, "1:1: is 130,240 bytes; at most 128,000 are allowed: a file of claims is some pages of text"),
    ],
)
def test_bad_files_end_in_sentences(tmp_path, text, problem):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ClaimsError) as caught:
        read_claims(path)
    assert any(one.startswith(f"{path}:{problem}") for one in caught.value.problems), caught.value.problems
