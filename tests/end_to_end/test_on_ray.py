"""The whole path with real Ray: grid file, packs, Parquet, report; and the same after processes were killed."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest

from tests.end_to_end.processes import end_leftovers, family, named
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

GRID = """
study: short
factors:
  decoder: [bernoulli, gaussian]
  k: [1, 2]
  n_z: [3]
  warmup: [0, 4]
  seed: [0, 1]
model: {hidden: [48]}
training: {epochs: 40}
measure: {nll_samples: 20}
run: {commit_every: 5}
"""
TRIALS, EPOCHS = 16, 40


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    path = tmp_path_factory.mktemp("grid") / "grid.yaml"
    path.write_text(GRID)
    return path


@pytest.fixture(scope="module")
def undisturbed(grid, tmp_path_factory):
    out = tmp_path_factory.mktemp("inline")
    done = run(grid, out, "--executor", "inline")
    assert done.returncode == 0, done.stderr
    return content(out)


def command(grid: Path, out: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "study.run", str(grid), "--out", str(out), *words]


def run(grid: Path, out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(grid, out, *words), capture_output=True, text=True, timeout=300)


def start(grid: Path, out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(grid, out), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def content(out: Path) -> pd.DataFrame:
    rows = pd.read_parquet(out / "short" / "epochs").drop(columns="seconds")
    return rows.sort_values(["trial_id", "epoch"], ignore_index=True)


def files(out: Path) -> dict[str, bytes]:
    folders = ("plan", "epochs", "trials", "weights")
    return {str(path): path.read_bytes() for folder in folders for path in (out / "short" / folder).glob("*")}


def wait_for_files(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    epochs = out / "short" / "epochs"
    wait_until(lambda: len(list(epochs.glob("*.parquet"))) >= count or process.poll() is not None, "no rows come")
    assert process.poll() is None, process.communicate()[0]


def workers_of(pid: int) -> list[int]:
    return named(pid, "ray::ImplicitFunc")


def test_from_grid_to_figure(grid, undisturbed, tmp_path):
    done = run(grid, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0].startswith("study short on this machine, ")
    assert f"{TRIALS} of {TRIALS} trials completed" in done.stdout
    rows = content(tmp_path)
    assert len(rows) == TRIALS * (EPOCHS + 1)
    pd.testing.assert_frame_equal(rows, undisturbed)  # Ray changes no bit

    before = files(tmp_path)
    again = run(grid, tmp_path)
    assert again.returncode == 0
    assert "nothing to do" in again.stdout
    assert files(tmp_path) == before

    report = subprocess.run(
        [sys.executable, "-m", "analysis.report", str(tmp_path / "short")], capture_output=True, text=True, timeout=300
    )
    assert report.returncode == 0, report.stderr
    page = (tmp_path / "short" / "report.html").read_text()
    assert "<img" in page
    assert list((tmp_path / "short" / "figures").glob("*.png"))


@pytest.mark.parametrize("victim", ["driver", "worker", "both", "raylet", "gcs_server"])
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds Ray's processes in /proc, which only Linux has")
def test_kill_9_loses_nothing(grid, undisturbed, tmp_path, victim):
    process = start(grid, tmp_path)
    wait_for_files(tmp_path, 3, process)
    relatives = family(process.pid)
    if victim in ("worker", "both"):
        workers = workers_of(process.pid)
        assert workers, relatives
        os.kill(workers[0], signal.SIGKILL)
    if victim in ("raylet", "gcs_server"):
        os.kill(named(process.pid, victim)[0], signal.SIGKILL)
    if victim == "gcs_server":
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 1, out
        assert re.search(
            r"Ray's gcs_server died \(its logs: \S+\); everything stored is intact; run the same command again", out
        )
        done = run(grid, tmp_path)
        end_leftovers(set(relatives))
        assert done.returncode == 0, done.stdout + done.stderr
    elif victim in ("driver", "both"):
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert len(list((tmp_path / "short" / "trials").glob("*.parquet"))) < 4, "killed too late to show anything"
        # At once: workers that have not noticed yet run beside the new ones, and must not be able to do harm.
        done = run(grid, tmp_path)
        end_leftovers(set(relatives))
        assert done.returncode == 0, done.stdout + done.stderr
    else:
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0, out
        end_leftovers(set(relatives))
        said = {"worker": "lost its worker process and continues", "raylet": "it is started again, and every pack continues"}
        assert said[victim] in out
    rows = content(tmp_path)
    assert not rows.duplicated(["trial_id", "epoch"]).any()
    pd.testing.assert_frame_equal(rows, undisturbed)


def test_ctrl_c_stops_at_a_border_and_the_same_command_goes_on(grid, undisturbed, tmp_path):
    process = start(grid, tmp_path)
    wait_for_files(tmp_path, 1, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group gets it
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 130, out
    assert "stopping: every running pack stores what it has" in out
    stopped = content(tmp_path)
    assert 0 < len(stopped) < len(undisturbed)
    assert not list((tmp_path / "short" / "checkpoints").glob("stop-*"))
    before = files(tmp_path)
    done = run(grid, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert before.items() <= files(tmp_path).items(), "no stored file was touched"
    pd.testing.assert_frame_equal(content(tmp_path), undisturbed)


def test_a_cluster_that_is_not_there_is_said_in_one_sentence(grid, tmp_path):
    done = run(grid, tmp_path, "--address", "127.0.0.1:1")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "no Ray cluster answers there" in done.stderr
    assert "Traceback" not in done.stderr


TWO_NODES = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


def test_the_same_command_on_a_cluster_of_two_nodes(grid, undisturbed, tmp_path, monkeypatch):
    # A cluster that asks for no token is refused: tests/study/cluster/test_open_ports.py.
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef" * 4)
    cluster = subprocess.Popen(
        [sys.executable, "-c", TWO_NODES],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # Nobody else's command finds this cluster; the sockets in there have long names.
        env=os.environ | {"RAY_TMPDIR": (folder := tempfile.mkdtemp(prefix="h-", dir="/tmp"))},
    )
    assert cluster.stdout is not None
    address = cluster.stdout.readline().strip()
    try:
        done = run(grid, tmp_path, "--address", address)
        monkeypatch.setenv("RAY_ADDRESS", address)
        again = run(grid, tmp_path)
    finally:
        cluster.communicate("", timeout=300)
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"on cluster {address}, 2 nodes, 2 cores" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("the cluster is still up; take it down with `ray down FILE`")
    assert again.stdout.startswith(f"study short on cluster {address}, 2 nodes"), "the plain command finds it"
    assert "nothing to do" in again.stdout
    pd.testing.assert_frame_equal(content(tmp_path), undisturbed)
    assert not list(tmp_path.glob(".probe-*")), "what asked the nodes is gone"
