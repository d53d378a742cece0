"""Two drivers of one study, started at once: one set of results, with the lease and without it."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests import ROOT
from tests.study.finished_study import TINY
from tests.study.small_study import contents_of

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")

BLIND = """
import contextlib, sys
import study.drive.driver
study.drive.driver.hold = lambda store, run_id, say: contextlib.nullcontext()
from study.commands.run import main
sys.exit(main(sys.argv[1:]))
"""


LEASED = """
import contextlib, sys, time
from pathlib import Path
import study.drive.driver
hold = study.drive.driver.hold

@contextlib.contextmanager
def hold_until_the_other_has_come(store, run_id, say):
    said = []
    def tell(text):
        said.append(text)
        Path("waiting").touch()
        say(text)
    with hold(store, run_id, tell):
        # The first one trains nothing before the second has found it.
        end = time.monotonic() + 300
        while not Path("waiting").exists() and time.monotonic() < end:
            time.sleep(0.01)
        yield

study.drive.driver.hold = hold_until_the_other_has_come
from study.commands.run import main
sys.exit(main(sys.argv[1:]))
"""


def start(*command: str, out: str) -> subprocess.Popen[str]:
    words = ["tiny.yaml", "--executor", "inline", "--out", out, "--set", "training.epochs=20"]
    return subprocess.Popen(
        [sys.executable, *command, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize("command", [("-c", LEASED), ("-c", BLIND)], ids=["with the lease", "without it"])
def test_two_drivers_at_once_give_one_set_of_results(command):
    Path("tiny.yaml").write_text(TINY)
    both = [start(*command, out="both") for _ in range(2)]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    alone = start("-m", "study.run", out="alone")
    alone.communicate(timeout=300)
    assert alone.returncode == 0
    assert contents_of(Path("both/tiny")) == contents_of(Path("alone/tiny"))
    assert not pd.read_parquet("both/tiny/epochs").duplicated(["trial_id", "epoch"]).any()
    # The lease spares the second one the work; without it both do all of it.
    waited = sum("this study is already being run" in text for text in said)
    assert waited == (command[1] == LEASED)
