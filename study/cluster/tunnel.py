"""Reach the dashboard of a cluster that `ray up` has started, which listens on the head's loopback only, through SSH."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from study.cluster.jobs import not_through_a_proxy
from study.cluster.open_ports import status_without_token
from study.cluster.ray_up_file import ClusterFile
from workers.contract.errors import CommandError, reason_of
from workers.contract.user_paths import quoted

DASHBOARD_PORT = 8265

OPEN_WITHIN_S = 30.0

_ASK_HEAD = """
import sys
from ray.autoscaler.sdk import get_head_node_ip
try:
    print(get_head_node_ip(sys.argv[1]))
except Exception as error:  # whatever the provider's own client raises
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    sys.exit(lines[0] if lines else type(error).__name__)
"""


def head_of(cluster: ClusterFile) -> str:
    """Return the address of a cluster's head.

    Raises:
        CommandError: the cluster has no head now.
    """
    if cluster.provider == "local" and cluster.head_ip:
        return cluster.head_ip
    # In a separate process: Ray reads only once whether it has a token to send, and here that is not known yet.
    asked = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _ASK_HEAD, str(Path(cluster.path).absolute())], capture_output=True, text=True
    )
    said = (asked.stdout if asked.returncode == 0 else asked.stderr).strip().splitlines()
    if asked.returncode != 0 or not said:
        raise CommandError(_not_up(cluster, said[-1] if said else "no answer"))
    return said[-1]


@contextmanager
def tunnel(cluster: ClusterFile) -> Iterator[str]:
    """Yield the http address at which the head's dashboard can be reached on this machine's loopback.

    Raises:
        CommandError: the head or its dashboard does not answer.
    """
    head = head_of(cluster)
    port = _free_port()
    # With the options of `ray up`. In its own session, so that Ctrl-C reaches this command only.
    command = [*_ssh(cluster), "-N", "-L", f"127.0.0.1:{port}:127.0.0.1:{DASHBOARD_PORT}", f"{cluster.user}@{head}"]
    try:
        ssh = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    except OSError as error:
        raise CommandError(
            f"--cluster {cluster.path}: ssh cannot be started ({reason_of(error)}); install OpenSSH"
        ) from error
    try:
        _wait_for(ssh, cluster, head, f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        ssh.terminate()
        ssh.wait()
        if ssh.stderr:
            ssh.stderr.close()


def _ssh(cluster: ClusterFile) -> list[str]:
    options = [
        "BatchMode=yes",
        "ConnectTimeout=10",
        "ExitOnForwardFailure=yes",
        "LogLevel=ERROR",
        "ServerAliveCountMax=3",
        "ServerAliveInterval=10",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        *(["IdentitiesOnly=yes"] if cluster.key else []),
        *([f"ProxyCommand={cluster.proxy_command}"] if cluster.proxy_command else []),
    ]
    return ["ssh", *(["-i", cluster.key] if cluster.key else []), *(word for each in options for word in ("-o", each))]


def _wait_for(ssh: "subprocess.Popen[str]", cluster: ClusterFile, head: str, url: str) -> None:
    not_through_a_proxy(url)
    fault = "no answer"
    until = time.monotonic() + OPEN_WITHIN_S
    while time.monotonic() < until:
        if ssh.poll() is not None:
            said = (ssh.stderr.read() if ssh.stderr else "").strip().splitlines()
            raise CommandError(_not_up(cluster, f"ssh {cluster.user}@{head}: {said[-1] if said else 'ended'}"))
        try:
            status_without_token(url)
            return
        except OSError as error:
            fault = str(error)
        time.sleep(0.3)
    raise CommandError(
        _not_up(cluster, f"{head} answers, but no Ray dashboard does at its 127.0.0.1:{DASHBOARD_PORT}: {fault}")
    )


def _not_up(cluster: ClusterFile, reason: str) -> str:
    return f"cluster {cluster.name} is not up ({reason}); `ray up {quoted(cluster.path)}` starts it"


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
