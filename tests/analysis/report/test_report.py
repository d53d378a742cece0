import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.averages.cell_table import cell_table, verdict
from analysis.averages.one_factor import contrast
from analysis.figures.catalogue import catalogue
from analysis.figures.paper import curve_picture
from analysis.figures.picture import Picture
from analysis.report import section
from analysis.report.__main__ import main
from analysis.report.latex import escape
from analysis.report.write import write_report
from tests.analysis.planted import SMALL, write

TWO = {**SMALL, "decoder": ["bernoulli", "gaussian"]}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("report") / "two"
    write(root, TWO, diverged={(5, 1): 2})
    assert main([str(root)]) == 0
    return root


def figures_of(root):
    """The names of all figures that the catalogue can draw of a study; tests/analysis/figures/test_catalogue.py lists them."""
    pictures = [entry.make() for entry in catalogue(load(root)) if not entry.is_part]
    return {picture.name for picture in pictures if picture is not None}


def test_each_figure_as_png_pdf_svg_and_the_csv_of_what_is_drawn(root):
    assert {path.stem for path in (root / "figures").glob("*.png")} == figures_of(root) > {"figure-2.2", "spectrum"}
    for name in figures_of(root):
        assert (root / "figures" / f"{name}.pdf").read_bytes()[:5] == b"%PDF-"
        assert "<svg" in (root / "figures" / f"{name}.svg").read_text()
        assert len(pd.read_csv(root / "figures" / f"{name}.csv"))
    study = load(root)
    drawn = curve_picture(study, contrast(study, "k", "gaussian"), "test_bound").table
    stored = pd.read_csv(root / "figures" / "figure-2.2-gaussian.csv", keep_default_na=False, na_values=[""])
    np.testing.assert_allclose(stored["mean"], drawn["mean"])
    assert stored["n"].tolist() == drawn["n"].tolist()
    assert not [path for path in (root / "figures").iterdir() if path.name.startswith(".")]


def test_no_two_files_of_a_report_share_a_name(tmp_path, monkeypatch):
    monkeypatch.setattr(Picture, "render", lambda self, kinds, width_mm=None: {"png": b""})
    write(tmp_path / "s", {**TWO, "batch_norm": [False, True]})
    study = load(tmp_path / "s")
    written = write_report(study)
    assert [path.name for path in written if written.count(path) > 1] == []
    of_both = {f"{name}-nll-gaussian.csv" for name in ("interactions", "interaction-effects")}
    assert of_both <= {path.name for path in written}, "a figure and a table that had one name"
    on_request = {picture.name for entry in catalogue(study) if entry.is_part and (picture := entry.make())}
    assert on_request
    assert not on_request & {path.stem for path in written}


def test_tables_as_csv_and_latex(root):
    for name in ("cells-bernoulli", "cells-gaussian", "missing", "cost", "factors", "provenance"):
        assert len(pd.read_csv(root / "figures" / f"{name}.csv"))
        lines = (root / "figures" / f"{name}.tex").read_text().splitlines()
        assert lines[1].startswith("\\begin{tabular}{")
        columns = lines[1].split("{")[2].count("r") + lines[1].split("{")[2].count("l")
        assert {"\\toprule", "\\midrule", "\\bottomrule", "\\end{tabular}"} <= set(lines)
        body = lines[3 : lines.index("\\bottomrule")]
        assert all(line.count(" & ") == columns - 1 for line in body if line != "\\midrule")
    assert escape("a_b & 5% of $1 #2 {n_z} 2 ± 1") == r"a\_b \& 5\% of \$1 \#2 \{$n_z$\} 2 $\pm$ 1"


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.loads, self.tags, self.text, self.anchors = [], [], "", []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.anchors += [value for name, value in attributes if name == "id"]
        self.loads += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data):
        self.text += data


def read_page(root):
    page = Page()
    text = (root / "report.html").read_text()
    page.feed(text)
    return page, text


def test_the_page_needs_nothing_else_and_its_links_lead_somewhere(root):
    page, text = read_page(root)
    images = [value for value in page.loads if value.startswith("data:image/png;base64,")]
    links = [value for value in page.loads if value.startswith("#")]
    assert len(images) == len(figures_of(root))
    assert sorted(page.loads) == sorted([*images, *links, "data:,"])
    assert {link[1:] for link in links} <= set(page.anchors)
    assert len(page.anchors) == len(set(page.anchors))
    assert {"figure-2.1", "study-and-provenance", "completeness", "cells", "cost"} <= {link[1:] for link in links}
    assert not {"script", "iframe", "object", "embed"} & set(page.tags)
    assert not re.search(r"url\(|@import|https?://", re.sub(r"base64,[^\"]*", "", text))
    assert "@media print" in text


