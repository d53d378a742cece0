"""A short run of the storm, a longer one, and what it finds where the checks are switched off."""

import pytest

from tests.breaking.wrong_folders import judge
from tests.breaking.wrong_folders.kinds import adopted, other_plan, traded_settings
from tests.breaking.wrong_folders.studies import make_all


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    return make_all(tmp_path_factory.mktemp("studies"))


def test_no_wrong_folder_is_called_whole(studies, tmp_path):
    tally = judge.run(studies, 40, 1, tmp_path)
    assert tally.wrong == []
    assert tally.folders.total() == 40
    assert tally.refused.total() > 10


@pytest.mark.slow
def test_no_wrong_folder_of_many_is_called_whole(studies, tmp_path):
    tally = judge.run(studies, 300, 2, tmp_path)
    assert tally.wrong == []
    assert set(tally.folders) == {kind.__name__ for kind in judge.KINDS} | {"several"}


def test_without_the_checks_wrong_numbers_are_called_whole(studies, tmp_path, monkeypatch):
    """The negative control."""
    for name in ("workers.store.plan_log", "study.doctor.stored_files"):
        monkeypatch.setattr(f"{name}.wrong_ids", lambda raw, key: ())
    monkeypatch.setattr("study.doctor.stored_files.files_at_odds", lambda files, plan: ())
    monkeypatch.setattr("study.doctor.stored_files.plan_at_odds", lambda plan: ())
    monkeypatch.setattr("analysis.loading.files.unlike_the_plan", lambda key, table, footer, plan: None)
    monkeypatch.setattr(judge, "KINDS", (adopted, traded_settings, other_plan))
    # What the other readers say does not matter here.
    every = judge._questions
    monkeypatch.setattr(judge, "_questions", lambda top, root: every(top, root)[:2])
    tally = judge.run(studies, 20, 0, tmp_path)
    assert tally.wrong_numbers["adopted"]
    assert tally.wrong_numbers["traded_settings"]


def test_the_storm_sees_tracebacks_and_files_beside_the_folder(studies, tmp_path, monkeypatch):
    def leaky(root):
        (root.parents[1] / "outside" / "secret").write_text("other")
        raise KeyError("x")

    monkeypatch.setattr(judge, "_verify", leaky)
    tally = judge.run(studies, 2, 0, tmp_path)
    assert tally.tracebacks.total() == 2
    assert tally.outside.total() == 2
