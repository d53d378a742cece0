"""cluster-local.yaml on hosts of their own: a real `ray up`, a study in a bucket, hosts that are killed or shut down and come back.

Everything happens once, in the fixture `story`, and is written down; each test holds one sentence against it. Hosts are made of
network namespaces (hosts.py): a client, a head and two workers, one with the bucket, and one of a stranger, who has no token.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import yaml

from analysis.loading.load import load
from tests import ROOT
from tests.cluster.hosts import (
    Hosts,
    kill,
    lacking,
    make,
    namespace,
    processes_on,
    remove,
    run_on,
    shut_down,
    ssh,
    start,
    wait_for,
)
from tests.s3_server import KEYS, make_bucket, open_uploads, s3_server
from workers.store.open import open_store
from workers.store.protocol import Store

if problem := lacking():
    # CI sets this variable: there, a machine without hosts is a failure and no excuse.
    assert not os.environ.get("STUDY_NEEDS_HOSTS"), problem
    pytest.skip(problem, allow_module_level=True)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


NAMES = ("client", "head", "one", "two", "store", "stranger")
RAY_HOSTS = ("head", "one", "two")
GRID = """
study: short
factors: {n_z: [2, 3], k: [1, 5], seed: [0, 1]}
model: {hidden: [16]}
training: {epochs: 1000}
measure: {nll_samples: 12, secondary_samples: 12}
run: {commit_every: 20, max_failures: 0}
"""
URL = "s3://results/of a group/short"
RUN = "cd ~/factorial-iwae && python -m study.run short.yaml"


@dataclass(frozen=True)
class Story:
    """What was seen."""

    log: str
    exit_code: int
    refused: subprocess.CompletedProcess[str]
    """The same command with results in a folder that each host has for itself."""
    bare: subprocess.CompletedProcess[str]
    """A plan on the client, without a word about the cluster."""
    scan: dict[str, dict[str, dict[str, object]]]
    """What a stranger was answered while the study ran."""
    shown: dict[str, dict[str, dict[str, object]]]
    """What somebody was answered who showed the token: the control."""
    jobs: dict[str, str]
    """The first line of the dashboard's answer on the head: without a token, and with it."""
    committed: tuple[int, int]
    """Rows files in the bucket when the host was killed, and at the end."""
    epochs: pd.DataFrame
    alone: pd.DataFrame
    """The same study on one machine."""
    open_uploads: int
    texts: str
    """All that anybody printed, Ray's logs on all hosts, and what is stored."""
    token: str
    left: dict[str, list[str]]
    """What runs on each host after `ray down`."""


@pytest.fixture(scope="module")
def story(tmp_path_factory) -> Iterator[Story]:
    # Ray's sockets have paths of at most 107 characters.
    folder = tmp_path_factory.mktemp("hosts")
    own = folder / "own"
    # Every host has the bucket's keys of its own, as the guide says: no file of the cluster holds them.
    keys = " ".join(f"{name}={value}" for name, value in KEYS.items())
    environment = f"export PATH={sys.prefix}/bin:$PATH OMP_NUM_THREADS=1 {keys}\n"
    hosts = make(folder, NAMES, environment, private=[own])
    try:
        within = ("ip", "netns", "exec", namespace("store"))
        with s3_server(folder / "s3.txt", hosts.address("store"), within) as address, pytest.MonkeyPatch.context() as patch:
            make_bucket(address, "results")
            for name, value in {**KEYS, "AWS_ENDPOINT_URL": address}.items():
                patch.setenv(name, value)
            yield _tell(hosts, folder, own, address)
    finally:
        remove(hosts)


