"""Connect Ray Tune to the workers: run one pack as one Tune trial."""

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING

from ray import tune

from workers.contract.failure import Failure
from workers.contract.job import Job

if TYPE_CHECKING:
    from workers.train.loop import Progress

REPORT_EVERY_S = 2.0


class _Report:
    """Report epochs to Tune, but not every epoch of small models: a report blocks until the driver has received it."""

    def __init__(self) -> None:
        self._last = float("-inf")
        self._told: tuple[object, ...] = ()

    def __call__(self, progress: "Progress") -> None:
        news = (progress.committed, len(progress.diverged))
        now = time.monotonic()
        if now - self._last >= REPORT_EVERY_S or news != self._told:
            self._last, self._told = now, news
            tune.report(asdict(progress))


def _end_with_parent() -> None:
    """End this process soon after its parent, a process of Ray, is gone: a report would then wait for ever."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(2)
    os._exit(1)


@cache
def _watch_parent() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()


def run_pack(config: Mapping[str, str]) -> None:
    """Train one pack as one Tune trial, reporting its epochs, its retries, and how it ended."""
    _watch_parent()
    job = Job.model_validate_json(config["job"])
    pack = {"pack_id": job.pack.pack_id}
    # Imported here: the driver imports this file only to name the function, and does not need torch.
    from workers.train.attempts import run_attempts

    ended = run_attempts(job, _Report(), lambda failure: tune.report({**pack, "retried": asdict(failure)}))
    tune.report({**pack, "failed": asdict(ended)} if isinstance(ended, Failure) else {**pack, "outcome": ended.status})
