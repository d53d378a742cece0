"""The options --address and --cluster, which say where a cluster is, and a client for the jobs of that cluster."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workers.contract.errors import CommandError


def add_place(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the cluster is."""
    parser.add_argument(
        "--address",
        help="address of a Ray cluster, like http://127.0.0.1:8265, or auto (RAY_ADDRESS, or else this machine's cluster)",
    )
    parser.add_argument("--cluster", metavar="FILE", help="the cluster that `ray up FILE` has started, reached through SSH")


def place_words(address: str | None, cluster: str | None) -> str:
    """Return the options that name the same cluster in the next command; empty if none is named."""
    return f" --cluster {cluster}" if cluster else f" --address {address}" if address else ""


@contextmanager
def jobs_at(address: str | None, cluster: str | None) -> Iterator[Any]:
    """Yield a client for the jobs of a cluster.

    Raises:
        CommandError: both options are given, or the cluster does not answer.
    """
    from study.cluster.jobs import connect

    if address and cluster:
        raise CommandError(f"--address {address} and --cluster {cluster}: give one of them, not both")
    if cluster:
        from study.cluster.ray_up_file import read_cluster
        from study.cluster.tunnel import tunnel

        with tunnel(read_cluster(cluster)) as url:
            yield connect(url)
    else:
        yield connect(address)
