"""`study logs`: print the output of a study's driver that runs, or ran, on a cluster."""

import argparse
import sys

from study.cluster.service import add_place, jobs_at
from workers.contract.errors import printable_lines


def add_words(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `study logs`."""
    parser.add_argument("name", metavar="NAME", help="a submitted study, or the id of its job")
    parser.add_argument("--follow", action="store_true", help="keep printing until it has ended; Ctrl-C leaves it running")
    add_place(parser)


def carry_out(words: argparse.Namespace) -> int:
    """Print the log; with --follow also what is still to come."""
    from study.cluster.jobs import find_job, follow, log_of, refuse_unstarted

    with jobs_at(words.address, words.cluster) as client:
        job = find_job(client, words.name)
        if words.follow:
            ended = follow(client, job.job_id, _write)
            refuse_unstarted(ended)
            return ended.code
        _write(log_of(client, job.job_id))
    return 0


def _write(text: str) -> None:
    sys.stdout.write(printable_lines(text))
    sys.stdout.flush()
