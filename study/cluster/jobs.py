"""Submit studies to a Ray cluster as jobs (Ray Jobs), and list, follow and stop them; each driver runs on the head."""

import asyncio
import logging
import os
import posixpath
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from study.cluster.join import find_cluster
from study.cluster.local_ray import quiet_environment
from study.cluster.named import Named, knock
from study.cluster.open_ports import (
    MAKE_A_TOKEN,
    close_token_file,
    is_loopback,
    is_open_beyond_loopback,
    refuse_shut_cluster,
    status_without_token,
)
from workers.contract.errors import CommandError
from workers.contract.version import PACKAGE

RUNNING = ("PENDING", "RUNNING")

STOP_WAIT_S = 3600
"""Seconds that a driver has to store what was trained after it was asked to stop; then Ray kills it."""

TALKATIVE = ("ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging")

NOT_YET = "No available agent to submit job"
"""Ray's message while a head that has only just started is not ready yet."""

START_WITHIN_S = 60.0

LOST_AFTER_S = 60.0

INTERRUPTED = 130

NONE_NAMED = (
    "no cluster is named; give --address http://127.0.0.1:8265 (a dashboard) or --cluster cluster.yaml, or set RAY_ADDRESS "
    "in the environment"
)


@dataclass(frozen=True)
class StudyJob:
    """A submitted driver, running or not."""

    job_id: str
    study: str
    out: str
    asked: str
    """Equal for two jobs that would do the same work."""
    state: str
    """Ray's job status: PENDING | RUNNING | SUCCEEDED | FAILED | STOPPED."""
    started: float
    """Seconds since 1970 by the head's clock; 0 until the driver has started."""
    exit_code: int | None
    message: str

    @property
    def is_running(self) -> bool:
        """Whether the driver has not ended yet."""
        return self.state in RUNNING

    @property
    def code(self) -> int:
        """The exit code that `study run` would have returned."""
        if self.exit_code is not None:
            return self.exit_code
        return {"SUCCEEDED": 0, "STOPPED": INTERRUPTED}.get(self.state, 1)


def connect(address: str | None) -> Any:
    """Return a client for the jobs of a cluster.

    Args:
        address: address of its dashboard or its head; `auto` or None mean RAY_ADDRESS, or else this machine's cluster.

    Raises:
        CommandError: no cluster answers, it rejects this client, or it admits everybody.
    """
    dashboard = _dashboard(address)
    url = dashboard.address
    _prepare_token(dashboard)
    quiet_environment()
    # Ray would prefer these variables to the address that it is given.
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        os.environ.pop(name, None)
    with _in_a_sentence(url):
        from ray.job_submission import JobSubmissionClient

        return JobSubmissionClient(url)


