"""Files that are whole and yet not what the plan says: doctor names each, `load` refuses what it would believe, verify ends well."""

import pandas as pd
import pytest

from analysis.loading.load import load
from study.commands.main import main
from study.doctor.stored_files import examine
from tests.study.finished_study import changed, rewritten
from workers.contract.errors import RecordError
from workers.store.open import open_store
from workers.store.parquet import read_footer
from workers.store.weights_file import decode_weights, encode_weights


def faults(tiny) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for fault in examine(open_store(str(tiny))).faults:
        found.setdefault(fault.key, []).append(fault.text)
    return found


def swap(column: str):
    """Give each row the value of the last one that has another; ids stay."""

    def change(rows: list[dict]) -> None:
        values = [row[column] for row in rows]
        for row in rows:
            row[column] = next(value for value in reversed(values) if value != row[column])

    return change


def put(column: str, value: object):
    def change(rows: list[dict]) -> None:
        for row in rows:
            row[column] = value

    return change


def key_of(path) -> str:
    return f"{path.parent.name}/{path.name}"


def test_an_undisturbed_study_has_no_fault(tiny):
    assert faults(tiny) == {}


@pytest.mark.parametrize("column", ["k", "seed"])
def test_settings_under_the_ids_of_others_are_reported_for_each_trial(tiny, capsys, column):
    entry = min((tiny / "plan").iterdir())
    rewritten(entry, swap(column))
    texts = faults(tiny)[key_of(entry)]
    assert len([text for text in texts if "gives trial" in text]) == 4
    assert main(["doctor", "tiny"]) == 3
    assert f"results/tiny/{key_of(entry)}: gives trial" in capsys.readouterr().out
    with pytest.raises(
        RecordError, match=r"plan/000001\.parquet: gives trial .* the settings and the data of trial .* more"
    ):
        load(tiny)


def test_another_fingerprint_under_the_same_id_is_reported(tiny):
    entry = min((tiny / "plan").iterdir())
    rewritten(entry, put("fingerprint", "a" * 64))
    assert len([text for text in faults(tiny)[key_of(entry)] if "gives trial" in text]) == 4


def test_a_pack_of_other_trials_is_reported(tiny):
    entry = min((tiny / "plan").iterdir())
    rewritten(entry, swap("pack_id"))
    assert any("gives pack" in text for text in faults(tiny)[key_of(entry)])
    with pytest.raises(RecordError, match="gives pack"):
        load(tiny)


def test_a_border_that_only_some_rows_of_a_pack_have_is_reported(tiny):
    entry = min((tiny / "plan").iterdir())
    # A pack is believed by its first row.
    rewritten(entry, lambda rows: rows[-1].__setitem__("borders", [1, 2, 9]))
    assert any("different borders or starts" in text for text in faults(tiny)[key_of(entry)])


def test_another_length_in_the_settings_than_in_the_borders_is_reported(tiny):
    rewritten(max((tiny / "plan").iterdir()), put("training.epochs", 7))
    assert any("to epoch 7, but its last border is 4" in text for text in faults(tiny)["plan/"])


# ---- Measurements ----


def measured(name: str, value: object):
    return lambda footer: footer["measure"].__setitem__(name, value)


def test_rows_and_ends_say_how_they_were_measured(tiny):
    for folder in ("epochs", "trials"):
        for path in (tiny / folder).iterdir():
            footer = read_footer(path.read_bytes(), path.name)
            assert footer["measure"] == {
                "threshold": 0.1,
                "images": 100,
                "images_redrawn": False,
                "nll_samples": 5,
                "secondary_samples": 3,
            }


@pytest.mark.parametrize("folder", ["epochs", "trials"])
@pytest.mark.parametrize(("name", "value"), [("images", 99), ("nll_samples", 50), ("threshold", 0.2), ("of_tomorrow", 1)])
def test_files_measured_in_another_way_are_refused(tiny, folder, name, value):
    path = min((tiny / folder).iterdir())
    changed(path, lambda frame: None, measured(name, value))
    assert [f"measure.{name}: {value}, but the plan says" in text for text in faults(tiny)[key_of(path)]] == [True]
    with pytest.raises(RecordError, match=rf"{path.name}: was measured with measure\.{name}: {value}"):
        load(tiny)
    assert list(load(tiny, skip_bad=True).left_out) == [key_of(path)]


@pytest.mark.parametrize("folder", ["epochs", "trials"])
def test_files_of_earlier_versions_do_not_say_it_and_are_read(tiny, folder):
    whole = load(tiny)
    for path in (tiny / folder).iterdir():
        changed(path, lambda frame: None, lambda footer: footer.pop("measure"))
    assert faults(tiny) == {}
    pd.testing.assert_frame_equal(load(tiny).trials, whole.trials)


def test_a_setting_of_measure_that_came_after_a_file_is_at_its_default(tiny):
    path = min((tiny / "epochs").iterdir())
    changed(path, lambda frame: None, lambda footer: footer["measure"].pop("images_redrawn"))
    assert faults(tiny) == {}
    changed(path, lambda frame: None, lambda footer: footer["measure"].pop("images"))
    assert "measure.images: 10000, but the plan says 100" in faults(tiny)[key_of(path)][0]


def test_ends_of_earlier_versions_are_known_by_their_samples(tiny):
    path = min((tiny / "trials").iterdir())
    changed(path, lambda frame: frame.__setitem__("nll_samples", 6), lambda footer: footer.pop("measure"))
    assert "measure.nll_samples: 6, but the plan says 5" in faults(tiny)[key_of(path)][0]


def test_a_plan_with_two_ways_of_measuring_is_reported(tiny):
    rewritten(max((tiny / "plan").iterdir()), put("measure.images", 50))
    assert any("measure.images: 100 and others with 50" in text for text in faults(tiny)["plan/"])


