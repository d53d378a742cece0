"""Studies as jobs of a Ray cluster (Ray Jobs): submitted, listed, followed, stopped; the driver of each runs on the head."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from study.cluster.join import find_cluster
from study.cluster.local_ray import quiet_environment
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
"""How long Ray lets a driver that was asked to stop come to the next borders before it kills it."""

TALKATIVE = ("ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging")

NOT_YET = "No available agent to submit job"
"""Ray's words for a head that has only just come up."""

START_WITHIN_S = 60.0

LOST_AFTER_S = 60.0

INTERRUPTED = 130

NONE_NAMED = (
    "no cluster is named: --address http://127.0.0.1:8265 (a dashboard), --cluster cluster.yaml, or RAY_ADDRESS in the "
    "environment"
)


@dataclass(frozen=True)
class StudyJob:
    """A driver that was submitted, running or not."""

    job_id: str
    study: str
    out: str
    asked: str
    """Equal for two jobs that would do the same."""
    state: str
    """In Ray's words: PENDING | RUNNING | SUCCEEDED | FAILED | STOPPED."""
    started: float
    """Seconds since 1970 by the head's clock; 0 before it has started."""
    exit_code: int | None
    message: str

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self.state in RUNNING

    @property
    def code(self) -> int:
        """What the command would have returned; the exit codes are those of `study run`."""
        if self.exit_code is not None:
            return self.exit_code
        return {"SUCCEEDED": 0, "STOPPED": INTERRUPTED}.get(self.state, 1)


def connect(address: str | None) -> Any:
    """A client of the jobs of a cluster.

    Args:
        address: of its dashboard or its head, `auto`, or None: RAY_ADDRESS, else the cluster of this machine.

    Raises:
        CommandError: there is none, it does not let us in, or it lets everybody in.
    """
    url = _dashboard(address)
    _prepare_token(url)
    quiet_environment()
    failures = _failures()
    from ray.job_submission import JobSubmissionClient

    # Ray would take what these say for more than what it is told.
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        os.environ.pop(name, None)
    try:
        return JobSubmissionClient(url)
    except failures as error:
        raise _refused(url, error) from error


def submit(client: Any, job_id: str, entrypoint: str, folder: Path, metadata: Mapping[str, str]) -> None:
    """Start a driver on the head, with the code in a folder.

    Raises:
        CommandError: the cluster does not take it.
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
    """Every job that is a study, oldest first.

    Raises:
        CommandError: the cluster does not answer.
    """
    failures = _failures()
    try:
        jobs = client.list_jobs()
    except failures as error:
        raise _refused(client.get_address(), error) from error
    found = [_study_job(job) for job in jobs if (job.metadata or {}).get("project") == PACKAGE and job.submission_id]
    return sorted(found, key=lambda job: (job.started or float("inf"), job.job_id))


def find_job(client: Any, name: str) -> StudyJob:
    """The job of this id, or the study's running one, or its newest.

    Raises:
        CommandError: there is none.
    """
    jobs = studies(client)
    named = [job for job in jobs if name in (job.job_id, job.study)]
    if not named:
        there = ", ".join(dict.fromkeys(job.study for job in jobs))
        raise CommandError(f"no such study on the cluster: {name}; there: {there or 'none'}; study list shows them")
    # One that runs before one that waits for it.
    return max(named, key=lambda job: (job.state == "RUNNING", job.is_running, job.started or float("inf")))


def refuse_unstarted(job: StudyJob) -> None:
    """Say why a job failed whose command did not come to its end.

    Raises:
        CommandError: it did.
    """
    if job.exit_code is None and job.state == "FAILED":
        raise CommandError(f"job {job.job_id} failed before its command ended: {' '.join(job.message.split())[:500]}")


def log_of(client: Any, job_id: str) -> str:
    """What the driver has said so far.

    Raises:
        CommandError: the cluster does not answer.
    """
    failures = _failures()
    try:
        return str(client.get_job_logs(job_id))
    except failures as error:
        raise _refused(client.get_address(), error) from error


def stop(client: Any, job_id: str) -> bool:
    """Ask a driver to stop at the next borders; False if it has ended.

    Raises:
        CommandError: the cluster does not answer.
    """
    failures = _failures()
    try:
        return bool(client.stop_job(job_id))
    except failures as error:
        raise _refused(client.get_address(), error) from error


def follow(client: Any, job_id: str, write: Callable[[str], None]) -> StudyJob:
    """Write what the driver says as it says it; returns the job when it has ended.

    Raises:
        CommandError: the cluster does not answer any more.
    """
    failures = _failures()
    seen, heard = 0, time.monotonic()
    while True:
        try:
            seen = asyncio.run(_tail(client, job_id, seen, write))
            job = _study_job(client.get_job_info(job_id))
            heard = time.monotonic()
        except (BrokenPipeError, UnicodeError):
            raise  # of what we write to, not of the cluster
        except failures as error:
            if time.monotonic() - heard > LOST_AFTER_S:
                raise CommandError(
                    f"{client.get_address()}: does not answer any more; job {job_id} goes on without this command, "
                    f"and study logs {job_id} --follow, with the cluster named as before, shows it again"
                ) from error
        else:
            if not job.is_running:
                write(log_of(client, job_id)[seen:])
                return job
        time.sleep(0.5)


async def _tail(client: Any, job_id: str, seen: int, write: Callable[[str], None]) -> int:
    """Write what comes after the first `seen` characters, until nothing more comes; how many there are then."""
    passed = 0
    try:
        # From its beginning, every time.
        async for text in client.tail_job_logs(job_id):
            write(text[max(0, seen - passed) :])
            passed += len(text)
    except RuntimeError:  # the connection was closed; whether the job has ended is asked next
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


def _dashboard(address: str | None) -> str:
    """The http address of a cluster's dashboard."""
    if address in (None, "", "auto"):
        address = os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS") or find_cluster()
        if not address or address in ("auto", "local"):
            raise CommandError(NONE_NAMED)
    assert address is not None
    if address.startswith(("http://", "https://")):
        try:
            urlsplit(address)
        except ValueError as error:
            raise CommandError(f"--address {address}: is no address ({error})") from error
        return address.rstrip("/")
    if "://" in address:
        raise CommandError(f"--address {address}: allowed are http://host:8265, host:8265, host:6379 and auto")
    not_through_a_proxy(f"http://{address}")
    try:
        status_without_token(f"http://{address}")
    except OSError:
        return _dashboard_of_head(address)
    return f"http://{address}"