def submit(client: Any, job_id: str, entrypoint: str, folder: Path, metadata: Mapping[str, str]) -> None:
    """Start a driver on the head with the code in `folder`.

    Raises:
        CommandError: the cluster refuses the job.
    """
    failures = _failures()
    until = time.monotonic() + START_WITHIN_S
    while True:
        try:
            client.submit_job(
                entrypoint=entrypoint,
                submission_id=job_id,
                # The head has no cores to give.
                entrypoint_num_cpus=0,
                runtime_env={"working_dir": str(folder), "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}},
                metadata={"project": PACKAGE, **metadata},
            )
            return
        except failures as error:
            if NOT_YET not in str(error) or time.monotonic() > until:
                raise _refused(client.get_address(), error) from error
        time.sleep(1)


def studies(client: Any) -> list[StudyJob]:
    """Return every job that is a study, oldest first.

    Raises:
        CommandError: the cluster does not answer.
    """
    with _in_a_sentence(client.get_address()):
        jobs = client.list_jobs()
    found = [_study_job(job) for job in jobs if (job.metadata or {}).get("project") == PACKAGE and job.submission_id]
    return sorted(found, key=lambda job: (job.started or float("inf"), job.job_id))


def find_job(client: Any, name: str) -> StudyJob:
    """Return the job with this id, or the running job of the study with this name, or else that study's newest job.

    Raises:
        CommandError: there is no such job.
    """
    jobs = studies(client)
    named = [job for job in jobs if is_named(job, name)]
    if not named:
        there = ", ".join(dict.fromkeys(job.study for job in jobs))
        raise CommandError(f"no such study on the cluster: {name}; studies there: {there or 'none'}; see study list")
    # A running job comes before one that waits for it.
    return max(named, key=lambda job: (job.state == "RUNNING", job.is_running, job.started or float("inf")))


def is_named(job: StudyJob, name: str) -> bool:
    """Return whether this is the id of a job or the name of its study, which may be spelled as a path, such as s/ or ./s."""
    return posixpath.normpath(name) in (job.job_id, job.study)


def refuse_unstarted(job: StudyJob) -> None:
    """Refuse a job that failed before its command ended.

    Raises:
        CommandError: the job failed in this way; the text gives Ray's reason.
    """
    if job.exit_code is None and job.state == "FAILED":
        raise CommandError(f"job {job.job_id} failed before its command ended: {' '.join(job.message.split())[:500]}")


def log_of(client: Any, job_id: str) -> str:
    """Return what the driver has printed so far.

    Raises:
        CommandError: the cluster does not answer.
    """
    with _in_a_sentence(client.get_address()):
        return str(client.get_job_logs(job_id))


def stop(client: Any, job_id: str) -> bool:
    """Ask a driver to stop once its packs have stored what they have; return False if it has already ended.

    Raises:
        CommandError: the cluster does not answer.
    """
    with _in_a_sentence(client.get_address()):
        return bool(client.stop_job(job_id))


def follow(client: Any, job_id: str, write: Callable[[str], None]) -> StudyJob:
    """Write what the driver prints as it appears; return the job when it has ended.

    Raises:
        CommandError: the cluster has stopped answering.
    """
    failures = _failures()
    seen, heard = 0, time.monotonic()
    while True:
        try:
            seen = asyncio.run(_tail(client, job_id, seen, write))
            job = _study_job(client.get_job_info(job_id))
            heard = time.monotonic()
        except (BrokenPipeError, UnicodeError):
            raise  # from what we write to, not from the cluster
        except failures as error:
            if time.monotonic() - heard > LOST_AFTER_S:
                raise CommandError(
                    f"{client.get_address()}: no longer answers; job {job_id} continues without this command; "
                    f"study logs {job_id} --follow, with the same --address or --cluster, shows it again"
                ) from error
        else:
            if not job.is_running:
                write(log_of(client, job_id)[seen:])
                return job
        time.sleep(0.5)


async def _tail(client: Any, job_id: str, seen: int, write: Callable[[str], None]) -> int:
    """Write the log after its first `seen` characters until no more comes; return how many characters there are then."""
    passed = 0
    try:
        # Ray sends the log from its beginning every time.
        async for text in client.tail_job_logs(job_id):
            write(text[max(0, seen - passed) :])
            passed += len(text)
    except RuntimeError:  # the connection was closed; the caller asks whether the job has ended
        pass
    return max(seen, passed)


def _study_job(job: Any) -> StudyJob:
    about = job.metadata or {}
    return StudyJob(
        job_id=job.submission_id,
        study=about.get("study", ""),
        out=about.get("out", ""),
        asked=about.get("asked", ""),
        state=str(getattr(job.status, "value", job.status)),
        started=(job.start_time or 0) / 1000,
        exit_code=job.driver_exit_code,
        message=job.message or "",
    )


def _dashboard(address: str | None) -> Named:
    """Return the http address of a cluster's dashboard, and who named it."""
    named = Named(address) if address not in (None, "", "auto") else _from_elsewhere()
    if named is None or named.address in ("auto", "local"):
        raise CommandError(NONE_NAMED)
    if named.address.startswith(("http://", "https://")):
        try:
            urlsplit(named.address)
        except ValueError as error:
            raise CommandError(f"{named}: is not an address ({error})") from error
        return replace(named, address=named.address.rstrip("/"))
    if "://" in named.address:
        raise CommandError(f"{named}: allowed: http://host:8265, host:8265, host:6379, auto")
    not_through_a_proxy(f"http://{named.address}")
    try:
        status_without_token(f"http://{named.address}")
    except OSError:
        return _dashboard_of_head(named)
    return replace(named, address=f"http://{named.address}")


def _from_elsewhere() -> Named | None:
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        if address := os.environ.get(name):
            return Named(address, name)
    return find_cluster()[0]


def _dashboard_of_head(named: Named) -> Named:
    """Ask the head for the http address of its dashboard."""
    from study.plan.machine import MachineError

    quiet_environment()
    failures = _failures()
    try:
        knock(named)
        refuse_shut_cluster(named)
    except MachineError as error:
        raise CommandError(str(error)) from error
    from ray.dashboard.utils import ray_address_to_api_server_url

    try:
        return replace(named, address=str(ray_address_to_api_server_url(named.address)))
    except failures as error:
        raise _refused(named.address, error) from error


def _prepare_token(dashboard: Named) -> None:
    """Make Ray send its token to a dashboard that asks for one, and to no other.

    Raises:
        CommandError: no dashboard answers, or it lets anybody run commands.
    """
    url = dashboard.address
    not_through_a_proxy(url)
    try:
        status = status_without_token(url)
    except OSError as error:
        raise CommandError(
            f"{dashboard}: no Ray dashboard answers there ({error}); check the address, or start Ray with ray[default]"
        ) from error
    if status == 200 and (not is_loopback(urlsplit(url).hostname or "") or is_open_beyond_loopback(urlsplit(url).port)):
        raise CommandError(
            f"{dashboard}: the dashboard listens beyond its own machine and asks for no token: anyone who reaches it "
            f"can run any command there; {MAKE_A_TOKEN}"
        )
    if status in (401, 403):
        os.environ["RAY_AUTH_MODE"] = "token"  # before Ray is imported: it reads this once
        close_token_file()
    elif status != 200:
        raise CommandError(f"{dashboard}: is not a Ray dashboard, or has no service for jobs (HTTP {status})")


def not_through_a_proxy(url: str) -> None:
    """Send requests to loopback addresses past any proxy, which has another loopback and must not see the token."""
    host = urlsplit(url).hostname or ""
    if is_loopback(host):
        for name in ("no_proxy", "NO_PROXY"):
            os.environ[name] = ",".join(filter(None, [os.environ.get(name), host]))


@contextmanager
def _in_a_sentence(address: str) -> Iterator[None]:
    """Whatever Ray's client raises ends as one sentence that names the cluster."""
    failures = _failures()
    try:
        yield
    except failures as error:
        raise _refused(address, error) from error


def _failures() -> tuple[type[Exception], ...]:
    """Return the exceptions that Ray's client raises when a cluster cannot be used."""
    try:
        import ray.job_submission
        from aiohttp import ClientError
        from requests import RequestException
    except ImportError:
        raise CommandError(
            'jobs on a cluster need ray[default]; run pip install "factorial-iwae[cluster]" or pip install "ray[default]"'
        ) from None
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
    # AuthenticationError is a RayError.
    return (RuntimeError, ValueError, OSError, RequestException, ClientError, ray.exceptions.RayError)


def _refused(address: str, error: Exception) -> CommandError:
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    reason = reason.partition(". ")[0][:300]
    is_token = "uthentication" in type(error).__name__ or "uthentication" in reason
    if is_token:
        return CommandError(
            f"--address {address}: the cluster rejects this machine's token ({reason}); copy the token of a node to "
            "~/.ray/auth_token here (mode 600), or name it with RAY_AUTH_TOKEN_PATH"
        )
    return CommandError(f"--address {address}: the cluster refused the request ({reason})")
