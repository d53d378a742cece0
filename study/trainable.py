"""The one bridge between Tune and workers; no logic."""

import os
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache

from ray import tune

from workers.failure import Failure
from workers.job import Job
from workers.store import PLAN_FOLDER, open_store
from workers.train import Outcome, Progress
from workers.worker import run_attempts

REPORT_EVERY_S = 2.0


class _Report:
    """Tells Tune of an epoch, but not of each one of small models: a report waits until the driver has taken it."""

    def __init__(self) -> None:
        self._last = float("-inf")
        self._told: tuple[object, ...] = ()

    def __call__(self, progress: Progress) -> None:
        news = (progress.committed, len(progress.diverged))
        now = time.monotonic()
        if now - self._last >= REPORT_EVERY_S or news != self._told:
            self._last, self._told = now, news
            tune.report(asdict(progress))


def _end_with_parent() -> None:
    """End this process soon after Ray's process that started it is gone: nobody hears it, and it would wait for ever."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(2)
    os._exit(1)


@cache
def _watch_parent() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()


def elsewhere(job: Job) -> Failure | None:
    """What is wrong if this node does not see what the driver writes; a node may have come after all were asked."""
    try:
        if open_store(job.store).list(PLAN_FOLDER):
            return None
        reason = "is empty there; all nodes must share it, or it must be a bucket"
    except OSError as error:
        reason = str(error)
    return Failure(
        "store", f"{job.store} on node {socket.gethostname()}: {reason}; mend that, and the same command goes on", ""
    )


def run_pack(config: Mapping[str, str]) -> None:
    """Train one pack as one Tune trial, reporting its epochs, what is tried again, and how it ended."""
    _watch_parent()
    job = Job.model_validate_json(config["job"])
    pack = {"pack_id": job.pack.pack_id}
    ended: Outcome | Failure | None = elsewhere(job)
    if ended is None:
        ended = run_attempts(job, _Report(), lambda failure: tune.report({**pack, "retried": asdict(failure)}))
    tune.report({**pack, "failed": asdict(ended)} if isinstance(ended, Failure) else {**pack, "outcome": ended.status})
