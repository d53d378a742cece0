"""`study stop`: asks the driver of a study to stop at the next border of every running pack."""

import argparse

from study.cluster.service import add_place, jobs_at
from study.drive.lease import holder, sentence
from study.status.found_study import find_study, refuse_links
from workers.contract.errors import CommandError
from workers.store.keys import stop_key, study_url


def add_words(parser: argparse.ArgumentParser) -> None:
    """What may stand behind `study stop`."""
    parser.add_argument(
        "name", metavar="NAME", help="a study's name, the path of its folder, s3://bucket/prefix/name, or the id of a job"
    )
    add_place(parser)


def carry_out(words: argparse.Namespace) -> int:
    """Leave the key that workers look for at every border, or ask through the cluster."""
    if words.address or words.cluster:
        return _through_cluster(words)
    found = find_study(words.name, words.out)
    refuse_links(found)
    driver = holder(found.store)
    if driver is None:
        print(f"nobody runs study {found.name}; there is nothing to stop")
    elif not driver.alive:
        print(f"nobody runs study {found.name}: its last driver is gone without a word ({sentence(driver)})")
    elif found.store.create(stop_key(driver.lease.run_id), b""):
        print(
            f"asked the driver of study {found.name} to stop ({sentence(driver)}): every running pack goes on to its next "
            f"border, then the command ends; study status {found.url} shows when; the same command goes on later"
        )
    else:
        print(f"study {found.name} is asked to stop already ({sentence(driver)}); its packs go on to their next borders")
    return 0


def _through_cluster(words: argparse.Namespace) -> int:
    """Needs no access to the results: the cluster tells the driver."""
    from study.cluster import jobs

    with jobs_at(words.address, words.cluster) as client:
        newest = jobs.find_job(client, words.name)
        running = [job for job in jobs.studies(client) if job.is_running and words.name in (job.study, job.job_id)]
        if len(places := {job.out for job in running}) > 1:
            raise CommandError(
                f"study {words.name} runs {len(places)} times, with results in {' and '.join(sorted(places))}; "
                f"name the job: {', '.join(job.job_id for job in running)}"
            )
        # Those that wait for another one first: they would take its place.
        for job in reversed(running):
            jobs.stop(client, job.job_id)
            print(
                f"asked job {job.job_id} to stop: every running pack of study {job.study} goes on to its next border, then "
                f"the driver ends; study status {study_url(job.out, job.study)} shows when; the same command goes on later"
            )
        if not running:
            print(f"nobody runs study {newest.study} on this cluster; there is nothing to stop")
    return 0
