"""The setup of a node, run for real in an empty home with uv, curl and cloud-init replaced by stand-ins."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests import ROOT
from tests.study.cluster.cluster_yaml import NODE_TYPES, Config, ask_ray

STAND_INS = {
    "cloud-init": "echo us-west-2",
    "curl": 'echo "mkdir -p ~/.local/bin && cp $(dirname $0)/uv ~/.local/bin/uv"',
    "uv": 'echo "$@" >> ~/uv.log; test "$1" != venv || { mkdir -p ~/venv/bin && cp "$0" ~/venv/bin/python; }',
}


@pytest.fixture
def node(tmp_path: Path) -> Callable[[str], str]:
    """A machine that just got its file mounts: runs one command in its home."""
    (tmp_path / "bin").mkdir()
    for name, body in STAND_INS.items():
        script = tmp_path / "bin" / name
        script.write_text(f"#!/bin/bash\n{body}\n")
        script.chmod(0o755)
    home = tmp_path / "home"
    (home / ".ray").mkdir(parents=True)
    (home / ".ray/auth_token").touch(mode=0o644)
    (home / ".bashrc").touch()
    environment = {"HOME": str(home), "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}

    def run(command: str) -> str:
        done = subprocess.run(["bash", "-c", command], env=environment, cwd=home, check=True, capture_output=True, text=True)
        return done.stdout

    return run


@NODE_TYPES
def test_setup_can_be_repeated(config: Config, node: Callable[[str], str], tmp_path: Path, node_type: str):
    prepared = ask_ray(config)
    for command in 2 * (prepared["initialization_commands"] + prepared[f"{node_type}_setup_commands"]):
        node(command)

    home = tmp_path / "home"
    assert (home / ".bashrc").read_text().splitlines() == [". ~/.study_env"]
    assert node(". ~/.bashrc; command -v python; echo $RAY_AUTH_MODE $AWS_REGION").splitlines() == [
        f"{home}/venv/bin/python",
        "token us-west-2",
    ]
    assert (home / ".ray/auth_token").stat().st_mode & 0o777 == 0o600
    calls = (home / "uv.log").read_text().splitlines()
    assert sum(call.startswith("venv ") for call in calls) == 1
    assert any(f"--editable {home}/factorial-iwae" in call for call in calls)
    assert any(call.endswith(" boto3") for call in calls) == (node_type == "head")  # the head alone starts machines


def test_setup_of_machines_of_one_s_own_can_be_repeated(node: Callable[[str], str], tmp_path: Path):
    own = yaml.safe_load((ROOT / "cluster-local.yaml").read_text())
    for command in 2 * (own["initialization_commands"] + own["setup_commands"]):
        node(command)
    home = tmp_path / "home"
    assert (home / ".bashrc").read_text().splitlines() == [". ~/.study_env"]
    calls = (home / "uv.log").read_text().splitlines()
    assert any(call.endswith(f"--editable {home}/factorial-iwae ray[default,tune]") for call in calls), calls
    assert not any("~" in call for call in calls), "uv knows no ~"