def _dashboard_of_head(address: str) -> str:
    """What the head says of its dashboard."""
    from study.cluster.join import knock
    from study.plan.machine import MachineError

    quiet_environment()
    failures = _failures()
    try:
        knock(address)
        refuse_shut_cluster(address)
    except MachineError as error:
        raise CommandError(str(error)) from error
    from ray.dashboard.utils import ray_address_to_api_server_url

    try:
        return str(ray_address_to_api_server_url(address))
    except failures as error:
        raise _refused(address, error) from error


def _prepare_token(url: str) -> None:
    """Have Ray show its token where it is asked for one, and nowhere else.

    Raises:
        CommandError: nobody answers, or anybody may run anything there.
    """
    not_through_a_proxy(url)
    try:
        status = status_without_token(url)
    except OSError as error:
        raise CommandError(
            f"--address {url}: no Ray dashboard answers there ({error}); start it with ray[default]"
        ) from error
    if status == 200 and (not is_loopback(urlsplit(url).hostname or "") or is_open_beyond_loopback(urlsplit(url).port)):
        raise CommandError(
            f"--address {url}: the dashboard listens beyond its own machine and asks for no token: whoever reaches it can "
            f"run any command there; {MAKE_A_TOKEN}"
        )
    if status in (401, 403):
        os.environ["RAY_AUTH_MODE"] = "token"  # before Ray is imported: it reads this once
        close_token_file()
    elif status != 200:
        raise CommandError(f"--address {url}: is no Ray dashboard, or one without jobs (HTTP {status})")


def not_through_a_proxy(url: str) -> None:
    """Keep questions to this machine here: a proxy has another loopback, and the token is none of its business."""
    host = urlsplit(url).hostname or ""
    if is_loopback(host):
        for name in ("no_proxy", "NO_PROXY"):
            os.environ[name] = ",".join(filter(None, [os.environ.get(name), host]))


def _failures() -> tuple[type[Exception], ...]:
    """What Ray's client raises when a cluster cannot be used."""
    try:
        import ray.job_submission
        from aiohttp import ClientError
        from requests import RequestException
    except ImportError:
        raise CommandError(
            'the jobs of a cluster need ray[default]: pip install "factorial-iwae[cluster]", or pip install "ray[default]"'
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
            f"--address {address}: the cluster does not know this machine's token ({reason}); copy the token of a node to "
            "~/.ray/auth_token here (mode 600), or name it with RAY_AUTH_TOKEN_PATH"
        )
    return CommandError(f"--address {address}: the cluster does not do it ({reason})")
