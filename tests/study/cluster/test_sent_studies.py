"""What a cluster is sent, which cluster is up, and studies in a bucket by name; with a real head: tests/end_to_end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from study import provenance
from study.cluster.ray_up_file import read_cluster, up_here
from study.cluster.shipping import asked_for, entrypoint, options_of, pack_up, refuse_own_paths
from study.commands.main import main
from study.drive.lease import hold
from study.provenance import SHIPPED, code_provenance
from tests import ROOT
from tests.s3_server import KEYS, make_bucket, s3_server
from tests.study.finished_study import TINY
from tests.study.small_study import grid_of
from workers.contract.errors import CommandError
from workers.store.keys import CHECKPOINTS_FOLDER, stop_key
from workers.store.open import open_store

CLUSTER = """
cluster_name: ours
provider: {type: local, head_ip: 127.0.0.1, worker_ips: []}
auth: {ssh_user: nobody-of-this-name, ssh_private_key: no-such-key}
"""

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def said_by(capsys, *words: str, code: int = 0) -> str:
    assert main(list(words)) == code
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return said.out if code == 0 else said.err


@pytest.fixture
def ray_folder(tmp_path, monkeypatch) -> Path:
    """Where Ray keeps note of the clusters that it has started; and no cluster of this machine's."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "temporary" / "ray").mkdir(parents=True)
    return tmp_path / "temporary" / "ray"


def test_the_code_that_is_sent_runs_alone_and_knows_its_commit(tmp_path):
    Path("my grid.yaml").write_text(TINY)
    folder = tmp_path / "sent"
    folder.mkdir()
    sent = pack_up(folder, Path("my grid.yaml"))
    assert {path.name for path in folder.iterdir()} == {"study", "workers", "sent"}
    assert not [path for path in folder.rglob("*") if path.name.startswith(".") or path.name == "__pycache__"]
    program = "import json, study.provenance, workers; print(workers.__file__); print(json.dumps(study.provenance.code_provenance()))"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=300)
    where, said = done.stdout.splitlines()
    assert Path(where).is_relative_to(folder)
    assert json.loads(said) == code_provenance()
    planned = subprocess.run(
        [sys.executable, "-m", "study.run", sent, "--plan"], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert planned.returncode == 0, planned.stderr
    assert "4 to do in 2 packs" in planned.stdout


def test_a_checkout_believes_git_and_not_what_was_sent(tmp_path, monkeypatch):
    (tmp_path / "study").mkdir()
    (tmp_path / SHIPPED).write_text(json.dumps({"commit": "sent"}))
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "study" / "provenance.py"))
    assert code_provenance() == {"commit": "sent"}
    (tmp_path / ".git").mkdir()
    assert code_provenance()["commit"] != "sent"


def test_addresses_go_along_and_keys_do_not(monkeypatch):
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": "here"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "the-token-of-the-tests")
    options = options_of("s3://b/of a group", ["study=x y"], ["k=1"], True, True)
    command = entrypoint("sent/grid.yaml", options, "s3://b/of a group")
    assert command == (
        "exec env AWS_ENDPOINT_URL=http://127.0.0.1:9 AWS_REGION=here python -m study.run sent/grid.yaml "
        "'--out=s3://b/of a group' '--set=study=x y' --only=k=1 --smoke --retry-failed"
    )
    assert not [value for value in (*KEYS.values(), "the-token-of-the-tests") if value in command]
    assert "AWS_" not in entrypoint("sent/grid.yaml", options, "/shared/results")


def test_what_is_asked_for_is_told_apart():
    one, other = grid_of("factors: {k: [1]}"), grid_of("factors: {k: [2]}")
    assert asked_for(one, ["--only=k=1", "--smoke"]) == asked_for(one, ["--smoke", "--only=k=1"])
    assert len({asked_for(one, []), asked_for(other, []), asked_for(one, ["--smoke"])}) == 3


