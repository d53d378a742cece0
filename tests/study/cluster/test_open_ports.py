"""A cluster that anybody can use is refused, and one that asks for a token is not; which cluster is this machine's."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from study.cluster.join import find_cluster, gpus_to_come, join_cluster
from study.cluster.named import Named
from study.cluster.open_ports import close_token_file, refuse_open_cluster
from study.drive.executors.ray_tune import RayTune
from study.plan.machine import MachineError, this_machine
from tests import ROOT
from workers.contract.settings import RunSettings

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
from study.cluster.join import join_cluster
from study.cluster.named import Named
from study.plan.machine import MachineError
from workers.contract.settings import RunSettings
try:
    print(join_cluster(Named(sys.argv[1]), RunSettings())[1])
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
        process.communicate("", timeout=300)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def join(address: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", JOIN, address],
        capture_output=True,
        text=True,
        timeout=300,
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
    said = join(address)
    assert "listens beyond its own machine and asks for no token" in said
    assert "ray get-auth-token --generate > /dev/null && chmod 600 ~/.ray/auth_token" in said
    assert "RAY_AUTH_MODE=token" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_cluster_that_asks_for_a_token_is_joined_with_it_alone(start, home):
    path = token(home)
    address = start("token")
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
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 2
    assert lacking.removeprefix("--address ") in done.stderr
    assert done.stderr.startswith(str(tmp_path / "ray-address" / "ray" / "ray_current_cluster"))
    assert len(done.stderr.strip().splitlines()) == 1
    done = subprocess.run([*command, "--plan", "--address", "local"], capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def answer_of(code: int, stderr: str = "") -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda address, environment: subprocess.CompletedProcess([], code, "", stderr)


@pytest.mark.parametrize("nodes", [["127.0.0.1"], ["127.0.0.1", "::1"]])
def test_loopback_is_not_asked(monkeypatch, nodes):
    monkeypatch.setattr("study.cluster.open_ports._ask", answer_of(0))
    refuse_open_cluster(Named("127.0.0.1:6379"), nodes)
    refuse_open_cluster(Named("localhost:6379"), nodes)
    for address, where in (("10.0.0.1:6379", nodes), ("127.0.0.1:6379", [*nodes, "10.0.0.2"]), ("head:6379", nodes)):
        with pytest.raises(MachineError, match="asks for no token"):
            refuse_open_cluster(Named(address), where)


def test_who_does_not_say_that_it_wants_a_token_is_not_believed(monkeypatch):
    monkeypatch.setattr("study.cluster.open_ports._ask", answer_of(1, "AuthenticationError: token"))
    refuse_open_cluster(Named("10.0.0.1:6379"), ["10.0.0.1"])
    for silent in (answer_of(1, "RpcError: DEADLINE_EXCEEDED"), lambda address, environment: None):
        monkeypatch.setattr("study.cluster.open_ports._ask", silent)
        with pytest.raises(MachineError, match="cannot tell whether the cluster asks for a token"):
            refuse_open_cluster(Named("10.0.0.1:6379"), ["10.0.0.1"])


@pytest.mark.parametrize(("status", "is_refused"), [(b"200 OK", True), (b"401 Unauthorized", False)])
def test_a_dashboard_beyond_loopback_gives_a_cluster_on_loopback_away(status, is_refused):
    with socket.create_server(("0.0.0.0", 0)) as listening:

        def answer() -> None:
            one, _ = listening.accept()
            with one:
                one.recv(10_000)
                one.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        dashboard = f"127.0.0.1:{listening.getsockname()[1]}"
        if is_refused:
            with pytest.raises(MachineError, match="dashboard listens beyond its own machine and asks for no token"):
                refuse_open_cluster(Named("127.0.0.1:6379"), ["127.0.0.1"], dashboard)
        else:
            refuse_open_cluster(Named("127.0.0.1:6379"), ["127.0.0.1"], dashboard)


def test_a_dashboard_on_loopback_alone_does_not():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        refuse_open_cluster(Named("127.0.0.1:6379"), ["127.0.0.1"], f"127.0.0.1:{listening.getsockname()[1]}")


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "ray://head:10001", "head", "head:port"])
def test_what_is_no_head_is_refused(address):
    with pytest.raises(MachineError, match="not the address of a head"):
        join_cluster(Named(address), RunSettings())


def test_auto_is_this_machines_cluster_or_none(home):
    with pytest.raises(MachineError, match="--address auto: this machine is not part of a Ray cluster"):
        join_cluster(Named("auto"), RunSettings())


def test_gpus_to_come_are_those_of_the_cluster_s_file(home):
    assert gpus_to_come() == 0
    kinds = {"head": {"resources": {"CPU": 0}, "max_workers": 0}, "worker": {"resources": {"GPU": 2}, "max_workers": 8}}
    file = home / "ray_bootstrap_config.yaml"
    file.write_text(json.dumps({"max_workers": 3, "available_node_types": kinds}))
    assert gpus_to_come() == 6
    for damaged in (
        "",
        "a: [",
        json.dumps({"max_workers": 3}),
        json.dumps({"max_workers": 3, "available_node_types": {"w": None}}),
    ):
        file.write_text(damaged)
        assert gpus_to_come() == 0


@pytest.mark.parametrize(("gpus", "slots"), [("auto", 3), (0.5, 6), (0.25, 12), (1, 3), (2, 1), (1.5, None)])
def test_packs_share_gpus_in_fractions(monkeypatch, gpus, slots):
    monkeypatch.setattr("study.plan.machine.gpu_count", lambda: 3)
    run = RunSettings(gpus_per_pack=gpus)
    if slots is None:
        with pytest.raises(
            MachineError, match=r"run\.gpus_per_pack: got 1\.5; allowed: a share of one GPU \(up to 1\), or a whole number"
        ):
            this_machine(run)
    else:
        assert this_machine(run).slots == slots


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


def answer_all(listening: socket.socket, answer: bytes) -> None:
    """Give everybody who connects the same answer."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()


