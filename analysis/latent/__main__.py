"""Draw and measure the latent space of stored models: `python -m analysis.latent results/quickstart`."""

import argparse
import sys
from collections.abc import Sequence

from analysis.latent.make import write_latent
from analysis.loading.load import load
from workers.contract.errors import DONE, exit_code_of, say


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit codes: 0 written, 2 bad input, 3 damaged data."""
    given = _parser().parse_args(arguments)
    return exit_code_of(lambda: _carry_out(given))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m analysis.latent", description=__doc__)
    parser.add_argument("study", help="folder of a study, such as results/quickstart; its trials must have ended")
    parser.add_argument("--root", help="folder of the data sets; default: the folder that the study names")
    parser.add_argument("--seed", type=int, help="seed whose models are shown; default: the first that has completed")
    return parser


def _carry_out(given: argparse.Namespace) -> int:
    study = load(given.study)
    written, lines = write_latent(study, given.root, given.seed)
    say("\n".join(f"{study.name}: {line}" for line in lines))
    for path in written:
        say(f"wrote {path}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
