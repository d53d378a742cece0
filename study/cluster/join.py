"""Find and join a running Ray cluster, count its devices, and check that all its nodes see the results."""

import logging
import os
import secrets
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import yaml

from study.cluster.local_ray import is_own, quiet_environment
from study.cluster.named import Named, from_environment, from_file, is_host_and_port, knock
from study.cluster.open_ports import close_token_file, refuse_open_cluster, refuse_shut_cluster
from study.plan.machine import Machine, MachineError, gpus_of_pack, refuse_precision
from workers.contract.errors import StoreError
from workers.contract.settings import RunSettings
from workers.contract.user_paths import expanded
from workers.store.open import open_store

T = TypeVar("T")

ASKED_WITHIN_S = 300.0

PASSED_ON = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")
"""Variables that tell workers on other nodes where a bucket is. The keys are never sent: each node has its own."""

DOWN = (
    "the cluster is still up; take it down with `ray down FILE` (the file of `ray up`), or with `ray stop` on each machine"
)


def find_cluster() -> tuple[Named | None, str]:
    """Return the address in RAY_ADDRESS, or that of the cluster that `ray start` has added this machine to; else None.

    RAY_ADDRESS=local means this machine alone, as it does to Ray.

    Returns:
        The address, and why the cluster that a file on this machine names is not used; empty if there is nothing to say.
    """
    if named := from_environment():
        return None if named.address == "local" else named, ""
    return _started_here()


def _started_here() -> tuple[Named | None, str]:
    if (named := from_file()) is None:
        return None, ""
    try:
        knock(named)
    except MachineError as error:  # it is left from a cluster that went down
        return None, str(error)
    return named, ""


def join_cluster(named: Named, run: RunSettings) -> tuple[Machine, str]:
    """Connect this process to a cluster; return its devices, and words that describe it.

    Raises:
        MachineError: no cluster answers, it is open to anyone, or it has no device for a pack.
    """
    quiet_environment()
    if named.address == "auto":
        found, _ = _started_here()
        if not found:
            raise MachineError(
                f"{named}: this machine is not part of a Ray cluster; give the address of a head, like ray-head:6379"
            )
        named = found
    if not is_host_and_port(named.address):
        raise MachineError(f"{named}: not the address of a head; allowed: host:6379, auto, local")
    knock(named)
    close_token_file()
    refuse_shut_cluster(named)
    import ray

    passed_on = {name: os.environ[name] for name in PASSED_ON if "://" in run.out and os.environ.get(name)}
    try:
        context = ray.init(
            address=named.address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": passed_on} if passed_on else None,
        )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = str(error).strip().splitlines()[0]
        raise MachineError(f"{named}: no Ray cluster answers there ({reason}); start it, or {named.remedy}") from error
    addresses = [node["NodeManagerAddress"] for node in _nodes()]
    head = replace(named, address=ray.get_runtime_context().gcs_address)
    refuse_open_cluster(head, addresses, context.dashboard_url or "")
    machine, thing = _devices(str(named), run, gpus_to_come())
    nodes = len(_nodes())
    return machine, f"cluster {named.address}, {nodes} node{'s' if nodes != 1 else ''}, {thing}"


def ray_of_this_process(run: RunSettings) -> tuple[Machine, str]:
    """Return the devices of the Ray that this process has already started or joined, and words that describe it.

    Raises:
        MachineError: it has no device for a pack.
    """
    machine, thing = _devices("the Ray that this process has started or joined", run, 0)
    return machine, f"the Ray of this process, {thing}"


def is_in_use() -> bool:
    """Return whether this process uses a Ray that a user's own program has started or joined."""
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized() and not is_own()


def _devices(where: str, run: RunSettings, to_come: int) -> tuple[Machine, str]:
    import ray

    have = ray.cluster_resources()
    gpus, cpus = int(have.get("GPU", 0)), int(have.get("CPU", 0))
    # A cluster that grows on demand may have no device yet: it will get the GPUs that its file names.
    device = run.device if run.device != "auto" else ("cuda" if gpus or not cpus else "cpu")
    if device == "mps":
        raise MachineError("run.device: got mps, but a cluster has no such device; allowed: auto, cpu, cuda")
    if device == "cpu" and not cpus:
        raise MachineError(
            f"{where}: it offers no CPU now; start it with one (num_cpus), or if GPU workers are still to start, add "
            "--set run.device=cuda"
        )
    if device == "cuda" and not max(gpus, to_come):
        raise MachineError(f"{where}: it offers no GPU; start it with one (num_gpus), or add --set run.device=cpu")
    refuse_precision(device, run.precision)
    most = max(gpus, to_come)
    slots = int(most / gpus_of_pack(run)) if device == "cuda" else cpus
    thing = f"{gpus} GPU{'s' if gpus != 1 else ''}" if device == "cuda" else f"{cpus} core{'s' if cpus != 1 else ''}"
    if device == "cuda" and most > gpus:
        thing += f" of {most}"
    return Machine(device, max(1, slots)), thing


def gpus_to_come() -> int:
    """Return how many GPUs the cluster may grow to, read from the file that `ray up` leaves on its head; else 0."""
    try:
        said = yaml.safe_load(Path(expanded("~/ray_bootstrap_config.yaml")).read_text())
        kinds = [
            (kind.get("max_workers", 0), kind["resources"].get("GPU", 0)) for kind in said["available_node_types"].values()
        ]
        return int(sum(min(most, said["max_workers"]) * gpus for most, gpus in kinds))
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return 0


def refuse_private_folder(out: str) -> None:
    """Check that the results folder is the same on every node, or that every node can use the bucket.

    Raises:
        MachineError: a node does not see what this process writes there.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    others = [node["NodeID"] for node in _nodes() if node["NodeID"] != ray.get_runtime_context().get_node_id()]
    if not others:
        return

    def ask(question: Callable[[str], T], about: str) -> list[T]:
        remote = ray.remote(question)
        pinned = [NodeAffinitySchedulingStrategy(node, soft=False) for node in others]
        asked = [remote.options(num_cpus=0, scheduling_strategy=node).remote(about) for node in pinned]
        try:
            return list(ray.get(asked, timeout=ASKED_WITHIN_S))
        except ray.exceptions.RayError as error:  # a node that died, or that lacks this project
            reason = str(error).strip().splitlines()[-1]
            raise MachineError(
                f"run.out: a node could not be asked whether it can use {about} ({reason}); try again"
            ) from error

    if "://" in out:
        if problems := [problem for problem in ask(_problem_with, out) if problem]:
            raise MachineError(
                f"run.out: {len(problems)} of {len(others) + 1} nodes cannot use it: {problems[0]}; "
                "every node needs its own credentials (an instance profile, or ~/.aws/credentials)"
            )
        return
    folder = Path(out).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".probe-{secrets.token_hex(8)}"
    probe.touch()
    try:
        blind = sum(not seen for seen in ask(_sees, str(probe)))
    finally:
        probe.unlink()
    if blind:
        raise MachineError(
            f"run.out: {folder} is not the same folder on {blind} of {len(others) + 1} nodes; name a folder that all nodes "
            "share (NFS, EFS), like --out /shared/results, or a bucket, like --out s3://bucket/prefix"
        )


def _nodes() -> list[dict[str, str]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _sees(path: str) -> bool:
    return Path(path).exists()


def _problem_with(url: str) -> str:
    try:
        open_store(url).list("plan")
    except (StoreError, OSError) as error:
        return str(error)
    return ""
