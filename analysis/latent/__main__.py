"""Draw and measure the latent space of stored models: `python -m analysis.latent results/quickstart`."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from analysis.figures.replace_file import or_elsewhere
from analysis.latent.make import write_latent
from analysis.loading.load import load
from workers.contract.errors import DONE, exit_code_of, say
from workers.contract.user_paths import expanded


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit codes: 0 written, 2 bad input, 3 damaged data."""
    given = _parser().parse_args(arguments)
    return exit_code_of(lambda: _carry_out(given), needs_output=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m analysis.latent", description=__doc__)
    parser.add_argument("study", help="folder of a study, such as results/quickstart; its trials must have ended")
    parser.add_argument("--root", help="folder of the data sets; default: the folder that the study names")
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        help="where the figures are written; default: the study's folder (give the report the same --out)",
    )
    parser.add_argument("--seed", type=int, help="seed whose models are shown; default: the first that has completed")
    return parser


def _carry_out(given: argparse.Namespace) -> int:
    study = load(given.study)
    if given.out:
        study = replace(study, path=Path(expanded(given.out)))
    with or_elsewhere():
        written, lines = write_latent(study, given.root, given.seed)
    say("\n".join(f"{study.name}: {line}" for line in lines))
    for path in written:
        say(f"wrote {path}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
