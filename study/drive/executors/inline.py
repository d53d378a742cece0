"""Runs packs one after the other in this process, without Ray."""

from collections.abc import Sequence

from study.drive.executors.executor import Listener, Resources
from workers.contract.failure import Failure, failure_of
from workers.contract.job import Job


def run_inline(jobs: Sequence[Job], resources: Resources, listener: Listener) -> None:
    """Run packs one after the other in this process; Ray is not imported."""
    from workers.train.attempts import run_attempts

    for job in jobs:
        pack_id = job.pack.pack_id
        try:
            ended = run_attempts(
                job,
                lambda p: listener.epoch(p.pack_id, p.epoch, p.committed, p.diverged),
                lambda failure, pack_id=pack_id: listener.retried(pack_id, failure),  # type: ignore[misc]
            )
        except RuntimeError as error:  # a GPU that needs a new process: this one is all there is
            ended = failure_of(error)
        if isinstance(ended, Failure):
            listener.failed(pack_id, ended)
        else:
            listener.ended(pack_id, ended.status)
