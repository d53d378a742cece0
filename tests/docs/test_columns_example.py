"""The pandas example of docs/columns.md reads a study of the quick start's cells, and pools none of them."""

import re

from tests import ROOT
from tests.analysis.planted import flat_bound
from tests.analysis.quick_start import FACTORS, write_quick_start


def of_the_cell(settings, epoch):
    return flat_bound(settings, epoch) - 100 * (settings["objective.kl"] == "sampled")


def test_the_example_reads_every_cell_by_itself(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.+?)```", (ROOT / "docs" / "columns.md").read_text(), re.DOTALL)
    write_quick_start(tmp_path / "results" / "quickstart", 2, bound=of_the_cell)
    monkeypatch.chdir(tmp_path)
    found: dict = {}
    exec(code, found)
    completed, nll = found["completed"], found["nll"]
    assert found["last"]["epoch"].tolist() == [2] * 98
    assert found["activity"].shape == (2 * 17, 50)
    assert (len(completed), len(nll)) == (98, 49)
    base = {"decoder": "bernoulli", "k": 1, "batch_norm": False, "warmup": 0, "n_z": 50}
    both = completed[(completed[list(base)] == list(base.values())).all(axis=1)]
    assert len(both) == 4, "what the six factors call one cell"
    assert sorted(nll.loc[tuple(base.values())]) == sorted(set(both["nll"].groupby(both["nll"].round(-2)).mean()))
    assert len(completed.groupby(FACTORS)["nll"].mean()) == 48, "the six factors alone pool the bridge with another cell"
