"""Whoever reaches the ports of a Ray without a token can run any command on its machines: such a cluster is refused."""

import ipaddress
import os
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from study.machine import MachineError

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


def refuse_open_cluster(address: str, nodes: Sequence[str]) -> None:
    """Refuse a cluster that listens beyond loopback and answers without a token; `nodes` are its nodes' addresses.

    Raises:
        MachineError: it does; the text says how to make a token.
    """
    host = address.rpartition(":")[0]
    if not all(is_loopback(each) for each in (host, *nodes)) and answers_without_token(address):
        raise MachineError(
            f"--address {address}: the cluster listens beyond its own machine and asks for no token: whoever reaches "
            f"it can run any command there; {MAKE_A_TOKEN}"
        )


def answers_without_token(address: str) -> bool:
    """Whether a Ray at host:port does what somebody asks who shows no token."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    asked = _ask(address, environment | {"RAY_AUTH_MODE": "disabled"})
    return asked is not None and asked.returncode == 0


def refuse_shut_cluster(address: str) -> None:
    """Refuse a Ray at host:port that does not let this process in.

    Raises:
        MachineError: it asks for a token that this machine does not have.
    """
    # In this process Ray would try for 20 s or longer, or end the process at once.
    asked = _ask(address, os.environ)
    if asked is not None and any(words in asked.stderr for words in _SHUT):
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
