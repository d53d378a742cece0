"""The storm of kill_storm.py, short; docs/breaking.md has what the whole one gave."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

pytestmark = pytest.mark.slow


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds Ray's processes in /proc, which only Linux has")
def test_a_short_storm_loses_nothing(tmp_path):
    kills = ["--workers", "3", "--drivers", "1", "--ray", "1", "--between", "0", "--seeds", "1", "--epochs", "20"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.end_to_end.kill_storm", *kills, "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=550,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| rows expected / doubled / missing | 336 / 0 / 0 |" in done.stdout
