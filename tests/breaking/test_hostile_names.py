"""A short run of hostile_names.py, and faults that the script must see."""

from tests.breaking import hostile_names


def test_hostile_names_lead_nowhere(made, tmp_path):
    tally, wrong, outside = hostile_names.run(made, 60, 3, tmp_path, 40)
    assert wrong == []
    assert len(tally) == len(hostile_names.KINDS)
    assert outside > 0


def test_the_script_sees_files_outside(made, tmp_path, monkeypatch):
    monkeypatch.setattr("study.grid.checks.wrong_with", lambda out, study: "")
    monkeypatch.setattr(hostile_names, "KINDS", (hostile_names.links,))
    _, wrong, _ = hostile_names.run(made, 8, 0, tmp_path, 1000)
    assert any("outside: " in words for words in wrong)


def test_the_script_sees_tracebacks(made, tmp_path, monkeypatch):
    def leaky(url):
        raise KeyError("x")

    monkeypatch.setattr("study.pipeline.open_store", leaky)
    monkeypatch.setattr(hostile_names, "KINDS", (hostile_names.out_folder,))
    _, wrong, _ = hostile_names.run(made, 8, 0, tmp_path, 1000)
    assert any("traceback: KeyError" in words for words in wrong)
