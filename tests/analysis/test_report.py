import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from planted import SMALL, write

from analysis import load
from analysis.cells import cell_table, verdict
from analysis.contrast import contrast
from analysis.pictures import curve_picture
from analysis.report import main

TWO = {**SMALL, "decoder": ["bernoulli", "gaussian"]}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("report") / "two"
    write(root, TWO, diverged={(5, 1): 2})
    assert main([str(root)]) == 0
    return root


def test_each_figure_as_png_pdf_and_the_csv_of_what_is_drawn(root):
    names = {path.stem for path in (root / "figures").glob("*.png")}
    assert names == {
        *(f"{stem}-by-k-{decoder}" for stem in ("bound", "active-units") for decoder in ("bernoulli", "gaussian")),
        *(f"{stem}-by-decoder" for stem in ("bound", "active-units")),
        *(f"activity-map-{decoder}" for decoder in ("bernoulli", "gaussian")),
    }
    for name in names:
        assert (root / "figures" / f"{name}.pdf").read_bytes()[:5] == b"%PDF-"
        assert len(pd.read_csv(root / "figures" / f"{name}.csv"))
    study = load(root)
    drawn = curve_picture(study, contrast(study, "k", "gaussian"), "test_bound").table
    stored = pd.read_csv(root / "figures" / "bound-by-k-gaussian.csv", keep_default_na=False, na_values=[""])
    np.testing.assert_allclose(stored["mean"], drawn["mean"])
    assert stored["n"].tolist() == drawn["n"].tolist()
    assert not [path for path in (root / "figures").iterdir() if path.name.startswith(".")]


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.loads, self.tags, self.text = [], [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data):
        self.text += data


def read_page(root):
    page = Page()
    text = (root / "report.html").read_text()
    page.feed(text)
    return page, text


def test_the_page_needs_nothing_else(root):
    page, text = read_page(root)
    assert page.loads
    assert all(value.startswith("data:image/png;base64,") for value in page.loads)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert not re.search(r"url\(|@import|https?://", re.sub(r"base64,[^\"]*", "", text))


def test_the_page_says_what_it_rests_on(root):
    words = read_page(root)[0].text
    assert "Complete: all 12 trials have ended, 2 of them diverged." in words
    assert "diverged after epoch 2" in words
    assert "Base cell: Bernoulli decoder, no batch norm, no warm-up, n_z = 3" in words
    assert "95% t interval over seeds, pointwise" in words
    assert "n = 2 to 3 of 3" in words
    for value in ("6b0292a", "2.11.0", "cpu", "numpy-philox", "ab" * 32):
        assert value in words


def test_captions_change_with_the_seeds(tmp_path):
    write(tmp_path / "a", SMALL)
    write(tmp_path / "b", SMALL, done=lambda s: -1 if (s["k"], s["seed"]) == (5, 2) else 4)
    captions = []
    for name in "ab":
        study = load(tmp_path / name)
        captions.append(curve_picture(study, contrast(study, "k"), "active_units").caption)
    assert "n = 3 seeds a curve" in captions[0]
    assert "n = 2 to 3 of 3 seeds a curve" in captions[1]
    assert "K = 5: seed 2 unfinished (0 of 4 epochs)" in captions[1]
    assert "seed 2" not in captions[0]


def test_the_table_has_every_cell_of_one_decoder(root):
    study = load(root)
    table = cell_table(study, "gaussian")
    assert table["k"].tolist() == [1, 5]
    assert table["baseline"].tolist() == [-40.0, -40.0]
    assert table["verdict"].tolist() == ["beats", "beats"]
    assert table["test_bound"][0] == pytest.approx(-20 + 1 + 5 / 3 + 0.04)
    assert table["nll_n"].tolist() == [3, 2]
    assert table["active_units"].tolist() == [2.0, 2.0]
    assert table["missing"][1] == "seed 1 diverged after epoch 2"


@pytest.mark.parametrize(
    ("mean", "half", "word"),
    [(-20, 1, "beats"), (-30, 1, "below"), (-25.5, 1, "open"), (-20, np.nan, "beats (n = 1)"), (np.nan, np.nan, "")],
)
def test_verdicts(mean, half, word):
    assert verdict(mean, half, -25.0) == word


@pytest.mark.parametrize("epochs", [-1, 0, 1, 2], ids=["no file", "epoch 0", "epoch 1", "half"])
def test_a_running_study_is_reported_as_incomplete(tmp_path, capsys, epochs):
    write(tmp_path / "s", TWO, done=lambda s: epochs)
    assert main([str(tmp_path / "s")]) == 0
    words = read_page(tmp_path / "s")[0].text
    assert "INCOMPLETE: 0 of 12 trials have ended" in words
    assert f"unfinished ({max(epochs, 0)} of 4 epochs)" in words
    assert ("No epoch is stored yet" in words) == (epochs < 0)
    assert "baseline is not known" in words
    assert "INCOMPLETE" in capsys.readouterr().out


def test_a_study_of_one_cell_has_its_table_and_map(tmp_path):
    write(tmp_path / "s", {**SMALL, "k": [1]})
    assert main([str(tmp_path / "s")]) == 0
    assert {path.stem for path in (tmp_path / "s" / "figures").glob("*.png")} == {"activity-map-bernoulli"}
    assert "\u221217.29" in read_page(tmp_path / "s")[0].text


def test_a_dirty_tree_and_names_from_files_are_shown_as_text(tmp_path, monkeypatch):
    import planted

    monkeypatch.setattr(planted, "PROVENANCE", {**planted.PROVENANCE, "dirty": True, "device": "<script>x</script>"})
    write(tmp_path / "s", {**SMALL, "k": [1]})
    assert main([str(tmp_path / "s")]) == 0
    page, _ = read_page(tmp_path / "s")
    assert "script" not in page.tags
    assert "uncommitted changes" in page.text


def test_a_second_report_replaces_the_first(tmp_path):
    write(tmp_path / "s", {**SMALL, "k": [1]})
    (tmp_path / "s" / "report.html").write_text("old")
    assert main([str(tmp_path / "s")]) == 0
    assert (tmp_path / "s" / "report.html").read_text() != "old"


def test_bad_input_ends_with_2(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 2
    error = capsys.readouterr().err
    assert "no such folder" in error
    assert error.count("\n") == 1


def test_damaged_data_ends_with_3_and_names_the_file_without_a_traceback(tmp_path):
    write(tmp_path / "s")
    file = sorted((tmp_path / "s" / "epochs").iterdir())[1]
    file.write_bytes(file.read_bytes()[:100])
    done = subprocess.run([sys.executable, "-m", "analysis.report", str(tmp_path / "s")], capture_output=True, text=True)
    assert done.returncode == 3
    assert str(file) in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "s" / "report.html").exists()
