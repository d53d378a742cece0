"""Somebody on the network without a token: tries every port of some hosts, and prints as JSON who answered what.

python stranger.py HOST...         every port
python stranger.py HOST:PORT...    these ports

With RAY_AUTH_TOKEN in the environment its gRPC calls show that token: the control.
"""

import importlib
import json
import os
import pkgutil
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import ray.core.generated

HEALTH = "/grpc.health.v1.Health/Check"
BODY = b'{"entrypoint": "true"}'


def open_ports(host: str) -> list[int]:
    def is_open(port: int) -> bool:
        with socket.socket() as probe:
            probe.settimeout(2)
            return probe.connect_ex((host, port)) == 0

    with ThreadPoolExecutor(64) as pool:
        return [port for port, yes in enumerate(pool.map(is_open, range(1, 65536)), start=1) if yes]


def methods() -> Iterator[str]:
    """Every method that Ray's processes serve by gRPC."""
    yield HEALTH
    # The one service whose description Ray does not ship.
    yield from (f"/ray.rpc.ObjectManagerService/{name}" for name in ("Push", "Pull", "FreeObjects"))
    for module in pkgutil.iter_modules(ray.core.generated.__path__):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(f"ray.core.generated.{module.name}").DESCRIPTOR
            for service in file.services_by_name.values():
                yield from (f"/{service.full_name}/{method.name}" for method in service.methods)


def http(host: str, port: int, line: str, body: bytes = b"") -> str:
    """The first line of the answer to a request; empty if there is none of HTTP/1."""
    head = f"{line} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    try:
        with socket.create_connection((host, port), timeout=5) as connection:
            connection.settimeout(5)
            connection.sendall(head.encode() + body)
            answer = connection.recv(4096)
    except OSError:
        return ""
    return answer.split(b"\r\n")[0].decode(errors="replace") if answer.startswith(b"HTTP/1") else ""


def greeting(host: str, port: int) -> str:
    """What is said to somebody who only listens for a second."""
    try:
        with socket.create_connection((host, port), timeout=5) as connection:
            connection.settimeout(1)
            return connection.recv(4096).split(b"\r\n")[0].decode(errors="replace")
    except OSError:
        return ""


def calls(host: str, port: int, names: list[str]) -> dict[str, str]:
    """What each method answers; empty if nobody speaks gRPC there."""
    token = os.environ.get("RAY_AUTH_TOKEN")
    shown = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        found = {}
        for name in names:
            try:
                channel.unary_unary(name)(b"", timeout=5, metadata=shown)
                found[name] = "OK"
            except grpc.RpcError as error:
                found[name] = error.code().name
                if name == names[0] and found[name] == "UNAVAILABLE":
                    return {}
    return found


def main() -> None:
    names = sys.argv[1:]
    asked = [HEALTH, "/ray.rpc.NodeInfoGcsService/CheckAlive"] if os.environ.get("RAY_AUTH_TOKEN") else list(methods())
    told = {}
    for name in names:
        host, _, named = name.partition(":")
        for port in [int(named)] if named else open_ports(host):
            told[f"{host}:{port}"] = {
                "greeting": greeting(host, port),
                "http": [http(host, port, "GET /metrics"), http(host, port, "POST /api/jobs/", BODY)],
                "grpc": calls(host, port, asked),
            }
    print(json.dumps({"methods": len(asked), "ports": told}))


if __name__ == "__main__":
    main()