@pytest.mark.parametrize(
    ("setting", "is_refused"),
    [
        ("run.out=results", True),
        ("run.out=/shared/results", False),
        ("run.out=s3://b/p", False),
        ("run.out=~/results", True),
        ("data.root=data", True),
        ("data.root=~/data", False),
    ],
)
def test_paths_of_this_machine_are_refused(setting, is_refused):
    grid = grid_of("factors: {k: [1]}", "run: {out: /shared}", sets=[setting])
    if is_refused:
        with pytest.raises(CommandError, match="is a path on this machine only; a cluster needs"):
            refuse_own_paths(grid)
    else:
        refuse_own_paths(grid)


def test_a_bad_grid_is_refused_before_any_cluster_is_asked(capsys):
    Path("grid.yaml").write_text(TINY.replace("relu", "rellu"))
    words = ["grid.yaml", "--address", "http://127.0.0.1:1", "--out", "/shared"]
    said = said_by(capsys, "submit", *words, code=2)
    assert "grid.yaml:5:" in said
    assert "rellu" in said
    Path("grid.yaml").write_text(TINY)
    assert "matches no trial" in said_by(capsys, "submit", *words, "--only", "k=7", code=2)
    assert "no Ray dashboard answers there" in said_by(capsys, "submit", *words, code=2)


@pytest.mark.parametrize("text", ["", "[1]", "a: [", "cluster_name: x", "cluster_name: x\nprovider: {type: aws}"])
def test_a_file_that_is_no_cluster(text, capsys):
    Path("grid.yaml").write_text(TINY)
    Path("c.yaml").write_text(text)
    said = said_by(capsys, "run", "grid.yaml", "--out", "/shared", "--cluster", "c.yaml", code=2)
    assert said.startswith("--cluster c.yaml: ")
    assert len(said.splitlines()) == 1


def test_a_cluster_that_is_not_up_is_said_in_a_sentence(capsys):
    Path("grid.yaml").write_text(TINY)
    Path("cluster.yaml").write_text(CLUSTER)
    said = said_by(capsys, "list", "--cluster", "cluster.yaml", code=2)
    assert said.startswith("cluster ours is not up (ssh nobody-of-this-name@127.0.0.1: ") or "install OpenSSH" in said
    for words in (["--plan"], ["--calibrate"], ["--executor", "inline"], ["--address", "auto"]):
        told = said_by(capsys, "run", "grid.yaml", "--cluster", "cluster.yaml", "--out", "/shared", *words, code=2)
        assert "leave one of them out" in told


@pytest.mark.parametrize("state", ["running", "terminated", None])
def test_a_run_beside_a_cluster_that_is_up_says_so(capsys, ray_folder, state):
    Path("tiny.yaml").write_text(TINY)
    Path("cluster.yaml").write_text(CLUSTER)
    Path("cluster-broken.yaml").write_text("[")
    if state:
        node = {"state": state, "tags": {"ray-node-type": "head"}}
        (ray_folder / "cluster-ours.state").write_text(json.dumps({"127.0.0.1": node}))
    assert [cluster.name for cluster in up_here(Path())] == (["ours"] if state == "running" else [])
    note = "note: cluster ours is up (cluster.yaml), but this runs here; add --cluster cluster.yaml to run there"
    assert (note in said_by(capsys, "plan", "tiny.yaml").splitlines()) == (state == "running")
    assert "note: cluster" not in said_by(capsys, "plan", "tiny.yaml", "--executor", "inline")


def test_the_project_s_own_cluster_file_is_read():
    cluster = read_cluster(str(ROOT / "cluster.yaml"))
    assert (cluster.name, cluster.provider, cluster.user, cluster.head_ip) == ("factorial-iwae", "aws", "ubuntu", None)


def test_list_below_a_folder(capsys, tiny):
    assert said_by(capsys, "list") == "tiny  results/tiny\n"
    assert "there is no study in none" in said_by(capsys, "list", "--out", "none")
    assert "give one of them, not both" in said_by(capsys, "list", "--address", "auto", "--cluster", "c.yaml", code=2)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("s3") / "log.txt") as address:
        make_bucket(address, "results")
        yield address


