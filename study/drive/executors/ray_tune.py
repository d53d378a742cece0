"""Two ways to run packs: Ray Tune, or this process without importing Ray; both tell a Listener what happens."""

import logging
import tempfile
from collections.abc import Sequence
from typing import Any

from study.cluster.local_ray import RayLostError, dead_processes, quiet_environment, start_ray
from study.drive.executors.executor import Listener, Resources
from workers.contract.failure import Failure, death
from workers.contract.job import Job

SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN")
"""What is never sent from one process to another."""


def run_on_ray(jobs: Sequence[Job], resources: Resources, listener: Listener) -> None:
    """Run packs as Tune trials. Tune keeps no state that matters: no logger, no checkpoint, a folder that is thrown away."""
    quiet_environment()
    import ray
    from ray import tune
    from ray.tune.execution import class_cache

    from study.drive.executors.ray_trainable import run_pack

    # Tune would hand the driver's keys to its workers in a setting that Ray writes into its logs. Every node has its own.
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(SECRETS)

    # Of a process that is gone the listener says a sentence; Tune would show the traceback of its own code.
    logging.getLogger("ray.tune.execution.tune_controller").setLevel(logging.CRITICAL)

    packs = {job.model_dump_json(): job.pack.pack_id for job in jobs}

    class Bridge(tune.Callback):
        """Passes Tune's events on to the listener."""

        def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
            # Tune waits for ever for a machine that does not come back.
            if dead := dead_processes():
                raise RayLostError(f"Ray's {' and '.join(dead)} died")

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            if "outcome" in result:
                listener.ended(result["pack_id"], result["outcome"])
            elif "failed" in result:
                listener.failed(result["pack_id"], Failure(**result["failed"]))
            elif "retried" in result:
                listener.retried(result["pack_id"], Failure(**result["retried"]))
            elif "pack_id" in result:
                listener.epoch(result["pack_id"], result["epoch"], result["committed"], result["diverged"])

        def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            listener.died(packs[trial.config["job"]], _reason(trial))

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            listener.failed(packs[trial.config["job"]], death(_reason(trial)))

    if not ray.is_initialized():
        start_ray(resources.slots)
    with tempfile.TemporaryDirectory(prefix="study-tune-") as folder:
        tuner = tune.Tuner(
            tune.with_resources(run_pack, {"cpu": resources.cpus, "gpu": resources.gpus}),
            param_space={"job": tune.grid_search(list(packs))},
            tune_config=tune.TuneConfig(
                reuse_actors=True,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                name="packs",
                storage_path=folder,
                verbose=0,
                callbacks=[Bridge()],
                # A pack's own errors are tried again in its process. A process that is gone, with its machine perhaps, is
                # started again as often as it takes; the listener ends what dies again and again without a border.
                failure_config=tune.FailureConfig(max_failures=-1),
            ),
        )
        tuner.fit()


def _name(trial: Any) -> str:
    return str(trial.trial_id)


def _reason(trial: Any) -> str:
    """The error of a Tune trial, its last line first."""
    try:
        with open(trial.error_file) as file:
            text = file.read().strip()
    except (OSError, TypeError):
        text = str(getattr(trial, "pickled_error", None) or "no reason given")
    return f"{text.splitlines()[-1]}\n{text}" if text else "no reason given"