def test_the_summary_is_the_same_in_markdown(root):
    text = (root / "report.md").read_text()
    assert text.startswith("# two\n")
    assert "Complete: all 12 trials have ended, 2 of them diverged." in text
    for name in re.findall(r"\]\((figures/[^)]*)\)", text):
        assert (root / name).is_file()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert any("no batch norm" in row or "K = 1" in row for row in rows)


def test_the_page_says_what_it_rests_on(root):
    words = read_page(root)[0].text.replace("\n", " ")
    assert "Complete: all 12 trials have ended, 2 of them diverged." in words
    assert "diverged after epoch 2" in words
    # n_z is printed with its z below.
    assert "Base cell: Bernoulli decoder, no batch norm, no warm-up, nz = 3" in words
    # With three seeds the seeds themselves are drawn, and the half-widths of the tables are intervals.
    assert "all on one fixed test set" in words
    assert "half-width of its 95% t interval" in words
    assert "n = 2 to 3 of 3" in words
    assert "K = 5: seed 1 diverged after epoch 2" in words
    for value in ("6b0292a", "2.11.0", "cpu", "numpy-philox", "ab" * 32):
        assert value in words


def test_captions_change_with_the_seeds(tmp_path):
    write(tmp_path / "a", SMALL)
    write(tmp_path / "b", SMALL, done=lambda s: -1 if (s["k"], s["seed"]) == (5, 2) else 4)
    captions = []
    for name in "ab":
        study = load(tmp_path / name)
        captions.append(curve_picture(study, contrast(study, "k"), "active_units").caption)
    assert "n = 3 seeds per curve" in captions[0]
    assert "n = 2 to 3 of 3 seeds per curve" in captions[1]
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
    assert main([str(tmp_path / "s"), "--format", "png"]) == 0
    words = read_page(tmp_path / "s")[0].text
    assert "INCOMPLETE: 0 of 12 trials have ended" in words
    assert f"unfinished ({max(epochs, 0)} of 4 epochs)" in words
    assert ("No epoch has been stored yet" in words) == (epochs < 0)
    assert bool(list((tmp_path / "s" / "figures").glob("*.png"))) == (epochs >= 0)
    assert "baseline is unknown" in words
    assert "INCOMPLETE" in capsys.readouterr().out


def test_a_study_of_one_cell_has_its_table_and_map(tmp_path):
    write(tmp_path / "s", {**SMALL, "k": [1]})
    assert main([str(tmp_path / "s"), "--format", "png"]) == 0
    drawn = {path.stem for path in (tmp_path / "s" / "figures").glob("*.png")}
    assert drawn == figures_of(tmp_path / "s") > {"figure-3.3", "kl-map"}
    assert "\u221217.29" in read_page(tmp_path / "s")[0].text


def test_a_dirty_tree_and_names_from_files_are_shown_as_text(tmp_path, monkeypatch):
    from tests.analysis import planted

    monkeypatch.setattr(planted, "PROVENANCE", {**planted.PROVENANCE, "dirty": True, "device": "<script>x</script>"})
    write(tmp_path / "s", {**SMALL, "k": [1]})
    assert main([str(tmp_path / "s"), "--format", "png"]) == 0
    page, _ = read_page(tmp_path / "s")
    assert "script" not in page.tags
    assert "uncommitted changes" in page.text


def test_a_second_report_replaces_the_first(tmp_path):
    write(tmp_path / "s", {**SMALL, "k": [1]})
    (tmp_path / "s" / "report.html").write_text("old")
    assert main([str(tmp_path / "s"), "--format", "png"]) == 0
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
    assert "--skip-bad" in done.stderr


# --- options ------------------------------------------------------------------------------------------------------------


def test_skip_bad_reports_what_is_whole_and_says_what_is_gone(tmp_path, capsys):
    write(tmp_path / "s", {**SMALL, "k": [1]})
    write(tmp_path / "s", {**SMALL, "k": [5]}, entry=2)
    file = sorted((tmp_path / "s" / "epochs").iterdir())[-1]
    file.write_bytes(file.read_bytes()[:100])
    assert main([str(tmp_path / "s"), "--skip-bad", "--format", "png"]) == 1
    page = read_page(tmp_path / "s")[0]
    assert f"Left out: epochs/{file.name}: damaged" in page.text
    assert "are in a file that cannot be read" in page.text
    assert f"Left out: epochs/{file.name}" in capsys.readouterr().out
    assert f"Left out: epochs/{file.name}" in (tmp_path / "s" / "report.md").read_text().replace("\\", "")