# ---- Rows ----


def test_rows_under_the_id_of_a_neighbour_are_reported(tiny):
    path = max((tiny / "epochs").iterdir())
    for path in (tiny / "epochs").glob("*-000000-*"):
        changed(
            path, lambda frame: frame.__setitem__("trial_id", frame["trial_id"].map(dict(zip(*pair(frame), strict=True))))
        )
        assert any("with seed: " in text or "another order" in text for text in faults(tiny)[key_of(path)])


def pair(frame: pd.DataFrame) -> tuple[list, list]:
    ids = list(frame["trial_id"].unique())
    return ids, ids[::-1]


def test_an_end_without_one_of_its_trials_is_reported(tiny):
    path = min((tiny / "trials").glob("*-000002*"))
    rewritten(path, lambda rows: rows.pop(0))
    assert any("has not one row for each of the 2 trials" in text for text in faults(tiny)[key_of(path)])


def test_rows_of_a_closed_pack_are_reported(tiny):
    path = min((tiny / "epochs").iterdir())
    changed(path, lambda frame: None, lambda footer: footer.__setitem__("closed", True))
    assert any("and yet has rows" in text for text in faults(tiny)[key_of(path)])


@pytest.mark.parametrize("value", ["b" * 64, ["a"], {"a": 1}, 3, True])
def test_rows_computed_on_other_data_are_reported_whatever_is_in_the_place_of_the_fingerprint(tiny, value):
    path = min((tiny / "epochs").iterdir())
    changed(path, lambda frame: None, lambda footer: footer["provenance"].__setitem__("fingerprint", value))
    assert any("was computed on data with the fingerprint" in text for text in faults(tiny)[key_of(path)])


def under_another_pack(tiny, pack_id: str):
    path = min((tiny / "trials").glob("*-000002*"))
    changed(path, lambda frame: frame.__setitem__("pack_id", pack_id), lambda footer: footer.__setitem__("pack_id", pack_id))
    return path.rename(path.with_name(f"{pack_id}-000002.parquet"))


def test_ends_of_a_pack_that_was_never_planned(tiny, capsys):
    """Verify ended in a traceback, and load believed them."""
    path = under_another_pack(tiny, "e" * 16)
    assert any("which no entry of the plan names" in text for text in faults(tiny)[key_of(path)])
    with pytest.raises(RecordError, match="which no entry of the plan names"):
        load(tiny)
    for words in ([], ["--alone"]):
        assert main(["verify", "tiny", "--sample", "4", *words]) == 3
        assert f"in pack {'e' * 16}, which the plan does not" in capsys.readouterr().err
    assert main(["status", "tiny"]) == 0


def test_verify_reports_rows_that_are_lost_before_it_trains(tiny, capsys):
    for path in (tiny / "epochs").iterdir():
        path.unlink()
    assert main(["verify", "tiny"]) == 3
    assert "is missing, although pack" in capsys.readouterr().err
    assert not (tiny / "verify").exists()


@pytest.mark.parametrize("precision", ["tf32", "", None, 3])
def test_verify_does_not_believe_a_precision_that_the_device_lacks(tiny, capsys, precision):
    for path in (tiny / "trials").iterdir():
        changed(path, lambda frame: None, lambda footer: footer["provenance"].__setitem__("precision", precision))
    assert main(["verify", "tiny"]) == 0
    capsys.readouterr()


# ---- Trained models ----


def model(tiny, change) -> str:
    path = min((tiny / "weights").glob("*-000002*"))
    tensors, facts = decode_weights(path.read_bytes(), path.name)
    change(facts)
    path.write_bytes(encode_weights(tensors, facts))
    return key_of(path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda facts: facts["settings"].__setitem__("seed", 77), "has the settings of trial"),
        (lambda facts: facts["settings"]["objective"].__setitem__("beta", 2.0), "has the settings of trial"),
        (lambda facts: facts["settings"]["measure"].__setitem__("images", 7), "measure.images: 7, but the plan says 100"),
        (lambda facts: facts["settings"].__setitem__("k", "many"), "has no settings of a trial"),
        (lambda facts: facts.pop("settings"), "has no settings of a trial"),
        (lambda facts: facts.__setitem__("epoch", 1), "after epoch 1"),
    ],
)
def test_models_with_another_header_are_reported(tiny, change, text):
    key = model(tiny, change)
    assert [text in found for found in faults(tiny)[key]] == [True]


def test_models_of_no_trial_and_of_no_border_are_reported(tiny):
    key = model(tiny, lambda facts: facts.__setitem__("epoch", 5))
    path = tiny / key
    renamed = path.rename(path.with_name(path.name.replace("000002", "000005")))
    assert "has no border" in faults(tiny)[key_of(renamed)][0]
    facts = decode_weights(renamed.read_bytes(), "x")[1]
    foreign = renamed.rename(renamed.with_name("e" * 16 + "-000002.safetensors"))
    foreign.write_bytes(
        encode_weights(decode_weights(foreign.read_bytes(), "x")[0], {**facts, "trial_id": "e" * 16, "epoch": 2})
    )
    assert "which is not in the plan" in faults(tiny)[key_of(foreign)][0]


# ---- Status ----


def test_status_does_not_call_trials_completed_whose_rows_are_lost(tiny, capsys):
    path = min((tiny / "epochs").glob("*-000000-*"))
    path.unlink()
    assert main(["status", "tiny"]) == 0
    said = capsys.readouterr().out
    assert "4 completed" not in said
    assert "ended with lost rows" in said
    assert f"lost: {key_of(path)}: is missing, although pack" in said
    assert "study doctor results/tiny" in said.splitlines()[-1]
