"""The address of a cluster together with who named it, so that a message can say what to change."""

import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from study.plan.machine import MachineError

OPTION = "--address"

WAIT_S = 10.0
"""How long a program that listens has to say what it is."""

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""How a client of HTTP/2, and so of gRPC, begins: with a fixed text and a frame of settings (RFC 9113, section 3.4)."""

_SETTINGS = 4
"""The type of the frame with which every server of HTTP/2 answers."""


@dataclass(frozen=True)
class Named:
    """An address, and the option, environment variable or file that it comes from."""

    address: str
    source: str = OPTION

    def __str__(self) -> str:
        """Return the words with which a message about this address begins."""
        if self.source == OPTION:
            return f"{OPTION} {self.address}"
        return f"{self.source}={self.address}" if self.source.isupper() else f"{self.source}: {self.address}"

    @property
    def remedy(self) -> str:
        """What to do in order not to use this address."""
        if self.source == OPTION:
            return f"leave {OPTION} out"
        return f"unset {self.source}" if self.source.isupper() else f"remove that file, or give {OPTION} local"


def from_environment() -> Named | None:
    """Return the address in RAY_ADDRESS; None if it is not set. Addresses for `ray job` name no head, and count as none."""
    named = os.environ.get("RAY_ADDRESS", "")
    return Named(named, "RAY_ADDRESS") if named and not named.startswith(("http://", "https://")) else None


def from_file() -> Named | None:
    """Return the address in the file that `ray start` writes on every machine of its cluster; None without a file."""
    path = ray_folder() / "ray_current_cluster"
    try:
        address = path.read_text().strip()
    except (OSError, ValueError):
        return None
    return Named(address, str(path)) if address else None


def ray_folder() -> Path:
    """Return the folder of Ray's own files on this machine."""
    folder = os.environ.get("RAY_TMPDIR") or (os.environ.get("TMPDIR") if sys.platform == "linux" else None) or "/tmp"
    return Path(folder, "ray")


def is_host_and_port(address: str) -> bool:
    """Return whether an address is host:port, and not `auto` or a URL."""
    host, colon, port = address.rpartition(":")
    return bool(colon) and "/" not in host and port.isdigit()


def knock(named: Named) -> None:
    """Check that a program that may be Ray listens at host:port.

    Raises:
        MachineError: nothing does, or what does speaks another language than Ray.
    """
    # Ray itself would try for minutes.
    if not is_host_and_port(named.address):
        return
    host, _, port = named.address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=WAIT_S) as connection:
            if not _speaks_http2(connection):
                raise MachineError(f"{named}: the program that answers there is not Ray; start a cluster, or {named.remedy}")
    except OSError as error:
        raise MachineError(f"{named}: no Ray cluster answers there ({error}); start it, or {named.remedy}") from error


def _speaks_http2(connection: socket.socket) -> bool:
    if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return True  # nothing is said before the certificates are exchanged
    connection.sendall(_PREFACE)
    answer = b""
    try:
        while len(answer) < 4 and (more := connection.recv(64)):
            answer += more
    except OSError:
        return False
    return len(answer) >= 4 and answer[3] == _SETTINGS
