"""A cluster that anybody can use is refused, and one that asks for a token is not; which cluster is this machine's."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_study import ROOT

from study.cluster import find_cluster
from study.cluster_safety import answers_without_token, close_token_file, refuse_open_cluster
from study.machine import MachineError

HEAD = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""
JOIN = """
import sys
from study.cluster import join_cluster
from study.machine import MachineError
from workers.settings import RunSettings
try:
    print(join_cluster(sys.argv[1], RunSettings())[1])
except MachineError as error:
    print(error)
"""


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home without a token, and no cluster of this machine's."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "ray-address"))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def start(home) -> Iterator[Callable[[str], str]]:
    """Starts a Ray in a process of its own; returns its address."""
    heads: list[subprocess.Popen[str]] = []
    folders: list[str] = []

    def head(mode: str) -> str:
        # Its sockets have long names, so not in tmp_path; and nobody else's command finds this cluster.
        folders.append(tempfile.mkdtemp(prefix="h-", dir="/tmp"))
        environment = os.environ | {"RAY_AUTH_MODE": mode, "RAY_TMPDIR": folders[-1]}
        heads.append(
            subprocess.Popen(
                [sys.executable, "-c", HEAD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=environment,
            )
        )
        assert heads[-1].stdout is not None
        return heads[-1].stdout.readline().strip()

    yield head
    for process in heads:
        process.communicate("", timeout=120)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def join(address: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", JOIN, address],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def token(home: Path) -> Path:
    path = home / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("0123456789abcdef" * 4)
    path.chmod(0o644)
    return path


@pytest.mark.slow
def test_a_cluster_that_listens_to_others_without_a_token_is_refused(start):
    address = start("disabled")
    assert not address.startswith("127."), "this machine has an address of its own"
    assert answers_without_token(address)
    said = join(address)
    assert "listens beyond its own machine and asks for no token" in said
    assert "ray get-auth-token --generate > /dev/null && chmod 600 ~/.ray/auth_token" in said
    assert "RAY_AUTH_MODE=token" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_cluster_that_asks_for_a_token_is_joined_with_it_alone(start, home):
    path = token(home)
    address = start("token")
    assert not answers_without_token(address)
    assert join(address, RAY_AUTH_MODE="token") == f"cluster {address}, 1 node, 1 core\n"
    assert path.stat().st_mode & 0o777 == 0o600, "others on this machine could read it"


@pytest.mark.slow
def test_without_its_token_a_cluster_is_refused_at_once(start, home, tmp_path):
    token(home)
    address = start("token")
    (home / ".ray" / "auth_token").unlink()
    lacking = f"--address {address}: the cluster asks for a token that this machine does not have; copy the token of a node"
    for environment in (
        {"RAY_AUTH_MODE": "disabled"},
        {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 64},
        {"RAY_AUTH_MODE": "token"},  # Ray would end the process
    ):
        assert join(address, **environment).startswith(lacking), environment
    # The cluster of somebody else, whom the plain command finds on a shared machine.
    (tmp_path / "ray-address" / "ray").mkdir(parents=True)
    (tmp_path / "ray-address" / "ray" / "ray_current_cluster").write_text(address)
    grid = tmp_path / "grid.yaml"
    grid.write_text("study: shared\nfactors: {seed: [0]}\n")
    command = [sys.executable, "-m", "study.run", str(grid), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 2
    assert lacking in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    done = subprocess.run([*command, "--plan", "--address", "local"], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("nodes", [["127.0.0.1"], ["127.0.0.1", "::1"]])
def test_loopback_is_not_asked(monkeypatch, nodes):
    monkeypatch.setattr("study.cluster_safety.answers_without_token", lambda address: True)
    refuse_open_cluster("127.0.0.1:6379", nodes)
    refuse_open_cluster("localhost:6379", nodes)
    for address, where in (("10.0.0.1:6379", nodes), ("127.0.0.1:6379", [*nodes, "10.0.0.2"]), ("head:6379", nodes)):
        with pytest.raises(MachineError, match="asks for no token"):
            refuse_open_cluster(address, where)


def test_a_token_is_closed_to_others(home, monkeypatch):
    close_token_file()  # there is none
    path = token(home)
    close_token_file()
    assert path.stat().st_mode & 0o777 == 0o600
    other = home / "elsewhere"
    other.write_text("x")
    other.chmod(0o640)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(other))
    close_token_file()
    assert other.stat().st_mode & 0o777 == 0o600


def test_this_machines_cluster_is_found(home, monkeypatch):
    import socket

    assert find_cluster() is None
    file = home / "ray-address" / "ray" / "ray_current_cluster"
    file.parent.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        file.write_text(address)
        assert find_cluster() == address
        monkeypatch.setenv("RAY_ADDRESS", "local")
        assert find_cluster() is None
        monkeypatch.delenv("RAY_ADDRESS")
    assert find_cluster() is None, "a file that a machine that went down has left"
    for named, found in (("head:6379", "head:6379"), ("auto", "auto"), ("local", None), ("http://127.0.0.1:8265", None)):
        monkeypatch.setenv("RAY_ADDRESS", named)
        assert find_cluster() == found
