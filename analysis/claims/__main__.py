"""Judge the paper's claims by a study, each with a verdict and its reason: `python -m analysis.claims results/paper`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.claims.judge import judge, stored_latent
from analysis.claims.reader import paper_claims, read_claims
from analysis.claims.verdict import markdown, to_frame
from analysis.loading.csv_text import csv_of
from analysis.loading.load import load
from workers.contract.errors import DONE, exit_code_of, one_line, say
from workers.contract.user_paths import expanded


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit codes: 0 judged, 2 bad input, 3 damaged data."""
    asked = _parser().parse_args(arguments)
    return exit_code_of(lambda: _carry_out(asked))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m analysis.claims", description=__doc__)
    parser.add_argument("study", help="folder of a study, such as results/paper; it may still be running")
    parser.add_argument("--claims", action="append", help="a file of claims instead of the paper's; may be repeated")
    parser.add_argument("--csv", help="also write the table of verdicts to this file")
    return parser


def _carry_out(asked: argparse.Namespace) -> int:
    claims = [claim for path in asked.claims for claim in read_claims(path)] if asked.claims else paper_claims()
    study = load(asked.study, vectors=True)
    verdicts = judge(study, claims, stored_latent(study))
    if asked.csv:
        Path(expanded(asked.csv)).write_bytes(csv_of(to_frame(verdicts)))
    counts = {
        word: sum(one.verdict == word for one in verdicts) for word in ("confirmed", "refuted", "undecided", "not testable")
    }
    say(f"{study.name}: " + ", ".join(f"{count} {word}" for word, count in counts.items()))
    for one in verdicts:
        say(one_line(markdown(one)))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