def _tell(hosts: Hosts, folder: Path, own: Path, address: str) -> Story:
    _prepare_client(hosts, address)
    up = run_on(hosts, "client", "cd ~/factorial-iwae && ray up -y --no-config-cache cluster-local.yaml")
    assert up.returncode == 0, up.stdout + up.stderr
    token = (hosts.home("client") / ".ray" / "auth_token").read_text().strip()
    _until(lambda: _nodes(hosts) == 3, "the workers do not come", 300)

    refused = run_on(hosts, "head", f"{RUN} --out {own}")
    bare = run_on(hosts, "client", f"{RUN} --plan")
    begun = time.monotonic()
    with open(folder / "log.txt", "wb") as log:
        command = f"{RUN} --cluster cluster-local.yaml --out '{URL.rpartition('/')[0]}'"
        study = subprocess.Popen(ssh(hosts, "client", command), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            store = open_store(URL)
            _until(lambda: len(_rows(store)) >= 4 or study.poll() is not None, "no rows come", 300, folder / "log.txt")
            scan = _scan(hosts, {})
            jobs = _ask_for_a_job(hosts)
            _until_it_trains(hosts, "two", study)
            seen = len(_rows(store))
            kill(hosts, "two")
            _until(lambda: _nodes(hosts) == 2, "nobody notices that a host is gone", 300)
            start(hosts, "two")
            wait_for(hosts, "two")
            _until(lambda: _nodes(hosts) == 3, "the host is not taken in again", 300)
            _until_it_trains(hosts, "one", study)
            shut_down(hosts, "one")
            start(hosts, "one")
            wait_for(hosts, "one")
            exit_code = study.wait(600)
        finally:
            study.kill()
    print(f"the study took {time.monotonic() - begun:.0f} s")
    committed = seen, len(_rows(store))
    shown = _scan(hosts, {"RAY_AUTH_TOKEN": token})
    ended = time.monotonic()
    down = run_on(hosts, "client", "cd ~/factorial-iwae && ray down -y cluster-local.yaml")
    # `ray down` ends Ray on the head of machines of one's own; the workers' notice, and end themselves.
    _until(lambda: not any(processes_on(hosts, name) for name in RAY_HOSTS) or time.monotonic() > ended + 240, "", 300)
    left = {name: processes_on(hosts, name) for name in RAY_HOSTS}

    alone = subprocess.run(
        [
            sys.executable,
            "-m",
            "study.run",
            str(hosts.home("client") / "factorial-iwae" / "short.yaml"),
            "--out",
            str(folder / "alone"),
            "--executor",
            "inline",
        ],
        capture_output=True,
        text=True,
        timeout=1500,
        cwd=ROOT,
    )
    assert alone.returncode == 0, alone.stderr
    text = (folder / "log.txt").read_text()
    logs = [file.read_bytes() for name in RAY_HOSTS for file in (folder / name / "ray").rglob("*") if file.is_file()]
    stored = [store.read(key) for part in ("plan", "epochs", "trials") for key in store.list(part)]
    return Story(
        log=text,
        exit_code=exit_code,
        refused=refused,
        bare=bare,
        scan=scan,
        shown=shown,
        jobs=jobs,
        committed=committed,
        epochs=_content(URL),
        alone=_content(str(folder / "alone" / "short")),
        open_uploads=open_uploads(address, "results"),
        texts=text + up.stdout + up.stderr + down.stdout + b"".join([*logs, *stored]).decode(errors="replace"),
        token=token,
        left=left,
    )


def _prepare_client(hosts: Hosts, address: str) -> None:
    """The project, the edited file and a token on the client, as somebody who follows cluster-local.yaml has them."""
    project = hosts.home("client") / "factorial-iwae"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file() and not name.startswith("docs/"):
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, project / name)
    (project / "cluster-local.yaml").write_text(yaml.safe_dump(_edited(hosts, address), width=1000))
    (project / "short.yaml").write_text(GRID)
    made = run_on(hosts, "client", "ray get-auth-token --generate > /dev/null && chmod 600 ~/.ray/auth_token")
    assert made.returncode == 0, made.stderr


def _edited(hosts: Hosts, address: str) -> dict[str, object]:
    """cluster-local.yaml with this cluster's values, and what no host here can do or should wait for."""
    config = yaml.safe_load((ROOT / "cluster-local.yaml").read_text())
    config["provider"] |= {"head_ip": hosts.address("head"), "worker_ips": [hosts.address("one"), hosts.address("two")]}
    config["auth"] = {"ssh_user": "root", "ssh_private_key": str(hosts.key)}
    config["min_workers"] = config["max_workers"] = 2
    # No way to the internet: this test's own virtual environment instead of a new one.
    *_, environment, source = config["setup_commands"]
    assert "study_env" in environment
    assert "study_env" in source
    line = f"export PATH={sys.prefix}/bin:$PATH RAY_AUTH_MODE=token OMP_NUM_THREADS=1 AWS_ENDPOINT_URL={address}"
    config["setup_commands"] = [f"echo '{line}' > ~/.study_env", source]
    # Two cores are all there is; and who is gone is noticed in seconds, not in a minute.
    settings = {"period_ms": 1000, "timeout_ms": 2000, "failure_threshold": 3, "initial_delay_ms": 1000}
    knobs = " ".join(f"RAY_health_check_{name}={value}" for name, value in settings.items())
    knobs += " RAY_gcs_rpc_server_reconnect_timeout_s=10"
    for who, cores in (("head", 0), ("worker", 1)):
        commands = config[f"{who}_start_ray_commands"]
        (at,) = (number for number, command in enumerate(commands) if "ray start" in command)
        command = commands[at].replace("ray start", f"{knobs} AUTOSCALER_HEARTBEAT_TIMEOUT_S=8 ray start", 1)
        # Where the hosts run as somebody's container, limits cannot be raised.
        command = command.replace("ulimit -n 65536; ", "")
        commands[at] = f"{command} --num-cpus={cores} --object-store-memory=100000000"
    return config


def _until(is_so: Callable[[], bool], otherwise: str, seconds: float, log: Path | None = None) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        said = log.read_text() if log else ""
        assert time.monotonic() < end, f"{otherwise}\n{said}"
        time.sleep(1)


def _until_it_trains(hosts: Hosts, name: str, study: subprocess.Popen[bytes]) -> None:
    """Only a host that holds a pack can lose one."""
    _until(
        lambda: study.poll() is not None or any("ray::ImplicitFunc.train" in line for line in processes_on(hosts, name)),
        f"no pack comes to host {name}",
        300,
    )
    assert study.poll() is None, f"the study ended before host {name} held a pack: give it more epochs"


