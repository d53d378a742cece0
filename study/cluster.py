"""A Ray cluster that is up: joined by its address, asked for its devices, and whether its nodes see the results."""

import logging
import secrets
import socket
from pathlib import Path

from study.machine import MachineError, gpus_of_pack, refuse_precision
from study.own_ray import quiet_environment
from study.planning import Machine
from workers.settings import RunSettings


def join_cluster(address: str, run: RunSettings) -> tuple[Machine, str]:
    """Connect this process to a cluster; returns its devices and where it runs, in words.

    Raises:
        MachineError: nobody answers, or the cluster has nothing that a pack could run on.
    """
    quiet_environment()
    _knock(address)
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise MachineError(
            f"--address {address}: no Ray cluster answers there ({reason}); start it, or leave --address out"
        ) from error
    have = ray.cluster_resources()
    gpus, cpus = int(have.get("GPU", 0)), int(have.get("CPU", 0))
    device = run.device if run.device != "auto" else ("cuda" if gpus else "cpu")
    if device == "mps":
        raise MachineError("run.device: got mps, which a cluster does not have; allowed: auto, cpu, cuda")
    if device == "cpu" and not cpus:
        raise MachineError(
            f"--address {address}: has neither CPUs nor GPUs now; "
            "for GPU workers that are still to start: --set run.device=cuda"
        )
    refuse_precision(device, run.precision)
    slots = int(gpus / gpus_of_pack(run)) if device == "cuda" else cpus
    thing = f"{gpus} GPU{'s' if gpus != 1 else ''}" if device == "cuda" else f"{cpus} core{'s' if cpus != 1 else ''}"
    return Machine(device, max(1, slots)), f"cluster {address}, {len(_nodes())} nodes, {thing}"


def _knock(address: str) -> None:
    # Ray itself tries for minutes.
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise MachineError(
            f"--address {address}: no Ray cluster answers there ({error}); start it, or leave --address out"
        ) from error


def refuse_private_folder(out: str) -> None:
    """Make sure that a results folder is one and the same on every node.

    Raises:
        MachineError: a node does not see what this process writes there.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    others = [node["NodeID"] for node in _nodes() if node["NodeID"] != ray.get_runtime_context().get_node_id()]
    if not others:
        return
    folder = Path(out).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".probe-{secrets.token_hex(8)}"
    probe.touch()
    try:
        sees = ray.remote(_sees)
        pinned = [NodeAffinitySchedulingStrategy(node, soft=False) for node in others]
        asked = [sees.options(num_cpus=0, scheduling_strategy=strategy).remote(str(probe)) for strategy in pinned]
        blind = sum(not seen for seen in ray.get(asked))
    finally:
        probe.unlink()
    if blind:
        raise MachineError(
            f"run.out: {folder} is not the same folder on {blind} of {len(others) + 1} nodes; name a folder that all nodes "
            "share (NFS, EFS), like --out /shared/results"
        )


def _nodes() -> list[dict[str, str]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _sees(path: str) -> bool:
    return Path(path).exists()