OF_GRPC = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""A frame of settings."""

OF_A_WEB_SERVER = b"HTTP/1.1 400 Bad Request\r\n\r\n"


@pytest.fixture
def current_cluster(home) -> Path:
    file = home / "ray-address" / "ray" / "ray_current_cluster"
    file.parent.mkdir(parents=True)
    return file


def test_this_machines_cluster_is_found(home, monkeypatch, current_cluster):
    assert find_cluster() == (None, "")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        answer_all(listening, OF_GRPC)
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        current_cluster.write_text(address)
        assert find_cluster() == (Named(address, str(current_cluster)), "")
        monkeypatch.setenv("RAY_ADDRESS", "local")
        assert find_cluster() == (None, "")
        monkeypatch.delenv("RAY_ADDRESS")
        listening.shutdown(socket.SHUT_RDWR)
    found, reason = find_cluster()
    assert found is None, "a file that a machine that went down has left"
    assert reason.startswith(f"{current_cluster}: {address}: no Ray cluster answers there")
    for named, found in (("head:6379", "head:6379"), ("auto", "auto"), ("local", None), ("http://127.0.0.1:8265", None)):
        monkeypatch.setenv("RAY_ADDRESS", named)
        assert find_cluster()[0] == (found and Named(found, "RAY_ADDRESS"))


@pytest.mark.parametrize("answer", [OF_A_WEB_SERVER, None], ids=["a web server", "a program that is silent"])
def test_another_program_on_the_port_of_a_file_that_was_left_costs_a_moment(current_cluster, answer, monkeypatch, capsys):
    """Ray tried for 14 minutes, and then the refusal blamed --address, which nobody had given."""
    monkeypatch.setattr("study.cluster.named.WAIT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        if answer:
            answer_all(listening, answer)
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        current_cluster.write_text(address)
        site = RayTune().find_site(RunSettings(device="cpu"), None)
        assert site.is_here
        assert site.notes[0] == (
            f"note: {current_cluster}: {address}: the program that answers there is not Ray; start a cluster, or remove that "
            "file, or give --address local; running on this machine alone"
        )
        assert RayTune().find_site(RunSettings(device="cpu"), "local").notes == ()
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("named", "begins", "remedy"),
    [
        (Named("127.0.0.1:1"), "--address 127.0.0.1:1: no Ray", "leave --address out"),
        (Named("127.0.0.1:1", "RAY_ADDRESS"), "RAY_ADDRESS=127.0.0.1:1: no Ray", "unset RAY_ADDRESS"),
        (Named("127.0.0.1:1", "/tmp/ray/file"), "/tmp/ray/file: 127.0.0.1:1: no Ray", "remove that file"),
    ],
    ids=["option", "environment", "file"],
)
def test_a_message_about_an_address_names_where_it_comes_from(home, named, begins, remedy):
    with pytest.raises(MachineError) as refused:
        join_cluster(named, RunSettings())
    assert str(refused.value).startswith(begins)
    assert remedy in str(refused.value)


def test_the_environment_is_named_by_the_command(home, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(MachineError, match=r"^RAY_ADDRESS=127\.0\.0\.1:1: no Ray cluster answers there"):
        RayTune().find_site(RunSettings(), None)


OWN = """
import ray
from study.drive.executors.ray_tune import RayTune
from study.plan.machine import MachineError
from workers.contract.settings import RunSettings
import sys
ray.init(num_cpus=int(sys.argv[1]), include_dashboard=False, logging_level=40)
try:
    site = RayTune().find_site(RunSettings(device="cpu"), None)
    print(site.machine.slots, site.words)
except MachineError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cores", "said"),
    [
        (
            0,
            "the Ray that this process has started or joined: it offers no CPU now; start it with one (num_cpus), or if GPU",
        ),
        (3, "3 the Ray of this process, 3 cores"),
    ],
)
def test_a_ray_of_the_user_s_own_program_is_asked_what_it_offers(home, cores, said):
    """The program waited for ever for 2 cores that nobody had."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OWN, str(cores)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "RAY_TMPDIR"},
    )
    assert done.stdout.startswith(said), done.stdout + done.stderr
