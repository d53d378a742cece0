"""docs/columns.md has every stored column as the code describes it; run as a script, this file prints its tables."""

import re

import pandas as pd
import pytest

from tests import ROOT
from workers.contract.columns import EPOCH_COLUMNS, PLAN_COLUMNS, TRIAL_COLUMNS

PAGE = ROOT / "docs" / "columns.md"
HEADINGS = {"epochs": EPOCH_COLUMNS, "trials": TRIAL_COLUMNS, "plan": PLAN_COLUMNS}
HEAD = ["| column | unit | one value per | better | meaning |", "|---|---|---|---|---|"]


def table(columns):
    for column in columns:
        better = "" if column.better == "neither" else column.better
        yield f"| `{column.name}` | {column.unit} | {column.per} | {better} | {column.about} |"


def tables_on(page: str) -> dict[str, list[str]]:
    """The lines of the tables below each heading that is a folder's name."""
    parts = re.split(r"^## `(\w+)/`.*$", page, flags=re.MULTILINE)[1:]
    return {name: re.findall(r"^\|.*$", text, re.MULTILINE) for name, text in zip(parts[::2], parts[1::2], strict=True)}


def expected() -> dict[str, list[str]]:
    return {name: [*HEAD, *table(columns)] for name, columns in HEADINGS.items()}


def test_the_page_has_the_tables_of_the_code():
    assert tables_on(PAGE.read_text()) == expected()


@pytest.mark.parametrize(
    ("old", "new"),
    [("| `nll` | nats per example |", "| `nll` | nats |"), ("| `ess` |", "| `planted` |"), ("lower", "higher")],
)
def test_another_page_is_seen(old, new):
    page = PAGE.read_text()
    assert old in page
    assert tables_on(page.replace(old, new)) != expected()


def test_the_example_of_the_page_reads_a_study(tmp_path, monkeypatch):
    """The code between the fences runs on files of these columns."""
    (code,) = re.findall(r"```python\n(.+?)```", PAGE.read_text(), re.DOTALL)
    for name in ("epochs", "trials"):
        folder = tmp_path / "results" / "quickstart" / name
        folder.mkdir(parents=True)
        numbers = {column.name: [1.0, 2.0] for column in HEADINGS[name]}
        vectors = {column.name: [[0.5, 0.0], [0.25, 1.0]] for column in HEADINGS[name] if column.is_vector}
        rows = {"trial_id": ["a", "b"], "status": ["completed", "diverged"], "epoch": [0, 1], "n_z": [50, 50]}
        pd.DataFrame(numbers | vectors | {key: rows[key] for key in rows if key in numbers}).to_parquet(folder / "a.parquet")
    monkeypatch.chdir(tmp_path)
    found: dict = {}
    exec(code, found)
    assert found["last"]["epoch"].tolist() == [0, 1]
    assert found["activity"].shape == (2, 2)
    assert found["completed"]["trial_id"].tolist() == ["a"]


if __name__ == "__main__":
    for name, lines in expected().items():
        print(f"{name}\n", *lines, "", sep="\n")
