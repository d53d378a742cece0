"""A short run of damaged_files.py, and faults in what it guards."""

from tests.breaking import damaged_files


def test_every_damaged_file_is_named_and_the_rest_is_there(made, tmp_path):
    tally, taken = damaged_files.run(made, 30, 4, tmp_path, 30)
    assert tally.wrong == []
    assert tally.cases.total() == 30
    assert len(tally.cases) > 5
    assert taken > 0


def test_the_script_sees_tracebacks_and_files_under_a_wrong_name(made, tmp_path, monkeypatch):
    # What is not refused is read to its end, which is not what is looked for here.
    monkeypatch.setattr("analysis.report.write.SECTIONS", ())
    monkeypatch.setattr("analysis.claims.__main__.paper_claims", list)
    monkeypatch.setattr("analysis.loading.files.refuse_renamed", lambda key, table, footer: None)
    monkeypatch.setattr("analysis.loading.files.refuse_other_borders", lambda keys, plan, problems: set())
    monkeypatch.setattr(damaged_files, "KINDS", (damaged_files.copied, damaged_files.swapped, damaged_files.folder))
    monkeypatch.setattr("workers.store.placement.Checked.read", lambda self, key: self.store.read(key))
    tally, _ = damaged_files.run(made, 24, 0, tmp_path, 1000)
    assert any("rows" in line or "not named" in line or "exit 0" in line for line in tally.wrong)
    assert any("cannot be read" in line or "IsADirectory" in line for line in tally.wrong)
