"""Tables of the page keep every digit: numbers are not broken, wide tables scroll, and narrow windows show rows as lists."""

from html.parser import HTMLParser

import pandas as pd

from analysis import load
from analysis.report.html import page
from analysis.report.section import Section, Table
from tests.analysis.planted import SMALL, write


class Cells(HTMLParser):
    """The attributes of every entry and the boxes that it lies in."""

    def __init__(self):
        super().__init__()
        self.open, self.cells, self.texts, self.heads = [], [], [], 0

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag in ("div", "table", "td"):
            self.open.append(found.get("class", ""))
        if tag == "td":
            self.cells.append((found, tuple(self.open)))
            self.texts.append("")
        self.heads += tag == "th"

    def handle_endtag(self, tag):
        if tag in ("div", "table", "td"):
            self.open.pop()

    def handle_data(self, data):
        if self.texts and len(self.open) > 1:
            self.texts[-1] += data


def test_every_entry_names_its_column_and_numbers_are_never_broken(tmp_path):
    write(tmp_path / "s", SMALL)
    remark = "seed 1 diverged after epoch 2 at k=5, and more"
    shown = pd.DataFrame({"n_z": ["50"], "test bound": ["\u221222.41 \u00b1 0.69"], "missing": [""], "remarks": [remark]})
    study = load(tmp_path / "s")
    text = page(study, [Section("A", tables=[Table("t", "T", shown, shown)])], {}, "made")
    parsed = Cells()
    parsed.feed(text)
    assert [found["data-of"] for found, _ in parsed.cells] == ["n_z", "test bound", "missing", "remarks"]
    assert [found.get("class") for found, _ in parsed.cells] == ["number", "number", "short", "text"]
    assert all("wide" in boxes for _, boxes in parsed.cells)
    assert parsed.texts[1] == "\u221222.41 \u00b1 0.69"
    # An empty entry has no content, so that lists in narrow windows leave it out.
    assert '<td class="short" data-of="missing"></td>' in text
    style = text[text.index("<style>") : text.index("</style>")].replace("\n", "")
    assert ".wide{overflow-x:auto" in style
    assert "td.number,td.short{white-space:nowrap}" in style
    assert "content:attr(data-of)" in style
    assert "th{border-bottom:2px solid #999;white-space:nowrap" not in style
