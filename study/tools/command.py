"""The `study` command: its subcommands and their words; each has a file of its own."""

import argparse
from collections.abc import Callable, Sequence

from study import cli
from study.cli import exit_code_of
from study.tools import doctor, export, logs, remove, status, stop, studies, submit, verify
from study.tools.folder import CommandError
from workers.store import StoreError

EXIT_CODES = (
    "Exit codes: 0 all well; 1 run: done, but trials diverged, failed or are missing; 2 bad input; 3 damaged data; "
    "4 conflicting content, or verify: a trial is different; 130 interrupted."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand."""
    words = _parser().parse_args(argv)
    carry_out: Callable[[argparse.Namespace], int] = words.carry_out
    if carry_out is cli.carry_out:
        return exit_code_of(lambda: carry_out(words))
    return exit_code_of(lambda: _with_disk_errors(carry_out, words), interrupted="interrupted")


def _with_disk_errors(carry_out: Callable[[argparse.Namespace], int], words: argparse.Namespace) -> int:
    try:
        return carry_out(words)
    except (BrokenPipeError, StoreError):  # a bucket's errors have their own words
        raise
    except OSError as error:
        where = error.filename or getattr(words, "out", None) or getattr(words, "grid", None) or getattr(words, "name", None)
        raise CommandError(
            f"{where}: cannot be read or written ({error.strerror or error}); check the disk, its space and its rights"
        ) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="study", description="Run, watch, check and hand on factorial studies.", epilog=EXIT_CODES
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    run = commands.add_parser("run", help="run what is missing of a study, like python -m study.run", epilog=EXIT_CODES)
    cli.add_words(run)
    run.set_defaults(carry_out=cli.carry_out)
    plan = commands.add_parser("plan", help="print what `study run` would run, and stop")
    cli.add_words(plan)
    plan.set_defaults(carry_out=cli.carry_out, plan=True)
    for name, module, what in (
        ("submit", submit, "run a study on a cluster: its driver runs there and outlives this command"),
        ("list", studies, "the studies on a cluster, or those below --out"),
        ("logs", logs, "what the driver of a study on a cluster says"),
        ("status", status, "how far a study has come, who drives it, what it takes, what to do next"),
        ("stop", stop, "ask the driver of a study to stop at the next borders"),
        ("verify", verify, "run sampled trials again and compare every number"),
        ("doctor", doctor, "check this machine, the results folder, the data, and every file of a study"),
        ("export", export, "one archive of a study's Parquet files, grid file, report and provenance"),
        ("rm", remove, "remove a study and all its files"),
    ):
        command = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.", epilog=EXIT_CODES)
        module.add_words(command)
        if module is submit:
            command.add_argument("--out", help="folder of all results there, or s3://bucket/prefix, like --set run.out=OUT")
        elif module is not logs:
            command.add_argument("--out", default="results", help="folder of all results (default: results)")
        command.set_defaults(carry_out=module.carry_out)
    return parser
