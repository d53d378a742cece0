"""Run one job in this process; executors call this module to train a pack."""

import errno
import platform
import secrets
import time
from collections.abc import Callable
from functools import lru_cache

import torch

from workers.contract.errors import FolderGoneError, PackClosedError
from workers.contract.failure import WORTH_RETRYING, Failure, failure_of
from workers.contract.job import Job
from workers.contract.settings import DataSettings, MeasureSettings
from workers.model.inputs import Data, load_data
from workers.replicas.device import prepare_device
from workers.store.keys import stop_key
from workers.store.listing import identity
from workers.store.open import open_store
from workers.store.protocol import exists
from workers.train.loop import Outcome, Progress, train

LOOK_EVERY_S = 1.0
"""How often a worker looks whether it is asked to stop, if its epochs are shorter."""


def run_job(job: Job, report: Callable[[Progress], None]) -> Outcome:
    """Train the pack of a job from its newest commit.

    Raises:
        FolderGoneError: the study was removed, or another one of its name is there.
        DataError, RecordError, ConflictError, OSError: see workers.train.loop.train and load_with_fingerprint in
            workers.data.images. The data are compared with those that the trials were planned on before anything is trained.
    """
    store = open_store(job.store)

    def should_stop() -> bool:
        return exists(store, stop_key(job.run_id)) or exists(store, stop_key(job.run_id, job.pack.pack_id))

    looked = time.monotonic()

    def should_pause() -> bool:
        """Ask the store, but not after every epoch of a small model: an answer may take longer than the epoch."""
        nonlocal looked
        if time.monotonic() - looked < LOOK_EVERY_S:
            return False
        looked = time.monotonic()
        return should_stop()

    if should_stop():
        # Check this first: a pack that dies during its last measurement never reaches a border at which it could stop.
        return Outcome("stopped", {})
    try:
        is_planned = identity(store) == job.study
    except FileNotFoundError:
        # The driver checked the nodes that existed; this one may have joined later, and may have another disk.
        words = (
            f"no plan was found on node {platform.node()}; use a results folder that all nodes share, or a bucket, and do "
            "not remove a study while it runs"
        )
        raise FileNotFoundError(errno.ENOENT, words, job.store) from None
    if not is_planned:
        # It was removed, and another study of its name has begun since.
        raise FolderGoneError(job.store)
    device = prepare_device(job.device, job.precision)
    first = job.pack.trials[0]
    where = first.settings.data.model_copy(update={"root": job.root, "path": job.path})
    planned_on = dict.fromkeys(trial.fingerprint for trial in job.pack.trials)
    data, *_ = [_data(where, first.settings.measure, device, fingerprint) for fingerprint in planned_on]
    return train(
        job.pack,
        data,
        store,
        device=device,
        attempt=secrets.token_hex(8),
        ancestors=job.ancestors,
        provenance=job.provenance,
        keep_weights=job.keep_weights,
        report=report,
        should_stop=should_stop,
        should_pause=should_pause,
    )


def run_attempts(job: Job, report: Callable[[Progress], None], retried: Callable[[Failure], None]) -> Outcome | Failure:
    """Run a job until it ends, or until it has failed more than `max_failures` times since its last border.

    Raises:
        RuntimeError: a fault of a GPU, after which only a new process can continue.
    """
    failures, newest = 0, -1

    def reported(progress: Progress) -> None:
        nonlocal failures, newest
        if progress.committed > newest:
            failures, newest = 0, progress.committed
        report(progress)

    while True:
        try:
            return run_job(job, reported)
        except PackClosedError:
            return Outcome("closed", {})
        except Exception as error:  # no error of one pack may end other packs
            failure = failure_of(error)
            if failure.kind == "device":
                raise
        failures += 1
        if failure.kind not in WORTH_RETRYING or failures > job.max_failures:
            return failure
        retried(failure)


@lru_cache(maxsize=1)
def _data(settings: DataSettings, measure: MeasureSettings, device: torch.device, fingerprint: str) -> Data:
    # A worker that is used again keeps the data set of its last pack. As the fingerprint is among the arguments, it never
    # takes what it has kept for the content of a file that was replaced since.
    return load_data(settings, measure, device, fingerprint)
