"""`study stop`: ask the driver of a study to stop once every running pack has stored what it has."""

import argparse

from study.cluster.service import add_place, jobs_at
from study.drive.lease import glance, sentence
from study.status.found_study import find_study, refuse_links
from workers.contract.errors import CommandError, say
from workers.contract.user_paths import quoted
from workers.store.keys import stop_key, study_url


def add_words(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `study stop`."""
    parser.add_argument(
        "name", metavar="NAME", help="a study's name, the path of its folder, s3://bucket/prefix/name, or the id of a job"
    )
    add_place(parser)


def carry_out(words: argparse.Namespace) -> int:
    """Store the key that workers look for at every border, or ask through the cluster."""
    if words.address or words.cluster:
        return _through_cluster(words)
    found = find_study(words.name, words.out)
    refuse_links(found)
    driver = glance(found.store, say)
    if driver is None:
        say(f"nobody is running study {found.name}; there is nothing to stop")
        return 0
    if driver.is_here and not driver.alive:
        say(f"nobody is running study {found.name}; its last driver ended without notice ({sentence(driver)})")
        return 0
    # A driver elsewhere that is silent may only sleep. If it does not, nobody reads the key.
    is_new = found.store.create(stop_key(driver.lease.run_id), b"")
    if not driver.alive:
        say(f"the driver of study {found.name} is silent ({sentence(driver)}); if it only sleeps, it stops when it wakes")
    elif is_new:
        say(
            f"asked the driver of study {found.name} to stop ({sentence(driver)}): every running pack stores "
            f"what it has after its current epoch, then the command ends; study status {quoted(found.url)} shows when; "
            "to continue later, run the study again"
        )
    else:
        say(f"study {found.name} was already asked to stop ({sentence(driver)}); it ends when its packs have stored all")
    return 0


def _through_cluster(words: argparse.Namespace) -> int:
    """Ask through the cluster, which needs no access to the results."""
    from study.cluster import jobs

    with jobs_at(words.address, words.cluster) as client:
        newest = jobs.find_job(client, words.name)
        running = [job for job in jobs.studies(client) if job.is_running and jobs.is_named(job, words.name)]
        if len(places := {job.out for job in running}) > 1:
            raise CommandError(
                f"study {words.name} is running {len(places)} times, with results in {' and '.join(sorted(places))}; "
                f"name the job: {', '.join(job.job_id for job in running)}"
            )
        # Jobs that wait for another one come first: they would take its place.
        for job in reversed(running):
            jobs.stop(client, job.job_id)
            say(
                f"asked job {job.job_id} to stop: every running pack of study {job.study} stores what it has after its "
                f"current epoch, then the driver ends; study status {quoted(study_url(job.out, job.study))} shows when; "
                "to continue later, run the study again"
            )
        if not running:
            say(f"nobody is running study {newest.study} on this cluster; there is nothing to stop")
    return 0
