"""`study list`: list the studies on a cluster, or those below a folder of results."""

import argparse
from pathlib import Path

from study.cluster.service import add_place, jobs_at
from study.forecast.amounts import moment
from study.status.found_study import studies_in
from workers.contract.errors import CommandError, say
from workers.contract.user_paths import expanded, quoted
from workers.store.keys import study_url


def add_words(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `study list`."""
    add_place(parser)


def carry_out(words: argparse.Namespace) -> int:
    """Print one line per study."""
    if not words.address and not words.cluster:
        return _in_folder(words.out)
    from study.cluster.jobs import studies

    with jobs_at(words.address, words.cluster) as client:
        jobs = studies(client)
    newest = {(job.study, job.out): job for job in sorted(jobs, key=lambda job: job.is_running)}
    # Every running job; of a study that nobody is running, the last one.
    for job in [job for job in jobs if job.is_running or job is newest[job.study, job.out]]:
        since = f"since {moment(job.started)}" if job.started else "not started yet"
        ended = "" if job.exit_code is None else f" (exit code {job.exit_code})"
        say(f"{job.study}  {job.state.lower()}{ended}  {since}  job {job.job_id}  {study_url(job.out, job.study)}")
    if not jobs:
        say("no study has been submitted to this cluster; submit one with study submit GRID")
    return 0


def _in_folder(out: str) -> int:
    if "://" in out:
        raise CommandError(f"--out {out}: studies in a bucket cannot be listed; study status {quoted(out)}/NAME shows one")
    out = expanded(out)
    names = studies_in(Path(out))
    for name in names:
        say(f"{name}  {study_url(out, name)}")
    if not names:
        say(f"there is no study in {out}; start one with study run GRID")
    return 0
