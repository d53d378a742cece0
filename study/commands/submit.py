"""Submit a study to a cluster (`study submit`, `study run --cluster`); its driver runs on the head and outlives this."""

import argparse
import secrets
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from study.cluster.service import add_place, jobs_at, place_words
from study.drive.executors import DEFAULT
from study.grid.design import trials_of
from study.grid.grid import Grid
from study.grid.selection import select
from workers.contract.errors import CommandError, DataError, printable_lines, say
from workers.contract.user_paths import expanded, quoted
from workers.data.images import known
from workers.store.keys import study_url


def add_words(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `study submit`; --out is the folder of all results on the cluster."""
    parser.add_argument("grid", help="path of the grid file, such as grid.yaml")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="override a setting of the grid file"
    )
    parser.add_argument("--only", action="append", default=[], metavar="FACTOR=LEVEL|TRIAL", help="run only these trials")
    parser.add_argument(
        "--smoke", action="store_true", help="run every cell with one seed for two epochs, as a separate study"
    )
    parser.add_argument("--retry-failed", action="store_true", help="try failed trials again, from their last border")
    add_place(parser)


def carry_out(words: argparse.Namespace) -> int:
    """Check the grid here, send it with the code, and print the commands to use next."""
    grid = _checked(words)
    where = place_words(words.address and quoted(words.address), words.cluster and quoted(words.cluster))
    with jobs_at(words.address, words.cluster) as client:
        _submitted(client, grid, words, where)
    return 0


def run_there(words: argparse.Namespace) -> int:
    """Submit the study, or follow the job that already runs it; print the driver's output and return its exit code."""
    from study.cluster.jobs import INTERRUPTED, follow, refuse_unstarted
    from study.cluster.ray_up_file import read_cluster
    from study.cluster.tunnel import head_of

    for option, is_given in (
        ("--plan", words.plan),
        ("--calibrate", words.calibrate),
        (f"--executor {words.executor}", words.executor != DEFAULT),
        ("--address", words.address),
    ):
        if is_given:
            raise CommandError(f"--cluster {words.cluster} and {option}: leave one of them out")
    grid = _checked(words)
    cluster = read_cluster(words.cluster)
    say(f"study {grid.study} on cluster {cluster.name} ({cluster.path}), head {head_of(cluster)}")
    where = place_words(None, quoted(words.cluster))
    with jobs_at(None, words.cluster) as client:
        job_id = _submitted(client, grid, words, where)
        try:
            job = follow(client, job_id, _write)
        except KeyboardInterrupt:
            say(
                f"\nstudy {grid.study} continues on the cluster; run the same command again to follow it; "
                f"`study stop {grid.study}{where}` stops it without losing what it has trained; "
                f"`ray down {quoted(words.cluster)}` takes the cluster down"
            )
            return INTERRUPTED
    refuse_unstarted(job)
    say(f"take the cluster down with `ray down {quoted(words.cluster)}`")
    return job.code


def _write(text: str) -> None:
    sys.stdout.write(printable_lines(text))
    sys.stdout.flush()


def _checked(words: argparse.Namespace) -> Grid:
    """Return the grid as the head will read it; its mistakes are reported before anything is sent."""
    from study.cluster.shipping import refuse_own_paths
    from study.pipeline import read_checked

    grid, _ = read_checked(words.grid, words.set, words.out, words.smoke)
    if words.only:
        with suppress(DataError):  # the user's own data may exist only on the cluster; then the head checks this
            select(trials_of(grid, known(grid.base.data).fingerprint), words.only)
    refuse_own_paths(grid)
    return grid


def _submitted(client: Any, grid: Grid, words: argparse.Namespace, where: str) -> str:
    """Return the id of the job that does this: one that is running already, or a new one."""
    from study.cluster import jobs
    from study.cluster.shipping import asked_for, entrypoint, options_of, pack_up
    from study.drive.summary import STOPPING

    out = grid.run.out
    options = options_of(out, words.set, words.only, words.smoke, words.retry_failed)
    asked = asked_for(grid, options)
    running = [job for job in jobs.studies(client) if job.is_running and (job.study, job.out) == (grid.study, out)]
    stopping = [job.job_id for job in running if STOPPING in jobs.log_of(client, job.job_id)]
    for job in running:
        if job.asked == asked and job.job_id not in stopping:
            say(f"study {grid.study} is already running as job {job.job_id}; nothing is submitted")
            _next_commands(grid, where, say)
            return job.job_id
    job_id = f"{grid.study}-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="study-submit-") as folder:
        sent = pack_up(Path(folder), Path(expanded(words.grid)))
        about = {"study": grid.study, "out": out, "asked": asked}
        jobs.submit(client, job_id, entrypoint(sent, options, out), Path(folder), about)
    say(f"study {grid.study} is submitted to {client.get_address()} as job {job_id}")
    if running:
        state = "is stopping" if running[0].job_id in stopping else "runs the study with other options"
        say(f"job {running[0].job_id} {state}; this one waits until it has ended, then runs what is left")
    _next_commands(grid, where, say)
    return job_id


def _next_commands(grid: Grid, where: str, say: Callable[[str], None]) -> None:
    say(f"output:                study logs {grid.study} --follow{where}")
    say(f"progress:              study status {quoted(study_url(grid.run.out, grid.study))}")
    say(f"stop without a loss:   study stop {grid.study}{where}")