@pytest.fixture
def in_a_bucket(service, tiny, monkeypatch):
    """The tiny study at s3://results/of a group/tiny, as it lies in a folder."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": service}.items():
        monkeypatch.setenv(name, value)
    store = open_store("s3://results/of a group/tiny")
    for path in tiny.rglob("*"):
        if path.is_file():
            store.create(str(path.relative_to(tiny)), path.read_bytes())
    return store


def test_status_and_stop_of_a_study_in_a_bucket(capsys, in_a_bucket, tiny):
    in_folder = said_by(capsys, "status", "tiny").splitlines()
    for words in (["tiny", "--out", "s3://results/of a group"], ["s3://results/of a group/tiny/"]):
        lines = said_by(capsys, "status", *words).splitlines()
        assert lines[0] == "study tiny in s3://results/of a group/tiny"
        assert lines[1] == in_folder[1]
        # No trial of this study diverged: what the names say is what there is.
        assert lines[2].partition(",")[0] == in_folder[2].partition(",")[0].replace("epochs   ", "epochs   up to ")
        parts = [part for part in in_folder[4].partition(": ")[2].split(", ") if "lease" not in part]
        assert parts
        assert set(parts) <= set(lines[4].partition(": ")[2].split(", "))
        assert lines[5] == "next     all trials have ended: python -m analysis.report 's3://results/of a group/tiny'"
    assert "nobody is running study tiny" in said_by(capsys, "stop", "s3://results/of a group/tiny")
    with hold(in_a_bucket, "abcd", print):
        assert f"pid {os.getpid()}" in said_by(capsys, "stop", "tiny", "--out", "s3://results/of a group")
        assert stop_key("abcd") in in_a_bucket.list(CHECKPOINTS_FOLDER)
    in_a_bucket.delete(stop_key("abcd"))


def test_doctor_and_export_of_a_study_in_a_bucket(capsys, in_a_bucket, tiny):
    said = said_by(capsys, "doctor", "s3://results/of a group/tiny")
    assert "ok       results: s3://results/of a group is writable, never replaces a stored file (" in said
    assert "no duplicates, no gaps" in said
    there = said_by(capsys, "export", "s3://results/of a group/tiny", "--to", "bucket.tar.gz")
    here = said_by(capsys, "export", "tiny", "--to", "folder.tar.gz")
    assert there.replace("bucket.tar.gz", "") == here.replace("folder.tar.gz", "")
    assert Path("bucket.tar.gz").read_bytes() == Path("folder.tar.gz").read_bytes()


def test_verify_in_a_bucket_writes_there_and_nowhere_else(capsys, in_a_bucket):
    before = sorted(Path().rglob("*"))
    said = said_by(capsys, "verify", "s3://results/of a group/tiny")
    url = said.splitlines()[1].removeprefix("rows of the new run are stored in ")
    assert url.startswith("s3://results/of a group/tiny/verify/")
    assert "1 bit-equal" in said
    assert open_store(url).list("trials")
    assert sorted(Path().rglob("*")) == before


def test_rm_needs_a_folder_and_touches_nothing(capsys, in_a_bucket):
    before = in_a_bucket.list("trials")
    said = said_by(capsys, "rm", "s3://results/of a group/tiny", "--yes", code=2)
    assert "this command needs a study in a folder" in said
    assert in_a_bucket.list("trials") == before


def test_a_bucket_without_the_study_or_no_bucket_is_one_sentence(capsys, in_a_bucket):
    said = said_by(capsys, "status", "s3://results/of a group/tyni", code=2)
    assert said == (
        "no such study: tyni (looked at s3://results/of a group/tyni); start one with study run GRID --out 's3://results/of a group'\n"
    )
    assert "there is no bucket nowhere" in said_by(capsys, "status", "s3://nowhere/x", code=2)
