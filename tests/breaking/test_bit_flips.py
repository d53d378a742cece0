"""A short run of bit_flips.py, and a fault in what it guards."""

import pytest

from tests.breaking import bit_flips


@pytest.fixture(scope="module")
def found(made, tmp_path_factory):
    return bit_flips.run(made, 400, 1, 40, tmp_path_factory.mktemp("flips"))


def test_every_flipped_bit_is_detected_or_harmless(found):
    checked, _, agree = found
    assert checked["silent"] == 0
    assert checked.total() == 400
    assert checked["detected"] > 200
    assert agree == {True: 10}


def test_without_checksums_flipped_bits_are_believed(found):
    assert found[1]["silent"] > 0


def test_the_script_fails_where_a_flip_is_believed(made, monkeypatch, capsys):
    monkeypatch.setattr(bit_flips.victim, "make", lambda folder: made)
    monkeypatch.setattr(bit_flips, "read_checked", bit_flips.read_unchecked)
    monkeypatch.setattr(bit_flips, "outcome", lambda read, key, raw, whole: bit_flips.outcome_unchecked(key, raw, whole))
    assert bit_flips.main(["--count", "200", "--wholes", "1000"]) == 1
    assert "0 silent; without" not in capsys.readouterr().out
