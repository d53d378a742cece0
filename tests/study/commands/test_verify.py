"""`study verify` on a tiny real study: what was stored comes back bit by bit, and what was changed since is found."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import torch

from study.commands.main import main
from study.verify.verdict import ends_of
from study.verify.what_to_rerun import reruns_of
from tests.study.finished_study import changed
from tests.study.small_study import contents_of, files_in
from workers.store.open import open_store
from workers.store.plan_log import read_plan
from workers.store.weights_file import decode_weights, encode_weights


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def trials(tiny) -> pd.DataFrame:
    return pd.read_parquet(tiny / "trials")


def short(trials: pd.DataFrame) -> pd.Series:
    """A trial of two epochs whose pack has no parent."""
    return trials[(trials["seed"] == 1) & (trials["k"] == 2)].iloc[0]


def rows_file(tiny: Path, trial: pd.Series, epoch: int) -> Path:
    (path,) = (tiny / "epochs").glob(f"{trial['pack_id']}-*-{epoch:06d}.parquet")
    return path


def nudge(trial_id: str, column: str, by: float):
    def change(frame: pd.DataFrame) -> None:
        frame.loc[frame["trial_id"] == trial_id, column] += by

    return change


def verify(capsys, *words: str, code: int = 0) -> tuple[str, dict[str, str], dict]:
    """What it says, the verdict of every trial, and the summary."""
    before = {path.name for path in Path("results/tiny/verify").glob("*")}
    assert main(["verify", "tiny", *words]) == code
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    table = dict(re.findall(r"^([0-9a-f]{16})  (.*?)  +\w", said.out, re.M))
    (new,) = {path for path in Path("results/tiny/verify").glob("*") if path.name not in before}
    return said.out, table, json.loads((new / "verify.json").read_text())


def test_everything_comes_back_bit_by_bit(capsys, tiny, trials):
    """All four trials: two packs, and two children that went on from a part of them."""
    before, rows = files_in(tiny), pd.read_parquet(tiny / "epochs")
    said, table, facts = verify(capsys, "--sample", "4", "--seed", "3")
    assert table == dict.fromkeys(trials["trial_id"], "bit-equal")
    assert (
        "4 trials, 4 drawn with seed 3; whole packs are trained again (4 packs, 6 trials), and all their trials are compared"
        in said
    )
    assert said.splitlines()[-1].startswith("6 bit-equal; results/tiny/verify/")
    assert (facts["seed"], facts["sample"], facts["alone"]) == (3, 4, False)
    assert sorted(trial["trial_id"] for trial in facts["trials"]) == sorted(trials["trial_id"])
    assert {trial["weights"] for trial in facts["trials"]} == {"equal"}

    after = {path: content for path, content in files_in(tiny).items() if not path.startswith("verify/")}
    assert after == before, "nothing of the study is touched"
    pd.testing.assert_frame_equal(pd.read_parquet(tiny / "epochs"), rows)
    (again,) = (tiny / "verify").iterdir()
    assert list((again / "checkpoints").iterdir()) == []
    contents = contents_of(tiny)
    assert all(contents[key] == content for key, content in contents_of(again).items())
    assert len(pd.read_parquet(again / "epochs")) == len(rows)


def test_an_ancestor_runs_only_as_far_as_it_is_needed(tiny, trials):
    plan = read_plan(open_store(str(tiny)))
    ended = ends_of(open_store(str(tiny)), plan)
    child = trials[(trials["epochs"] == 4) & (trials["k"] == 1)].iloc[0]
    (rerun,) = reruns_of(plan, ended, [child["trial_id"]], alone=False)
    assert [(step.until, step.is_whole) for step in rerun.steps] == [(2, False), (4, True)]
    assert rerun.steps[0].pack.pack_id == plan.packs[child["pack_id"]].parent
    assert rerun.members == (child["trial_id"],)
    both = reruns_of(plan, ended, [*ended], alone=False)
    assert [len(rerun.steps) for rerun in both] == [2, 2, 1, 1], "children first: their ancestors must not be beyond them"


@pytest.mark.parametrize(
    ("by", "name", "code"), [(1e-9, "within the band", 0), (1e-3, "different", 4)], ids=["1e-9", "1e-3"]
)
def test_a_number_that_was_changed_is_found(capsys, tiny, trials, by, name, code):
    trial = short(trials)
    changed(rows_file(tiny, trial, 2), nudge(trial["trial_id"], "test_elbo", by))
    said, table, facts = verify(capsys, "--trial", trial["trial_id"], code=code)
    others = set(table) - {trial["trial_id"]}
    assert table[trial["trial_id"]] == name
    assert {table[other] for other in others} == {"bit-equal"}, "its neighbour in the pack"
    assert len(others) == 1
    assert re.search(rf"^    test_elbo in epoch 2: off by {by:g} \(", said, re.M)
    assert "different between the two runs: nothing that the provenance records" in said
    assert ("either a stored file was changed" in said) == (name == "within the band")
    found = {one["trial_id"]: one for one in facts["trials"]}[trial["trial_id"]]
    assert (found["verdict"], found["columns"], found["worst"]["epoch"]) == (name, ["test_elbo"], 2)


def test_a_change_of_what_is_no_content_is_none(capsys, tiny, trials):
    """Negative control: the file is written anew, with another wall time."""
    trial = short(trials)
    changed(rows_file(tiny, trial, 1), nudge(trial["trial_id"], "seconds", 1.0))
    _, table, _ = verify(capsys, "--trial", trial["trial_id"][:6])
    assert set(table.values()) == {"bit-equal"}


def test_another_version_and_device_in_the_footer_are_named(capsys, tiny, trials):
    trial = short(trials)

    def older(footer: dict) -> None:
        footer["provenance"] |= {"torch": "2.11.0", "device_name": "some GPU"}

    path = tiny / "trials" / f"{trial['pack_id']}-000002.parquet"
    changed(path, nudge(trial["trial_id"], "l_5", 1.0), older)
    said, table, facts = verify(capsys, "--trial", trial["trial_id"], code=4)
    assert table[trial["trial_id"]] == "different"
    assert re.search(r"^    l_5: off by 1 \(", said, re.M)
    assert f"torch was 2.11.0, is now {torch.__version__.split('+')[0]}" in said
    assert "device_name was some GPU, is now " in said
    found = {one["trial_id"]: one for one in facts["trials"]}[trial["trial_id"]]
    assert found["changed"].keys() == {"torch", "device_name"}


def test_other_weights_under_equal_rows_are_different(capsys, tiny, trials):
    trial = short(trials)
    path = tiny / "weights" / f"{trial['trial_id']}-000002.safetensors"
    tensors, facts = decode_weights(path.read_bytes(), str(path))
    name = min(tensors)
    tensors[name] = tensors[name] + 1
    path.write_bytes(encode_weights(tensors, facts))
    said, table, _ = verify(capsys, "--trial", trial["trial_id"], code=4)
    assert table[trial["trial_id"]] == "different"
    assert "every row is equal, but the stored weights differ" in said


def test_weights_that_are_not_stored_are_not_missed(capsys, tiny, trials):
    trial = short(trials)
    for path in (tiny / "weights").iterdir():
        path.unlink()
    _, table, facts = verify(capsys, "--trial", trial["trial_id"])
    assert set(table.values()) == {"bit-equal"}
    assert {one["weights"] for one in facts["trials"]} == {"not stored"}


def test_alone_the_numbers_lie_within_the_band(capsys, tiny, trials):
    trial = short(trials)
    said, table, _ = verify(capsys, "--trial", trial["trial_id"], "--alone")
    assert "each is trained alone, so bits may differ" in said
    assert table.keys() == {trial["trial_id"]}
    assert table[trial["trial_id"]] in ("bit-equal", "within the band")
    assert "a stored file was changed" not in said


def test_alone_a_changed_number_is_found_too(capsys, tiny, trials):
    trial = trials[(trials["epochs"] == 4) & (trials["k"] == 1)].iloc[0]
    changed(tiny / "epochs" / f"{trial['pack_id']}-000003-000003.parquet", nudge(trial["trial_id"], "test_elbo", 1e-2))
    said, table, _ = verify(capsys, "--trial", trial["trial_id"], "--alone", code=4)
    assert table == {trial["trial_id"]: "different"}
    assert "test_elbo in epoch 3: off by 0.01 (" in said


def test_the_seed_decides_who_is_drawn(monkeypatch, tiny):
    drawn: list[list[str]] = []

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(
        "study.commands.verify._announcement", lambda found, words, chosen, *rest: drawn.append(list(chosen)) or stop()
    )
    for seed in (*range(8), 0):
        assert main(["verify", "tiny", "--sample", "2", "--seed", str(seed)]) == 130
    assert all(len(set(chosen)) == 2 for chosen in drawn)
    assert drawn[0] == drawn[-1]
    assert len({tuple(sorted(chosen)) for chosen in drawn}) > 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--trial", "zz"], "--trial zz: no ended trial has an id that begins like this"),
        (["--trial", ""], "--trial : no ended trial has an id that begins like this"),
        (["--device", "cuda"], "run.device: got cuda, but this machine shows no NVIDIA GPU"),
    ],
    ids=["no trial", "empty", "no GPU"],
)
def test_bad_words_end_with_a_sentence(capsys, monkeypatch, tiny, words, sentence):
    monkeypatch.setattr("study.plan.machine.gpu_count", lambda: 0)
    before = files_in(tiny)
    assert main(["verify", "tiny", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert files_in(tiny) == before


def test_a_study_without_an_end_has_nothing_to_verify(capsys, tiny):
    for path in (tiny / "trials").iterdir():
        path.unlink()
    assert main(["verify", "tiny"]) == 2
    assert "no trial has ended yet" in capsys.readouterr().err


def test_a_damaged_file_is_named(capsys, tiny, trials):
    trial = short(trials)
    path = rows_file(tiny, trial, 1)
    path.write_bytes(path.read_bytes()[:-30])
    assert main(["verify", "tiny", "--trial", trial["trial_id"]]) == 3
    assert f"results/tiny/epochs/{path.name}: damaged" in capsys.readouterr().err


@pytest.mark.parametrize("sample", ["0", "-3", "many", "1.5"])
def test_a_sample_of_no_trials_is_refused(capsys, tiny, sample):
    with pytest.raises(SystemExit) as caught:
        main(["verify", "tiny", f"--sample={sample}"])
    assert caught.value.code == 2
    assert f"got {sample}; write a whole number from 1" in capsys.readouterr().err
    assert not Path("results/tiny/verify").exists()
