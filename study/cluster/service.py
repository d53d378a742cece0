"""Where a cluster is that runs studies: the words --address and --cluster, and a client of its jobs."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workers.contract.errors import CommandError


def add_place(parser: argparse.ArgumentParser) -> None:
    """Where the cluster is."""
    parser.add_argument(
        "--address", help="of a Ray cluster, like http://127.0.0.1:8265 or auto (RAY_ADDRESS, this machine's)"
    )
    parser.add_argument("--cluster", metavar="FILE", help="of a cluster that `ray up FILE` has started; reached through SSH")


def place_words(address: str | None, cluster: str | None) -> str:
    """The same place, for the next command."""
    return f" --cluster {cluster}" if cluster else f" --address {address}" if address else ""


@contextmanager
def jobs_at(address: str | None, cluster: str | None) -> Iterator[Any]:
    """A client of a cluster's jobs.

    Raises:
        CommandError: two places are named, or the one named does not answer.
    """
    from study.cluster.jobs import connect

    if address and cluster:
        raise CommandError(f"--address {address} and --cluster {cluster}: name one of them")
    if cluster:
        from study.cluster.ray_up_file import read_cluster
        from study.cluster.tunnel import tunnel

        with tunnel(read_cluster(cluster)) as url:
            yield connect(url)
    else:
        yield connect(address)
