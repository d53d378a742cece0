"""The command line of `python -m study.run`: reads words, prints sentences, returns exit codes."""

import argparse
from collections.abc import Sequence

from study.drive.executors import DEFAULT, EXECUTORS
from study.grid.grid import placed
from study.pipeline import run_grid
from study.plan.machine import MachineError
from workers.contract.errors import CommandError, DamagedDataError, DataError, StoreError, exit_code_of

INTERRUPTED = "interrupted; run the same command again to continue"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit codes are those of the README."""
    words = _parser().parse_args(argv)
    return exit_code_of(lambda: carry_out(words), INTERRUPTED)


def carry_out(words: argparse.Namespace) -> int:
    """What the command does with the words of `add_words`; errors of the user are raised."""
    try:
        if words.cluster:
            from study.commands.submit import run_there

            return run_there(words)
        return run_grid(
            words.grid,
            sets=words.set,
            out=words.out,
            only=words.only,
            is_smoke=words.smoke,
            plan_only=words.plan or words.calibrate,
            is_calibrating=words.calibrate,
            executor=words.executor,
            address=words.address,
            retry_failed=words.retry_failed,
        )
    except DamagedDataError:
        raise
    except (MachineError, StoreError, DataError) as error:
        raise CommandError(placed(str(error), words.grid, words.set, words.out)) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m study.run",
        description="Run what is missing of a study: start, resume, extend, or do nothing if all is done.",
        epilog="Exit codes: 0 all done; 1 done, but trials diverged, failed or are missing; 2 bad input; 3 damaged data; "
        "4 conflicting content; 130 interrupted.",
    )
    add_words(parser)
    return parser


def add_words(parser: argparse.ArgumentParser) -> None:
    """What may stand behind the command."""
    parser.add_argument("grid", help="the grid file, like grid.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting that wins over the file")
    parser.add_argument("--out", help="folder of all results or s3://bucket/prefix, like --set run.out=OUT")
    parser.add_argument("--plan", action="store_true", help="print what would run, and stop")
    parser.add_argument("--calibrate", action="store_true", help="measure this machine's device first, for --plan to go by")
    parser.add_argument("--only", action="append", default=[], metavar="FACTOR=LEVEL|TRIAL", help="a part of the trials")
    parser.add_argument("--smoke", action="store_true", help="every cell, one seed, two epochs, into a study of its own")
    summaries = "; ".join(f"{name}: {entry.summary}" for name, entry in EXECUTORS.items())
    parser.add_argument("--executor", choices=tuple(EXECUTORS), default=DEFAULT, help=f"{summaries} (default: {DEFAULT})")
    parser.add_argument("--retry-failed", action="store_true", help="try failed trials again, from their last border")
    parser.add_argument(
        "--address", help="of a Ray cluster, like ray-head:6379, or local; default: RAY_ADDRESS, this machine's"
    )
    parser.add_argument("--cluster", metavar="FILE", help="on the cluster that `ray up FILE` has started, shown here")
