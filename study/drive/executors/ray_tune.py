"""Run packs as trials of Ray Tune, on this machine's own Ray or on a cluster that is up."""

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from study.cluster.join import (
    DOWN,
    find_cluster,
    is_in_use,
    join_cluster,
    ray_of_this_process,
    refuse_private_folder,
)
from study.cluster.local_ray import dead_processes, end_ray, quiet_environment, start_ray
from study.cluster.named import Named
from study.cluster.ray_up_file import up_here
from study.drive.executors.executor import ExecutorLostError, Listener, Resources
from study.drive.executors.site import Site, this_site
from study.drive.executors.stopping import Stopping
from study.forecast.overhead import Overhead
from study.plan.cpus import cores
from workers.contract.failure import Failure, death
from workers.contract.job import Job
from workers.contract.settings import RunSettings

START_S = 6.0
"""Seconds to start Ray on this machine and to end it; 3 to 5 s and 1.5 s were measured on an idle machine."""

PACK_S = 0.05
"""Seconds that Ray Tune adds per pack; 0.04 to 0.06 s were measured."""

NODE_DIED = "node has died"
"""Ray's words for a worker that was lost together with its machine."""

SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN")
"""Environment variables that are never sent from one process to another."""


class RayTune:
    """One Tune trial per pack. Tune keeps no state that matters: no logger, no checkpoint, only a temporary folder."""

    name = "ray"
    overhead = Overhead(START_S, PACK_S, runs_side_by_side=True)

    def find_site(self, run: RunSettings, address: str | None) -> Site:
        """Use the Ray of this process, join the cluster of --address, RAY_ADDRESS or `ray start`, or use this machine."""
        if is_in_use():
            machine, words = ray_of_this_process(run)
            return Site(machine, words, is_here=False)
        named, reason = (None if address == "local" else Named(address), "") if address else find_cluster()
        if named:
            machine, words = join_cluster(named, run)
            return Site(machine, words, is_here=False, farewell=DOWN)
        left = (f"note: {reason}; running on this machine alone",) if reason else ()
        return this_site(run, notes=(*left, *_clusters_up()))

    def prepare(self, site: Site, out: str) -> None:
        """Check that every node of a cluster sees the same results."""
        if not site.is_here:
            refuse_private_folder(out)

    def run(self, jobs: Sequence[Job], resources: Resources, listener: Listener) -> None:
        """Run packs as Tune trials. If Ray itself has died, end it, so that the next call starts it again."""
        quiet_environment()
        import ray
        from ray.tune.execution import class_cache

        # Tune would send the driver's keys to its workers in a setting that Ray logs. Each node has its own keys.
        class_cache.ENV_VARS_TO_PROPAGATE.difference_update(SECRETS)

        # If a process is gone, the listener prints a sentence; Tune would print a traceback of its own code.
        logging.getLogger("ray.tune.execution.tune_controller").setLevel(logging.CRITICAL)

        if not ray.is_initialized():
            # Packs that use GPUs must not have to wait for cores.
            start_ray(max(resources.slots, cores()) if resources.gpus else resources.slots)
        try:
            _fit(jobs, resources, listener)
        except ExecutorLostError as error:
            raise ExecutorLostError(f"{error} (its logs: {end_ray()})") from error


def _fit(jobs: Sequence[Job], resources: Resources, listener: Listener) -> None:
    from ray import tune

    from study.drive.executors.ray_trainable import run_pack

    packs = {job.model_dump_json(): job.pack.pack_id for job in jobs}
    stopping = Stopping()
    raised: list[Exception] = []
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
                callbacks=[_bridge(packs, listener, stopping, raised)],
                # Otherwise Tune would start every pack that waits, only to hear that it is not to run.
                stop=_stopper(stopping),
                # After an error, a pack is tried again in its process. A process that is gone, perhaps with its machine, is
                # always started again; the listener ends a pack that dies repeatedly before it reaches a border.
                failure_config=tune.FailureConfig(max_failures=-1),
            ),
        )
        try:
            tuner.fit()
        except Exception:
            if raised:
                raise raised[0] from None
            raise


def _stopper(stopping: Stopping) -> Any:
    from ray import tune

    class Stopper(tune.Stopper):
        """Ends the experiment once the run is over."""

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return stopping.is_over()

    return Stopper()


def _bridge(packs: Mapping[str, str], listener: Listener, stopping: Stopping, raised: list[Exception]) -> Any:
    """Return the Tune callback that reports to the listener.

    Args:
        packs: the pack_id of every job, by its text.
        listener: who is told.
        stopping: knows when a run that was asked to stop is over.
        raised: gets what the listener raises, such as an error of the store; Tune makes an error of its own of it.
    """
    from ray import tune

    @contextmanager
    def kept() -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raised.append(error)
            raise

    class Bridge(tune.Callback):
        """Passes Tune's events on to the listener."""

        def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
            # Tune would wait for ever for a machine that does not come back.
            if dead := dead_processes():
                raise ExecutorLostError(f"Ray's {' and '.join(dead)} died")

        def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            stopping.started(packs[trial.config["job"]])

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            with kept():
                _pass_on(result, listener)
            if "outcome" in result or "failed" in result:
                stopping.ended(result["pack_id"], result.get("outcome", ""))

        def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            stopping.died(packs[trial.config["job"]])
            with kept():
                report_loss(listener, packs[trial.config["job"]], _reason(trial))

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            stopping.ended(packs[trial.config["job"]])
            with kept():
                listener.failed(packs[trial.config["job"]], death(_reason(trial)))

    return Bridge()


def _pass_on(result: Mapping[str, Any], listener: Listener) -> None:
    if "outcome" in result:
        listener.ended(result["pack_id"], result["outcome"])
    elif "failed" in result:
        listener.failed(result["pack_id"], Failure(**result["failed"]))
    elif "retried" in result:
        listener.retried(result["pack_id"], Failure(**result["retried"]))
    elif "pack_id" in result:
        listener.epoch(result["pack_id"], result["epoch"], result["committed"], result["diverged"])


def report_loss(listener: Listener, pack_id: str, reason: str) -> None:
    """Report a pack whose process is gone; Ray's words tell whether its machine is gone too."""
    if NODE_DIED in reason:
        listener.lost_machine(pack_id)
    else:
        listener.died(pack_id, reason)


def _clusters_up() -> tuple[str, ...]:
    return tuple(
        f"note: cluster {cluster.name} is up ({cluster.path}), but this runs here; add --cluster {cluster.path} to run there"
        for cluster in up_here(Path())
    )


def _name(trial: Any) -> str:
    return str(trial.trial_id)


def _reason(trial: Any) -> str:
    """Return the error of a Tune trial, with its last line first."""
    try:
        with open(trial.error_file) as file:
            text = file.read().strip()
    except (OSError, TypeError):
        text = str(getattr(trial, "pickled_error", None) or "no reason given")
    return f"{text.splitlines()[-1]}\n{text}" if text else "no reason given"
