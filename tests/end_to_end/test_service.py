"""Studies as jobs of a real head: submitted, shown, stopped, gone on with; nodes that come later; the way through SSH."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from study.provenance import code_provenance
from tests import ROOT
from tests.end_to_end.processes import named
from workers.store.parquet import decode_with_footer

pytestmark = pytest.mark.slow


SSHD = Path("/usr/sbin/sshd")
GRID = """
study: served
factors: {k: [1, 2], seed: [0, 1]}
model: {hidden: [32]}
training: {epochs: 400}
measure: {nll_samples: 12, secondary_samples: 12}
run: {device: cpu, commit_every: 5}
"""
TOKEN = "0123456789abcdef" * 4
HEAD = """
import socket, sys
from ray.cluster_utils import Cluster
def free():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
port = free()
# The agent, which starts jobs, has a fixed port that another Ray on this machine may have taken.
agent = {"dashboard_agent_listen_port": free()}
dashboard = {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": port, **agent}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **dashboard})
print(cluster.address, port, flush=True)
for line in sys.stdin:
    cluster.add_node(num_cpus=1)
    print("added", flush=True)
cluster.shutdown()
"""


@dataclass
class Head:
    """A running head."""

    process: subprocess.Popen[str]
    address: str
    port: int

    @property
    def dashboard(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def running_head(mode: str) -> Iterator[Head]:
    # A folder of its own, with a short name for the sockets: nobody else's command finds this cluster.
    folder = tempfile.mkdtemp(prefix="h-", dir="/tmp")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = subprocess.Popen(
        [sys.executable, "-c", HEAD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # Not in this project's folder: what runs there must have been sent.
        cwd=folder,
        env=os.environ | {"RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN": TOKEN, "RAY_TMPDIR": folder, "PATH": path},
    )
    try:
        assert process.stdout is not None
        address, port = process.stdout.readline().split()
        yield Head(process, address, int(port))
    finally:
        process.communicate("", timeout=300)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """Of one node for ever: a second one on this machine unpacks what was sent into the same folder anew, under the feet of
    whoever runs there. Hosts with folders of their own: tests/cluster."""
    with running_head("token") as head:
        yield head


@pytest.fixture
def growing_head() -> Iterator[Head]:
    with running_head("token") as head:
        yield head


@pytest.fixture
def grid(tmp_path, monkeypatch) -> Path:
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    return path


def study(*words: str, code: int = 0) -> str:
    done = subprocess.run([sys.executable, "-m", "study", *words], capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 or done.stdout else done.stderr


def wait_for(what: Callable[[], object], said: Callable[[], str]) -> None:
    until = time.monotonic() + 400
    while not what():
        assert time.monotonic() < until, said()
        time.sleep(0.2)


def content(out: Path) -> pd.DataFrame:
    rows = pd.read_parquet(out / "served" / "epochs").drop(columns="seconds")
    return rows.sort_values(["trial_id", "epoch"], ignore_index=True)


def test_a_study_on_a_cluster_from_submission_to_its_end(growing_head, grid, tmp_path):
    head = growing_head
    out, place = tmp_path / "out", ["--address", head.dashboard]
    said = study("submit", str(grid), *place, "--out", str(out))
    job = re.match(r"study served is submitted to http://127.0.0.1:\d+ as job (served-[0-9a-f]{8})\n", said)
    assert job, said
    wait_for(lambda: list((out / "served/epochs").glob("*.parquet")), lambda: study("logs", "served", *place))
    again = study("submit", str(grid), *place, "--out", str(out))
    assert again.startswith(f"study served is already running as job {job[1]}; nothing is submitted\n")
    assert re.search(rf"^served  running  since .*  job {job[1]}  {out}/served$", study("list", *place), re.M)

    # One core, two packs: the second one has waited for a machine that was not there.
    old = named(head.process.pid, "raylet")
    assert len(old) == 1
    assert head.process.stdin is not None
    assert head.process.stdout is not None
    head.process.stdin.write("one more\n")
    head.process.stdin.flush()
    assert head.process.stdout.readline() == "added\n"
    (new,) = set(named(head.process.pid, "raylet")) - set(old)
    wait_for(lambda: named(new, "ray::ImplicitFunc"), lambda: study("logs", "served", *place))

    assert f"asked job {job[1]} to stop" in study("stop", "served", *place)
    log = study("logs", "served", "--follow", *place, code=130)
    assert "study served on cluster" in log
    assert "stopping: every running pack stores what it has" in log
    assert TOKEN not in log
    assert "served  stopped  since" in study("list", *place)
    assert "nobody is running study served on this cluster" in study("stop", "served", *place)
    stopped = content(out)
    assert 0 < stopped["epoch"].max() < 400
    assert (stopped.groupby("trial_id")["epoch"].max() % 5 == 0).all()
    file = min((out / "served/epochs").glob("*.parquet"))
    code = decode_with_footer(file.read_bytes(), file.name)[1]["provenance"]
    assert {name: code[name] for name in code_provenance()} == code_provenance(), "the client's commit"

    assert "is submitted to" in study("submit", str(grid), *place, "--out", str(out)), "the same command goes on"
    assert "4 of 4 trials completed" in study("logs", "served", "--follow", *place)
    assert "served  succeeded (exit code 0)" in study("list", *place)
    alone = tmp_path / "alone"
    study("run", str(grid), "--executor", "inline", "--out", str(alone))
    pd.testing.assert_frame_equal(content(out), content(alone))


def test_two_studies_share_a_cluster(head, grid, tmp_path):
    place = ["--address", head.dashboard]
    for name in ("first", "second"):
        grid.write_text(GRID.replace("epochs: 400", "epochs: 12").replace("study: served", f"study: {name}"))
        study("submit", str(grid), *place, "--out", str(tmp_path / "out"))
    assert len(re.findall(r"^(?:first|second)  (?:pending|running)  ", study("list", *place), re.M)) == 2, "both at once"
    for name in ("first", "second"):
        assert "4 of 4 trials completed" in study("logs", name, "--follow", *place)
        rows = pd.read_parquet(tmp_path / "out" / name / "epochs")
        assert len(rows) == 4 * 13
        assert not rows.duplicated(["trial_id", "epoch"]).any()


def test_the_same_command_while_the_first_one_is_stopping(head, grid, tmp_path):
    place, out = ["--address", head.dashboard], ["--out", str(tmp_path / "out"), "--set", "training.epochs=60"]
    first = re.search(r"as job (\S+)", study("submit", str(grid), *place, *out))
    assert first
    wait_for(lambda: list((tmp_path / "out/served/epochs").glob("*.parquet")), lambda: study("logs", "served", *place))
    workers = named(head.process.pid, "ray::ImplicitFunc")
    assert workers
    try:
        for worker in workers:  # which come to no border
            os.kill(worker, signal.SIGSTOP)
        study("stop", "served", *place)
        again = study("submit", str(grid), *place, *out)
        second = re.search(r"as job (\S+)", again)
        assert second
        log = ["logs", second[1], *place]
        wait_for(lambda: "this study is already being run" in study(*log), lambda: study(*log))
    finally:
        for worker in workers:
            os.kill(worker, signal.SIGCONT)
    assert f"job {first[1]} is stopping; this one waits until it has ended, then runs what is left" in again
    study("logs", first[1], "--follow", *place, code=130)
    assert "4 of 4 trials completed" in study(*log, "--follow")


def test_a_reader_that_has_seen_enough_is_no_lost_cluster(head, grid, tmp_path):
    """As `| head -1`: the command ends at once, and says nothing of the cluster."""
    place = ["--address", head.dashboard]
    grid.write_text(GRID.replace("epochs: 400", "epochs: 12").replace("study: served", "study: piped"))
    study("submit", str(grid), *place, "--out", str(tmp_path / "out"))
    command = [sys.executable, "-u", "-m", "study", "logs", "piped", "--follow", *place]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as logs:
        assert logs.stdout is not None
        assert logs.stderr is not None
        assert logs.stdout.readline()
        logs.stdout.close()
        assert logs.stderr.read() == ""
        assert logs.wait(300) == 130


def test_without_the_token_nothing_is_told(head, grid, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 64)
    assert "rejects this machine's token" in study("list", "--address", head.dashboard, code=2)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    study("list", "--address", f"127.0.0.1:{head.port}")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    study("list", "--address", head.address)  # the head itself, which says where its dashboard is
    assert "no such study on the cluster: other" in study("logs", "other", "--address", head.dashboard, code=2)


def test_a_dashboard_that_others_reach_without_a_token_is_refused(grid, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    with running_head("disabled") as head:
        # Leads to this machine, and says nothing of it.
        said = study("submit", str(grid), "--out", str(tmp_path / "out"), "--address", f"http://0.0.0.0:{head.port}", code=2)
        assert "listens beyond its own machine and asks for no token" in said
        assert "ray get-auth-token --generate" in said
        assert "no study" in study("list", "--address", head.dashboard).lower(), "nothing was submitted"


THROUGH_SSH = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it, and so does what starts there
import study.cluster.tunnel
study.cluster.tunnel.DASHBOARD_PORT = int(sys.argv.pop(1))
from study.commands.run import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(not SSHD.exists() or not shutil.which("ssh"), reason="needs OpenSSH's client and server")
def test_through_ssh_with_the_exit_code_of_the_driver(head, grid, tmp_path):
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / key)], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    # A server for this one connection, on its standard input and output.
    sshd = (
        f"{SSHD} -i -f /dev/null -h {tmp_path}/host -o AuthorizedKeysFile={tmp_path}/user.pub -o StrictModes=no "
        "-o UsePAM=no -o PermitRootLogin=yes"
    )
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text(
        f"cluster_name: ours\nprovider: {{type: local, head_ip: head.example, worker_ips: []}}\n"
        f"auth: {{ssh_user: {user}, ssh_private_key: {tmp_path}/user, ssh_proxy_command: '{sshd}'}}\n"
    )
    words = [str(grid), "--cluster", str(cluster), "--out", str(tmp_path / "out"), "--set", "training.epochs=60"]

    def command(port: int, *more: str) -> list[str]:
        return [sys.executable, "-c", THROUGH_SSH, str(port), *words, *more]

    def run(port: int, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command(port, *more), capture_output=True, text=True, timeout=300, cwd=ROOT)

    gone = run(1)
    assert gone.returncode == 2, gone.stdout
    assert "cluster ours is not up (head.example answers, but no Ray dashboard does" in gone.stderr
    # Ctrl-C leaves the driver, and the same command shows it again, to its end.
    process = subprocess.Popen(command(head.port), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    assert lines[0] == f"study served on cluster ours ({cluster}), head head.example\n"
    while "Running entrypoint" not in lines[-1]:
        lines.append(process.stdout.readline())
        assert lines[-1], "".join(lines)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 130, said
    assert f"study stop served --cluster {cluster}` stops it" in said
    done = run(head.port)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is already running as job" in done.stdout
    assert "4 of 4 trials completed" in done.stdout
    assert len(content(tmp_path / "out")) == 4 * 61
    # What only the head can see: its exit code is the command's.
    failed = run(head.port, "--set", "data.name=npz", "--set", "data.path=/nowhere.npz")
    assert failed.returncode == 2, failed.stdout + failed.stderr
    assert "/nowhere.npz" in failed.stdout


def test_sigterm_stops_at_the_next_border_with_a_ray_of_one_s_own(grid, tmp_path):
    command = [sys.executable, "-m", "study.run", str(grid), "--out", str(tmp_path / "out"), "--set", "training.epochs=3000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
    wait_for(lambda: list((tmp_path / "out/served/epochs").glob("*.parquet")), lambda: "no rows came")
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 130, said
    assert "stopping: every running pack stores what it has" in said
    assert (content(tmp_path / "out").groupby("trial_id")["epoch"].max() % 5 == 0).all()
