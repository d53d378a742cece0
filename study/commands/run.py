"""Parse the command line of `python -m study.run`, run the grid file and return the exit code."""

import argparse
from collections.abc import Sequence

from study.drive.executors import DEFAULT, EXECUTORS
from study.grid.grid import placed
from study.pipeline import run_grid
from study.plan.machine import MachineError
from workers.contract.errors import CommandError, DamagedDataError, DataError, StoreError, exit_code_of
from workers.contract.user_paths import expanded

INTERRUPTED = "interrupted; run the same command again to continue"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    words = _parser().parse_args(argv)
    return exit_code_of(lambda: carry_out(at_home(words)), INTERRUPTED, needs_output=is_for_its_output(words))


def is_for_its_output(words: argparse.Namespace) -> bool:
    """Return whether the command prints a plan, and does not train."""
    return bool(words.plan or words.calibrate)


def at_home(words: argparse.Namespace) -> argparse.Namespace:
    """Return the arguments with the home folder in the name of a cluster file: a shell leaves `--cluster=~/FILE` alone."""
    if getattr(words, "cluster", None):
        words.cluster = expanded(words.cluster)
    return words


def carry_out(words: argparse.Namespace) -> int:
    """Carry out the command with the parsed arguments of `add_words`; errors of the user are raised."""
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
        description="Run whatever is missing from a study: start it, resume it, extend it, or do nothing if all is done.",
        epilog="Exit codes: 0 all done; 1 ended, but some trials diverged, failed or are missing; 2 bad input; "
        "3 damaged data; 4 conflicting content; 130 interrupted.",
    )
    add_words(parser)
    return parser


def add_words(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("grid", help="path of the grid file, such as grid.yaml")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="override a setting of the grid file"
    )
    parser.add_argument("--out", help="folder or s3://bucket/prefix of all results, like --set run.out=OUT")
    parser.add_argument("--plan", action="store_true", help="print what would run, and stop")
    parser.add_argument(
        "--calibrate", action="store_true", help="measure how fast this machine's device is, then print the plan, and stop"
    )
    parser.add_argument("--only", action="append", default=[], metavar="FACTOR=LEVEL|TRIAL", help="run only these trials")
    parser.add_argument(
        "--smoke", action="store_true", help="run every cell with one seed for two epochs, as a separate study"
    )
    summaries = "; ".join(f"{name}: {entry.summary}" for name, entry in EXECUTORS.items())
    parser.add_argument("--executor", choices=tuple(EXECUTORS), default=DEFAULT, help=f"{summaries} (default: {DEFAULT})")
    parser.add_argument("--retry-failed", action="store_true", help="try failed trials again, from their last border")
    parser.add_argument(
        "--address",
        help="address of a Ray cluster, such as ray-head:6379, or local for this machine alone "
        "(default: RAY_ADDRESS, or else this machine's cluster, if any)",
    )
    parser.add_argument(
        "--cluster", metavar="FILE", help="run on the cluster that `ray up FILE` has started, and print its output here"
    )
