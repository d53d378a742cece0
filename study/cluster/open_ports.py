"""Whoever reaches the ports of a Ray without a token can run any command on its machines: such a cluster is refused."""

import ipaddress
import os
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path

from study.plan.machine import MachineError

MAKE_A_TOKEN = (
    "make a token on one machine (`ray get-auth-token --generate > /dev/null && chmod 600 ~/.ray/auth_token`), copy it "
    "to every node and client, and start Ray again with RAY_AUTH_MODE=token on all of them"
)


# In a process of its own: this one may have shown its token already, and Ray reads the mode once.
_ASK = """
import sys
from ray._raylet import GcsClient
GcsClient(address=sys.argv[1]).internal_kv_get(b"session_name", b"session", timeout=10)
"""

_SHUT = ("Unauthenticated", "AuthenticationError", "couldn't find an authentication token")
"""Of what Ray says of a token that is wrong or lacking."""


def refuse_open_cluster(address: str, nodes: Sequence[str], dashboard: str = "") -> None:
    """Refuse a cluster that listens beyond loopback and answers without a token.

    Args:
        address: of its head.
        nodes: addresses of its nodes.
        dashboard: host:port, where there is one.

    Raises:
        MachineError: it does, and the text says how to make a token; or it does not answer at all.
    """
    host = address.rpartition(":")[0]
    if all(is_loopback(each) for each in (host, *nodes)):
        if dashboard and is_open_beyond_loopback(int(dashboard.rpartition(":")[2])):
            raise MachineError(
                f"--address {address}: its dashboard listens beyond its own machine and asks for no token: whoever "
                f"reaches it can run any command there; {MAKE_A_TOKEN}"
            )
        return
    asked = _ask_as_stranger(address)
    if asked is not None and asked.returncode == 0:
        raise MachineError(
            f"--address {address}: the cluster listens beyond its own machine and asks for no token: whoever reaches "
            f"it can run any command there; {MAKE_A_TOKEN}"
        )
    if asked is None or not _is_shut(asked):
        raise MachineError(
            f"--address {address}: cannot tell whether the cluster asks for a token, as it does not answer who shows none; "
            "try again, or run on this machine alone with --address local"
        )


def _ask_as_stranger(address: str) -> subprocess.CompletedProcess[str] | None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    return _ask(address, environment | {"RAY_AUTH_MODE": "disabled"})


def _is_shut(asked: subprocess.CompletedProcess[str]) -> bool:
    return asked.returncode != 0 and any(words in asked.stderr for words in _SHUT)


def refuse_shut_cluster(address: str) -> None:
    """Refuse a Ray at host:port that does not let this process in.

    Raises:
        MachineError: it asks for a token that this machine does not have.
    """
    # In this process Ray would try for 20 s or longer, or end the process at once.
    asked = _ask(address, os.environ)
    if asked is not None and _is_shut(asked):
        raise MachineError(
            f"--address {address}: the cluster asks for a token that this machine does not have; copy the token of a node "
            "to ~/.ray/auth_token here (mode 600) and set RAY_AUTH_MODE=token; --address local runs on this machine alone"
        )


def _ask(address: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str] | None:
    """How a question to a Ray at host:port ended; None: not within a minute."""
    command = [sys.executable, "-c", _ASK, address]
    try:
        return subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", timeout=60)
    except subprocess.TimeoutExpired:
        return None


def close_token_file() -> None:
    """Ray writes its token readable by everybody on the machine: make it ours alone.

    Raises:
        MachineError: it is somebody else's file.
    """
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    try:
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise MachineError(
            f"{path}: others can read this token, and it cannot be closed ({error.strerror}); chmod 600 it"
        ) from error


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself, and no other machine can reach it there."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def status_without_token(url: str) -> int:
    """How a dashboard answers somebody who asks for its jobs and shows no token: 200, 401, ...

    Raises:
        OSError: nobody answers, or somebody who does not speak HTTP.
    """
    try:
        with urllib.request.urlopen(f"{url}/api/jobs/", timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (HTTPException, ValueError) as error:
        raise OSError(f"no HTTP: {error!r}") from error


def is_open_beyond_loopback(port: int | None) -> bool:
    """Whether a dashboard that this machine has on a port answers others, who show no token, as well."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.connect(("192.0.2.1", 9))  # sends nothing; says which address others see
            return status_without_token(f"http://{one.getsockname()[0]}:{port}") == 200
    except OSError:
        return False
