"""Find and join a running Ray cluster, count its devices, and check that all its nodes see the results."""

import logging
import os
import secrets
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import yaml

from study.cluster.local_ray import quiet_environment
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


def find_cluster() -> str | None:
    """Return the address in RAY_ADDRESS, or that of the cluster that `ray start` has added this machine to; else None.

    RAY_ADDRESS=local means this machine alone, as it does to Ray.
    """
    named = os.environ.get("RAY_ADDRESS", "")
    if named == "local":
        return None
    if named and not named.startswith(("http://", "https://")):  # such addresses are for `ray job`
        return named
    return _started_here()


def _started_here() -> str | None:
    """Return the address of the cluster that `ray start` has added this machine to; None if there is none."""
    try:
        address = (ray_folder() / "ray_current_cluster").read_text().strip()
        knock(address)
    except (OSError, MachineError):  # no file, or one that is left from a cluster that went down
        return None
    return address or None


def join_cluster(address: str, run: RunSettings) -> tuple[Machine, str]:
    """Connect this process to a cluster; return its devices, and words that describe it.

    Raises:
        MachineError: no cluster answers, it is open to anyone, or it has no device for a pack.
    """
    quiet_environment()
    if address == "auto":
        found = _started_here()
        if not found:
            raise MachineError(
                "--address auto: this machine is not part of a Ray cluster; give the address of a head, like ray-head:6379"
            )
        address = found
    if not is_host_and_port(address):
        raise MachineError(f"--address {address}: not the address of a head; allowed: host:6379, auto, local")
    knock(address)
    close_token_file()
    refuse_shut_cluster(address)
    import ray

    passed_on = {name: os.environ[name] for name in PASSED_ON if "://" in run.out and os.environ.get(name)}
    try:
        context = ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": passed_on} if passed_on else None,
        )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = str(error).strip().splitlines()[0]
        raise MachineError(
            f"--address {address}: no Ray cluster answers there ({reason}); start it, or leave --address out"
        ) from error
    addresses = [node["NodeManagerAddress"] for node in _nodes()]
    refuse_open_cluster(ray.get_runtime_context().gcs_address, addresses, context.dashboard_url or "")
    have = ray.cluster_resources()
    gpus, cpus = int(have.get("GPU", 0)), int(have.get("CPU", 0))
    # A cluster that grows on demand may have no device yet: it will get the GPUs that its file names.
    device = run.device if run.device != "auto" else ("cuda" if gpus or not cpus else "cpu")
    if device == "mps":
        raise MachineError("run.device: got mps, but a cluster has no such device; allowed: auto, cpu, cuda")
    if device == "cpu" and not cpus:
        raise MachineError(
            f"--address {address}: the cluster has no CPU now; if GPU workers are still to start, add --set run.device=cuda"
        )
    refuse_precision(device, run.precision)
    most = max(gpus, gpus_to_come())
    slots = int(most / gpus_of_pack(run)) if device == "cuda" else cpus
    thing = f"{gpus} GPU{'s' if gpus != 1 else ''}" if device == "cuda" else f"{cpus} core{'s' if cpus != 1 else ''}"
    if device == "cuda" and most > gpus:
        thing += f" of {most}"
    nodes = len(_nodes())
    return Machine(device, max(1, slots)), f"cluster {address}, {nodes} node{'s' if nodes != 1 else ''}, {thing}"


def knock(address: str) -> None:
    """Check that something listens at host:port.

    Raises:
        MachineError: nothing does.
    """
    # Ray itself would try for minutes.
    if not is_host_and_port(address):
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise MachineError(
            f"--address {address}: no Ray cluster answers there ({error}); start it, or leave --address out"
        ) from error


def is_host_and_port(address: str) -> bool:
    """Return whether an address is host:port, and not `auto` or a URL."""
    host, colon, port = address.rpartition(":")
    return bool(colon) and "/" not in host and port.isdigit()


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


def ray_folder() -> Path:
    """Return the folder of Ray's own files on this machine."""
    folder = os.environ.get("RAY_TMPDIR") or (os.environ.get("TMPDIR") if sys.platform == "linux" else None) or "/tmp"
    return Path(folder, "ray")


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
