"""The storm of sleeper_storm.py, short; docs/breaking.md has what the whole one gave."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the processes in /proc, which only Linux has"),
]


def storm(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "tests.end_to_end.sleeper_storm", "--scale", "0.05", "--pace", "0.1", "--out", str(out)]
    return subprocess.run([*words, *options], cwd=ROOT, capture_output=True, text=True, timeout=1500)


def test_a_short_storm_changes_no_content_and_every_exit_code_is_true(tmp_path):
    done = storm(tmp_path, "--stops", "8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| different from the undisturbed run | 0 |" in done.stdout
    assert "| exit codes that are not true | 0 |" in done.stdout


def test_a_worker_that_reads_beyond_its_own_end_is_found(tmp_path):
    """The negative control: one machine that sleeps until another driver has gone further is enough."""
    done = storm(tmp_path, "--stops", "1", "--read-beyond")
    assert done.returncode == 1, done.stdout + done.stderr
    assert int(re.search(r"\| different from the undisturbed run \| (\d+) \|", done.stdout)[1]) > 0
    assert re.search(r"trials \('[0-9a-f]{16}', 30\) differs", done.stdout), done.stdout
