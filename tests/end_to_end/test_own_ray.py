"""The Ray that a run starts on this machine: it answers nobody else, writes no secret, and leaves nothing behind."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="finds listeners in /proc, which only Linux has"),
]

START = """
import sys
from study.cluster import local_ray
{change}
local_ray.start_ray(1)
import ray
assert ray.get(ray.remote(lambda: 1).remote()) == 1
print("up", local_ray._folders[-1], flush=True)
sys.stdin.readline()
"""
OPEN = """
from contextlib import nullcontext
local_ray._private_environment = nullcontext
local_ray._read_environment = lambda: None
"""
"""The negative control: as Ray starts when nothing is set."""

STRANGER = ROOT / "tests" / "cluster" / "stranger.py"
NOBODY = 65534


@dataclass(frozen=True)
class Started:
    home: Path
    folder: Path
    """Of its sockets and logs."""
    pids: frozenset[int]
    listeners: frozenset[tuple[str, int]]
    """(address, port) of everything that listens."""
    token: str


@contextmanager
def started(home: Path, change: str = "") -> Iterator[Started]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    process = subprocess.Popen(
        [sys.executable, "-c", START.format(change=change)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment | {"HOME": str(home)},
    )
    assert process.stdout is not None
    try:
        said = process.stdout.readline().split()
        assert said[:1] == ["up"], said
        pids = below(process.pid)
        yield Started(home, Path(said[1]), pids, listening(pids), token_of(pids))
    finally:
        process.communicate("", timeout=120)


def below(pid: int) -> frozenset[int]:
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return frozenset(found)


def listening(pids: frozenset[int]) -> frozenset[tuple[str, int]]:
    own = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            if match := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(link)):
                own.add(match[1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            host, port = fields[1].split(":")
            if fields[3] == "0A" and fields[9] in own:
                found.add((host, int(port, 16)))
    return frozenset(found)


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1, the same within IPv6, and ::1, as the kernel writes them."""


def token_of(pids: frozenset[int]) -> str:
    for pid in pids:
        for word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if word.startswith(b"RAY_AUTH_TOKEN="):
                return word.partition(b"=")[2].decode()
    return ""


def as_nobody(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    # The system's own Python: another user may not be able to read the virtual environment.
    command = ["/usr/bin/env", "-i", "/bin/sh", "-c", code, "sh", *words]
    return subprocess.run(command, capture_output=True, text=True, user=NOBODY, group=NOBODY, cwd="/")


def test_what_is_started_on_this_machine_answers_nobody_else(tmp_path):
    with started(tmp_path) as ray:
        assert len(ray.listeners) >= 5, "Ray has many ports"
        assert {host for host, _ in ray.listeners} <= LOOPBACK
        asked = subprocess.run(
            [sys.executable, str(STRANGER), *(f"127.0.0.1:{port}" for _, port in ray.listeners)],
            capture_output=True,
            text=True,
            check=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        )
        told = json.loads(asked.stdout)
        assert told["methods"] > 100, "Ray's own descriptions of its services are read"
        assert any(port["grpc"] for port in told["ports"].values()), "somebody speaks gRPC"
        for port, answers in told["ports"].items():
            assert {line.split(" ", 1)[-1] for line in answers["http"]} <= {"", "401 Unauthorized"}, port
            for method, code in answers["grpc"].items():
                is_health = method == "/grpc.health.v1.Health/Check"
                assert code in ("UNAUTHENTICATED", "UNIMPLEMENTED") or is_health, (port, method, code)
        assert len(ray.token) == 64
        assert not (tmp_path / ".ray").exists()
        assert ray.folder.stat().st_mode & 0o777 == 0o700
        if os.getuid() == 0:
            (pid, *_) = ray.pids
            assert as_nobody("ls /tmp > /dev/null").returncode == 0, "the control: somebody else can look around"
            assert as_nobody('ls "$1"', str(ray.folder)).returncode != 0
            assert as_nobody('cat "/proc/$1/environ"', str(pid)).returncode != 0
        files = [path for path in ray.folder.rglob("*") if path.is_file()]
        assert files
        assert not [path for path in files if ray.token.encode() in path.read_bytes()]
    assert not ray.folder.exists()
    assert not list(Path(tempfile.gettempdir()).glob(f"{ray.folder.name}*"))


def test_without_our_settings_it_would_be_open(tmp_path):
    """The negative control."""
    with started(tmp_path, OPEN) as ray:
        assert not {host for host, _ in ray.listeners} <= LOOPBACK
        assert (tmp_path / ".ray" / "auth_token").stat().st_mode & 0o044


def test_it_starts_again_after_it_was_lost_and_beside_an_earlier_import(tmp_path):
    code = """
import os
import shutil
import ray
from study.cluster import local_ray
for number in range(2):
    local_ray.start_ray(1)
    assert ray.get(ray.remote(lambda: 1).remote()) == 1
    assert ray.get_runtime_context().gcs_address.startswith("127.0.0.1:")
    logs = local_ray.end_ray()
    assert (logs / "gcs_server.out").exists(), "kept for whoever asks why it died"
    shutil.rmtree(logs.parents[2])
assert not any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_MODE"))
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        env=environment | {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / ".ray").exists()
