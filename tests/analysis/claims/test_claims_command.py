"""python -m analysis.claims."""

import pandas as pd

from analysis.claims.__main__ import main
from tests.analysis.claims.claims_files import BAD, GOOD
from tests.analysis.claims.verdicts import CLAIMS


def test_the_command(tmp_path, lonely, capsys):
    bad = tmp_path / "bad.yaml"
    bad.write_text(BAD)
    assert main([str(lonely.path), "--claims", str(bad)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count(f"{bad}:") == 18
    assert main([str(tmp_path / "nowhere")]) == 2
    assert main([str(lonely.path), "--claims", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml: cannot be read" in capsys.readouterr().err
    assert main([str(lonely.path), "--csv", str(tmp_path / "verdicts.csv")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "30 not testable" in lines[0]
    assert [line.split("**")[1] for line in lines[1:]] == list(CLAIMS)
    assert pd.read_csv(tmp_path / "verdicts.csv")["claim"].tolist() == list(CLAIMS)
    good = tmp_path / "good.yaml"
    good.write_text(GOOD)
    assert main([str(lonely.path), "--claims", str(good), "--claims", str(good)]) == 2
    assert "claim mine is given twice" in capsys.readouterr().err
