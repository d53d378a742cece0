"""Refuse a Ray cluster without a token: anyone who reaches its ports can run any command on its machines."""

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

from study.cluster.named import Named
from study.plan.machine import MachineError
from workers.contract.errors import reason_of
from workers.contract.user_paths import expanded

MAKE_A_TOKEN = (
    "make a token on one machine (`ray get-auth-token --generate > /dev/null && chmod 600 ~/.ray/auth_token`), copy it "
    "to every node and client, and start Ray again with RAY_AUTH_MODE=token on all of them"
)


# In a separate process: this one may have sent its token already, and Ray reads the mode only once.
_ASK = """
import sys
from ray._raylet import GcsClient
GcsClient(address=sys.argv[1]).internal_kv_get(b"session_name", b"session", timeout=10)
"""

_SHUT = ("Unauthenticated", "AuthenticationError", "couldn't find an authentication token")
"""Parts of Ray's messages about a wrong or missing token."""


def refuse_open_cluster(named: Named, nodes: Sequence[str], dashboard: str = "") -> None:
    """Refuse a cluster that listens beyond loopback and answers without a token.

    Args:
        named: host:port of its head.
        nodes: addresses of its nodes.
        dashboard: host:port of its dashboard; empty if it has none.

    Raises:
        MachineError: the cluster is open (the text says how to make a token), or it does not answer at all.
    """
    host = named.address.rpartition(":")[0]
    if all(is_loopback(each) for each in (host, *nodes)):
        if dashboard and is_open_beyond_loopback(int(dashboard.rpartition(":")[2])):
            raise MachineError(
                f"{named}: its dashboard listens beyond its own machine and asks for no token: anyone who "
                f"reaches it can run any command there; {MAKE_A_TOKEN}"
            )
        return
    asked = _ask_as_stranger(named.address)
    if asked is not None and asked.returncode == 0:
        raise MachineError(
            f"{named}: the cluster listens beyond its own machine and asks for no token: anyone who reaches "
            f"it can run any command there; {MAKE_A_TOKEN}"
        )
    if asked is None or not _is_shut(asked):
        raise MachineError(
            f"{named}: cannot tell whether the cluster asks for a token, because it does not answer a client "
            "without one; try again, or run on this machine alone with --address local"
        )


def _ask_as_stranger(address: str) -> subprocess.CompletedProcess[str] | None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    return _ask(address, environment | {"RAY_AUTH_MODE": "disabled"})


def _is_shut(asked: subprocess.CompletedProcess[str]) -> bool:
    return asked.returncode != 0 and any(words in asked.stderr for words in _SHUT)


def refuse_shut_cluster(named: Named) -> None:
    """Refuse a Ray at host:port that rejects this process.

    Raises:
        MachineError: it asks for a token that this machine does not have.
    """
    # Asked in this process, Ray would retry for 20 s or longer, or end the process at once.
    asked = _ask(named.address, os.environ)
    if asked is not None and _is_shut(asked):
        raise MachineError(
            f"{named}: the cluster asks for a token that this machine does not have; copy the token of a node "
            "to ~/.ray/auth_token here (mode 600) and set RAY_AUTH_MODE=token; --address local runs on this machine alone"
        )
    if asked is None or asked.returncode:
        lines = ["it does not answer"] if asked is None else [line for line in asked.stderr.splitlines() if line.strip()]
        reason = lines[-1].strip()[:200] if lines else f"exit code {asked.returncode if asked else None}"
        raise MachineError(f"{named}: no Ray cluster answers there ({reason}); start it, or {named.remedy}")


def _ask(address: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str] | None:
    """Return how a request to the Ray at host:port ended; None if it took longer than a minute."""
    command = [sys.executable, "-c", _ASK, address]
    try:
        return subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", timeout=60)
    except subprocess.TimeoutExpired:
        return None


def close_token_file() -> None:
    """Make the token file readable by its owner only; Ray writes it readable by everybody on the machine.

    Raises:
        MachineError: the mode cannot be changed, because the file belongs to somebody else.
    """
    path = Path(expanded(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token"))
    try:
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise MachineError(
            f"{path}: others can read this token, and its mode cannot be changed ({reason_of(error)}); run chmod 600 {path}"
        ) from error


def is_loopback(host: str) -> bool:
    """Return whether a host is a loopback address, which no other machine can reach."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def status_without_token(url: str) -> int:
    """Return the HTTP status of a dashboard's answer to a request for its jobs without a token: 200, 401, ...

    Raises:
        OSError: nothing answers, or what answers does not speak HTTP.
    """
    try:
        with urllib.request.urlopen(f"{url}/api/jobs/", timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (HTTPException, ValueError) as error:
        raise OSError(f"no HTTP: {error!r}") from error


def is_open_beyond_loopback(port: int | None) -> bool:
    """Return whether a dashboard on this port of this machine also answers other machines, without a token."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.connect(("192.0.2.1", 9))  # sends nothing, but finds the address that others see
            return status_without_token(f"http://{one.getsockname()[0]}:{port}") == 200
    except OSError:
        return False
