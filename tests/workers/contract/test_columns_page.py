"""docs/columns.md has every stored column as the code describes it; run as a script, this file prints its tables."""

import re

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


if __name__ == "__main__":
    for name, lines in expected().items():
        print(f"{name}\n", *lines, "", sep="\n")
