"""Recomputes every number of a report from the Parquet files and compares it with the CSV tables of figures/,
and every number in the sentences of "What was found" in report.md.

python -m tests.independent.recompute_report results/NAME [--only TABLE] [--show 5]

It prints one line per table and exits with 1 if a number differs. Nothing of analysis, study or workers is imported: the
formulas are those of docs/statistics.md, of the captions and of textbooks.
"""

import argparse
import sys
from fnmatch import fnmatch
from pathlib import Path

import pandas as pd

from tests.independent.claims import claims, untested
from tests.independent.comparing import Comparison, NotRecomputed
from tests.independent.figures import FIGURES
from tests.independent.findings import findings
from tests.independent.latent import LATENT
from tests.independent.stored import stored
from tests.independent.tables import TABLES

NO_NUMBERS = ("factors", "missing", "provenance")
CLAIMS = {"claims": claims, "claims-untested": untested}
SUMMARY = "report"
"""The name of report.md for --only."""


def compare(folder: Path, only: str = "*") -> tuple[list[Comparison], list[str]]:
    """Compare every table of a study, or those of this name; return the comparisons, and the names of tables that were not recomputed."""
    study, found, left = stored(folder), [], []
    for path in sorted((folder / "figures").glob(f"{only}.csv")):
        if path.stem in NO_NUMBERS:
            continue
        table = pd.read_csv(path)
        known = next((one for start, one in {**FIGURES, **LATENT}.items() if path.stem.startswith(start)), None)
        known = known or CLAIMS.get(path.stem) or TABLES.get(path.stem.partition("-")[0])
        if known is None:
            left.append(path.name)
        elif len(table):
            try:
                found.append(known(study, path, table))
            except NotRecomputed as why:
                left.append(f"{path.name}: {why}")
            except KeyError as column:
                # A report of a former version may have left the file.
                found.append(Comparison(path.name))
                found[-1].wrong.append(f"has no column {column}; make the report again in an empty folder of figures")
    if fnmatch(SUMMARY, only) and (folder / f"{SUMMARY}.md").exists():
        found.append(findings(study, folder / f"{SUMMARY}.md"))
    return found, left + [f"{one.table} {row}" for one in found for row in one.left]


def main(arguments: list[str] | None = None) -> int:
    """Print one line per table and the first differences; return the exit code."""
    parser = argparse.ArgumentParser(description="Recompute a report from the stored files")
    parser.add_argument("study", type=Path, help="folder of a study with its figures/")
    parser.add_argument("--show", type=int, default=3, help="differences to print per table")
    parser.add_argument("--only", default="*", help="name of a table without .csv, or report; * stands for any letters")
    asked = parser.parse_args(arguments)
    found, left = compare(asked.study, asked.only)
    for one in found:
        print(one)
        for line in one.wrong[: asked.show]:
            print(f"    DIFFERS {line}")
        if len(one.wrong) > asked.show:
            print(f"    and {len(one.wrong) - asked.show} more")
    wrong = sum(len(one.wrong) for one in found)
    print(f"{len(found)} tables, {sum(one.numbers for one in found)} numbers, {wrong} differ")
    print("not recomputed:", "; ".join(left) or "none")
    return 1 if wrong or not found else 0


if __name__ == "__main__":
    sys.exit(main())
