"""The one bridge between Tune and workers; no logic."""

from collections.abc import Mapping
from dataclasses import asdict

from ray import tune

from workers.job import Job
from workers.worker import run_job


def run_pack(config: Mapping[str, str]) -> None:
    """Train one pack as one Tune trial, reporting every epoch."""
    job = Job.model_validate_json(config["job"])
    outcome = run_job(job, lambda progress: tune.report(asdict(progress)))
    tune.report({"pack_id": job.pack.pack_id, "outcome": outcome.status})
