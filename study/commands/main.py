"""Parse the command line of `study` and call the subcommand; each has its own file."""

import argparse
from collections.abc import Sequence

from study.commands import doctor, export, list_studies, logs, remove, run, status, stop, submit, verify
from workers.contract.errors import exit_code_of

EXIT_CODES = (
    "Exit codes: 0 success; 1 run: ended, but some trials diverged, failed or are missing; 2 bad input; 3 damaged data; "
    "4 conflicting content, or verify: a trial differs; 130 interrupted."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit code."""
    words = _parser().parse_args(argv)
    is_run = words.carry_out is run.carry_out
    interrupted = run.INTERRUPTED if is_run else "interrupted"
    needs_output = run.is_for_its_output(words) if is_run else words.needs_output
    return exit_code_of(lambda: int(words.carry_out(run.at_home(words))), interrupted, needs_output=needs_output)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="study", description="Run, watch, check and share factorial studies.", epilog=EXIT_CODES
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    what = "run whatever is missing from a study, like python -m study.run"
    command = commands.add_parser("run", help=what, epilog=EXIT_CODES)
    run.add_words(command)
    command.set_defaults(carry_out=run.carry_out)
    plan = commands.add_parser("plan", help="print what `study run` would run, and stop")
    run.add_words(plan)
    plan.set_defaults(carry_out=run.carry_out, plan=True)
    for name, module, what in (
        ("submit", submit, "run a study on a cluster: its driver runs there and outlives this command"),
        ("list", list_studies, "list the studies on a cluster, or those below --out"),
        ("logs", logs, "print the output of a study's driver on a cluster"),
        ("status", status, "show how far a study has come, who drives it, how large it is, and what to do next"),
        ("stop", stop, "ask the driver of a study to stop without losing what it has trained"),
        ("verify", verify, "train a sample of trials again and compare every number"),
        ("doctor", doctor, "check this machine, the results folder, the data, and every file of a study"),
        ("export", export, "write an archive with a study's Parquet files, grid file, report and provenance"),
        ("rm", remove, "remove a study and all its files"),
    ):
        command = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.", epilog=EXIT_CODES)
        module.add_words(command)
        if module is submit:
            there = "folder of all results on the cluster, or s3://bucket/prefix, like --set run.out=OUT"
            command.add_argument("--out", help=there)
        elif module is not logs:
            command.add_argument("--out", default="results", help="folder of all results (default: results)")
        command.set_defaults(carry_out=module.carry_out, needs_output=module in (status, list_studies, logs, doctor))
    return parser
