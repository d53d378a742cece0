"""A study whose results lie in a bucket: killed and with faults, read in place, reported locally."""

import subprocess
import sys

import pytest

from analysis.loading.load import load
from analysis.loading.study import LoadError
from tests import ROOT
from tests.end_to_end.s3_storm import storm
from tests.s3_server import KEYS, make_bucket, s3_server

pytestmark = pytest.mark.slow

GRID = """
study: short
factors: {n_z: [2, 3], seed: [0, 1]}
model: {hidden: [16]}
training: {epochs: 4}
measure: {nll_samples: 12, secondary_samples: 12}
"""


def test_a_storm_of_kills_and_faults_loses_nothing(tmp_path):
    table, is_whole = storm(tmp_path, kills=3, seed=0, epochs=12)
    assert is_whole, table


def test_a_store_that_believes_lost_answers_is_caught(tmp_path):
    table, is_whole = storm(tmp_path, kills=0, seed=0, epochs=12, rate=0.2, believes=True)
    assert not is_whole, table


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("s3") / "log.txt") as address:
        make_bucket(address, "results")
        yield address


@pytest.fixture
def environment(address, monkeypatch):
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": address}.items():
        monkeypatch.setenv(name, value)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, timeout=300, cwd=ROOT)


def test_with_ray_then_read_and_reported(environment, tmp_path):
    grid = tmp_path / "grid.yaml"
    grid.write_text(GRID)
    done = run("study.run", str(grid), "--out", "s3://results/of a group")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "figures: python -m analysis.report 's3://results/of a group/short'" in done.stdout
    again = run("study.run", str(grid), "--out", "s3://results/of a group")
    assert again.returncode == 0
    assert "nothing to do" in again.stdout
    inline = run("study.run", str(grid), "--out", str(tmp_path / "folder"), "--executor", "inline")
    assert inline.returncode == 0, inline.stderr

    study, folder = load("s3://results/of a group/short"), load(tmp_path / "folder" / "short")
    assert study.url == "s3://results/of a group/short"
    assert study.is_complete
    drop = ["seconds"]
    assert study.epochs.drop(columns=drop).equals(folder.epochs.drop(columns=drop))
    assert study.activity().equals(folder.activity())

    report = run("analysis.report", "s3://results/of a group/short", "--out", str(tmp_path / "report"), "--format", "png")
    assert report.returncode == 0, report.stderr
    assert "Made" in (page := (tmp_path / "report" / "report.html").read_text())
    assert "s3://results/of a group/short" in page
    assert list((tmp_path / "report" / "figures").glob("*.png"))
    text = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()).decode(errors="replace")
    assert not any(secret in text + done.stdout + done.stderr for secret in KEYS.values())


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://results/nothing", r"s3://results/nothing: there is no study here \(plan/ has no entry\)"),
        ("s3://nowhere/short", "there is no bucket nowhere"),
        ("s3://A/short", "A is not a valid bucket name"),
    ],
)
def test_what_is_no_study_is_said(environment, url, words):
    with pytest.raises(LoadError, match=words):
        load(url)


def test_a_bucket_that_is_not_there_ends_before_anything_runs(environment, tmp_path):
    grid = tmp_path / "grid.yaml"
    grid.write_text(GRID)
    done = run("study.run", str(grid), "--out", "s3://nowhere")
    assert done.returncode == 2
    assert "there is no bucket nowhere; create it, or name another one in run.out" in done.stderr
    assert "Traceback" not in done.stderr