def _nodes(hosts: Hosts) -> int:
    """How many hosts belong to the cluster now, as its own head says."""
    asked = (
        "import ray; ray.init('auto', log_to_driver=False, logging_level=40); print(sum(n['Alive'] for n in ray.nodes()))"
    )
    said = run_on(hosts, "head", f'python -c "{asked}"').stdout.split()
    return int(said[-1]) if said and said[-1].isdigit() else 0


def _rows(store: Store) -> list[str]:
    return store.list("epochs")


def _content(url: str) -> pd.DataFrame:
    study = load(url)
    assert study.is_complete
    rows = study.epochs.drop(columns="seconds")
    return rows.sort_values(["trial_id", "epoch"], ignore_index=True)


def _scan(hosts: Hosts, environment: dict[str, str]) -> dict[str, dict[str, dict[str, object]]]:
    asked = subprocess.run(
        ["ip", "netns", "exec", namespace("stranger"), sys.executable, str(Path(__file__).parent / "stranger.py")]
        + [hosts.address(name) for name in RAY_HOSTS],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    told = json.loads(asked.stdout)
    assert told["methods"] == 2 if environment else told["methods"] > 100, "Ray's own descriptions of its services are read"
    return told["ports"]


def _ask_for_a_job(hosts: Hosts) -> dict[str, str]:
    post = "curl -s -i -X POST -H 'Content-Type: application/json' -d '{\"entrypoint\": \"true\"}' http://127.0.0.1:8265/api/jobs/"
    get = 'curl -s -i -H "Authorization: Bearer $(cat ~/.ray/auth_token)" http://127.0.0.1:8265/api/jobs/'
    return {name: run_on(hosts, "head", words).stdout.splitlines()[0] for name, words in (("none", post), ("token", get))}


def test_it_ends_with_the_content_of_a_single_machine(story: Story):
    assert story.exit_code == 0, story.log
    pd.testing.assert_frame_equal(story.epochs, story.alone)
    assert story.open_uploads == 0


def test_hosts_that_were_lost_in_the_middle_cost_no_failure(story: Story):
    """One was killed, and came back; one was told to shut down, as a spot machine is."""
    at_kill, at_end = story.committed
    assert 4 <= at_kill < at_end - 4
    # run.max_failures is 0: a machine that went away spends none of it.
    assert story.log.count("lost its machine and continues elsewhere") >= 2, story.log
    assert "Traceback" not in story.log


def test_the_first_lines_say_where_it_runs(story: Story):
    assert re.search(r"study short on cluster \S+, 3 nodes, 2 cores", story.log), story.log
    assert "ray down" in story.log


def test_results_that_only_one_host_sees_are_refused(story: Story):
    assert story.refused.returncode == 2
    assert "is not the same folder on 2 of 3 nodes" in story.refused.stderr
    assert "Traceback" not in story.refused.stderr


def test_the_plain_command_on_the_client_says_that_a_cluster_is_up(story: Story):
    assert story.bare.returncode == 0, story.bare.stderr
    assert "cluster factorial-iwae-local is up" in story.bare.stdout + story.bare.stderr


def test_nobody_answers_a_stranger(story: Story):
    assert len(story.scan) > 10, "Ray has many ports"
    for port, told in story.scan.items():
        assert {line.split(" ", 1)[-1] for line in told["http"]} <= {"", "401 Unauthorized"}, port
        for method, code in told["grpc"].items():
            # That a process is there is told to everybody, and no more.
            assert code in ("UNAUTHENTICATED", "UNIMPLEMENTED") or method == "/grpc.health.v1.Health/Check", (
                port,
                method,
                code,
            )
        # Whatever speaks neither protocol would not have been asked in its own words.
        is_http, is_grpc, is_ssh = any(told["http"]), bool(told["grpc"]), str(told["greeting"]).startswith("SSH-2.0")
        assert is_http or is_grpc or (is_ssh and port.endswith(":22")), (port, told)
    refused = [code for told in story.scan.values() for code in told["grpc"].values()]
    assert refused.count("UNAUTHENTICATED") > 100, "the methods asked for are those that Ray has"


def test_who_shows_the_token_is_answered(story: Story):
    answers = [told["grpc"].get("/ray.rpc.NodeInfoGcsService/CheckAlive") for told in story.shown.values()]
    assert answers.count("OK") == 1


def test_a_job_without_a_token_is_refused(story: Story):
    assert story.jobs == {"none": "HTTP/1.1 401 Unauthorized", "token": "HTTP/1.1 200 OK"}


def test_no_secret_is_printed_logged_or_stored(story: Story):
    assert "short" in story.texts
    for secret in (story.token, KEYS["AWS_SECRET_ACCESS_KEY"]):
        assert secret not in story.texts


def test_ray_down_leaves_no_process(story: Story):
    assert story.left == {name: [] for name in RAY_HOSTS}
