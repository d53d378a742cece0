"""Runs one job in this process: device, data, store, then the loop; the only way in for an executor."""

import secrets
from collections.abc import Callable
from functools import lru_cache

import torch

from workers.data import Data, load_data
from workers.device import prepare_device
from workers.job import Job
from workers.settings import DataSettings, MeasureSettings
from workers.store import exists, open_store, stop_key
from workers.train import Outcome, Progress, train


def run_job(job: Job, report: Callable[[Progress], None]) -> Outcome:
    """Train the job's pack from where it stands.

    Raises:
        DataError, RecordError, ConflictError, OSError: see workers.train.train and workers.images.load_images.
    """
    device = prepare_device(job.device)
    store = open_store(job.store)
    settings = job.pack.trials[0].settings
    where = settings.data.model_copy(update={"root": job.root, "path": job.path})
    return train(
        job.pack,
        _data(where, settings.measure, device),
        store,
        device=device,
        attempt=secrets.token_hex(8),
        parent=job.parent,
        provenance=job.provenance,
        report=report,
        should_stop=lambda: exists(store, stop_key(job.run_id)),
    )


@lru_cache(maxsize=1)
def _data(settings: DataSettings, measure: MeasureSettings, device: torch.device) -> Data:
    # A reused worker keeps the data set of its last pack.
    return load_data(settings, measure, device)