def test_one_figure_by_its_number_at_a_width(tmp_path, capsys):
    write(tmp_path / "s", TWO)
    assert main([str(tmp_path / "s"), "--figure", "2.2-gaussian", "--width", "85", "--format", "svg"]) == 0
    assert {path.name for path in (tmp_path / "s" / "figures").iterdir()} == {
        *("figure-2.2-gaussian.svg", "figure-2.2-gaussian.csv")
    }
    assert not (tmp_path / "s" / "report.html").exists()
    assert "figure-2.2-gaussian.svg" in capsys.readouterr().out
    width = re.search(r'width="([0-9.]+)pt"', (tmp_path / "s" / "figures" / "figure-2.2-gaussian.svg").read_text())[1]
    assert float(width) / 72 * 25.4 == pytest.approx(85, abs=0.1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--figure", "9.9"], "--figure 9.9: the study has no such figure"),
        (["--format", "gif"], "--format: got gif; allowed: png, pdf, svg"),
        (["--width", "5"], "--width: got 5; allowed: 50 to 1000 mm"),
        (["--labels", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
    ],
    ids=["figure", "format", "width", "labels"],
)
def test_options_that_cannot_be_are_one_sentence_and_2(tmp_path, capsys, options, words):
    write(tmp_path / "s", {**SMALL, "k": [1]})
    assert main([str(tmp_path / "s"), *options]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_labels_of_the_folder_rename_levels_in_figures_and_tables(tmp_path):
    write(tmp_path / "s", SMALL)
    (tmp_path / "s" / "labels.yaml").write_text(
        'factors: {k: "objective"}\nlevels: {k: {1: "VAE ($1)", 5: IWAE}, decoder: {bernoulli: Bern}}\n'
    )
    assert main([str(tmp_path / "s"), "--format", "svg"]) == 0
    drawn = (tmp_path / "s" / "figures" / "figure-2.2.svg").read_text()
    assert "VAE ($1)" in drawn
    assert "Test bound by objective" in drawn
    words = read_page(tmp_path / "s")[0].text
    assert "Base cell: Bern, no batch norm" in words
    assert "VAE ($1)" in words
    # Claims keep the words of the paper.
    before_claims = words[: words.rindex("Claims of the paper")]
    assert "K = 5" not in before_claims


def test_long_work_shows_what_it_does(tmp_path):
    from analysis.report.write import write_report

    write(tmp_path / "s", {**SMALL, "k": [1]})
    said = []
    write_report(load(tmp_path / "s"), ["png"], say=said.append)
    assert [line.split(":")[0] for line in said if line.startswith("section")][-1].startswith("section")
    assert any(re.fullmatch(r"figure 1 of \d+: figure-3\.3", line) for line in said)


def test_sections_of_others_are_added_in_one_line(tmp_path, monkeypatch):
    from analysis.report import write as report

    def mine(study):
        table = section.Table("mine", "My numbers", pd.DataFrame({"x": [1.23456, -2.0]}), words="Said above it.")
        return section.Section("My <section>", "One.\n\nTwo.", (), [table])

    monkeypatch.setattr(report, "SECTIONS", (mine, lambda study: None))
    write(tmp_path / "s", {**SMALL, "k": [1]})
    assert main([str(tmp_path / "s"), "--format", "png"]) == 0
    page = read_page(tmp_path / "s")[0]
    for words in ("My <section>", "One.", "Two.", "Said above it.", "1.235", "\u22122"):
        assert words in page.text
    assert (tmp_path / "s" / "figures" / "mine.csv").is_file()
    assert (tmp_path / "s" / "figures" / "mine.tex").is_file()


@pytest.mark.parametrize(
    ("texts", "is_number"),
    [
        (["1.5", "\u22122"], True),
        (["1.5", section.NONE], True),
        (["1.5", ""], True),
        (["", ""], False),
        (["seed 1 diverged", ""], False),
        ([], False),
    ],
)
def test_columns_of_numbers_are_aligned_to_the_right(texts, is_number):
    shown = pd.DataFrame({"remarks": pd.Series(texts, dtype=object)})
    assert section.Table("mine", "My numbers", shown, shown).numeric == [is_number]


def test_the_same_study_gives_the_same_figures(tmp_path):
    write(tmp_path / "s", {**SMALL, "k": [1]})
    files = []
    for _ in range(2):
        assert main([str(tmp_path / "s"), "--figure", "spectrum"]) == 0
        files.append({path.name: path.read_bytes() for path in (tmp_path / "s" / "figures").iterdir()})
    assert files[0] == files[1]
