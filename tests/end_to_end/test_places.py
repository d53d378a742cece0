"""Real runs without a home folder, on a read-only disk, and with an output that is closed, full, cut off or in ASCII."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.study.finished_study import TINY

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("here")]

RUN = "-m study.run tiny.yaml --executor inline"

WITHOUT_HOME = "env -u HOME -u MPLCONFIGDIR -u HYPOTHESIS_STORAGE_DIRECTORY unshare -U --map-user=12345"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TINY)


def bash(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line in which PY stands for this Python."""
    line = line.replace("PY ", f"{shlex.quote(sys.executable)} ")
    command = ["bash", "-c", f"set -o pipefail; {line}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=os.environ | environment)


def can(line: str) -> bool:
    return bash(line).returncode == 0


def rows(out: str = "results") -> int:
    return sum(pq.read_metadata(path).num_rows for path in Path(out, "tiny", "epochs").glob("*.parquet"))


WHOLE = 4 * 3
"""Four trials, and two epochs with the state before them."""


@pytest.mark.parametrize(
    "tail", [">&-", "2>&-", ">&- 2>&- <&-", ">/dev/full", ">/dev/full 2>/dev/full", "| true", "| head -1"], ids=str
)
def test_a_study_is_trained_and_stored_whatever_becomes_of_its_output(tail):
    done = bash(f"PY {RUN} {tail}")
    assert done.returncode == 0
    assert "Traceback" not in done.stderr + done.stdout
    assert rows() == WHOLE
    assert len(list(Path("results/tiny/trials").iterdir())) == len(list(Path("results/tiny/trials").glob("*.parquet"))) > 0


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"LANG": "C", "LC_ALL": "C"}], ids=["ascii", "C"])
def test_a_folder_that_the_terminal_cannot_write(environment):
    done = bash(f"PY {RUN} --out 'résultats λ'", **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert rows("résultats λ") == WHOLE
    if "PYTHONIOENCODING" in environment:
        assert 'pandas.read_parquet("r?sultats ?/tiny/epochs")' in done.stdout


@pytest.fixture
def nobody():
    if not can(f"{WITHOUT_HOME} true"):
        pytest.skip("this machine allows no user namespaces")
    os.environ["TMPDIR"] = os.getcwd()


def test_no_home_and_a_user_whom_the_system_does_not_list(nobody):
    for command, said in (
        (f"PY {RUN}", "note: the home folder is not known, so caches are kept in "),
        (f"PY {RUN} --plan", "results in results/tiny"),
        ("PY -m study status tiny", "4 completed"),
        ("PY -m study doctor tiny --data tiny.yaml", "caches: the home folder is not known"),
        ("PY -m study verify tiny", "bit-equal"),
        ("PY -m analysis.report results/tiny --figure spectrum --format png", "wrote results/tiny/figures/spectrum.png"),
        ("PY -m analysis.claims results/tiny", "not testable"),
    ):
        done = bash(f"{WITHOUT_HOME} {command}")
        assert (done.returncode, done.stderr) == (0, ""), command
        assert said in done.stdout
    assert rows() == WHOLE
    assert Path("factorial-iwae-12345").stat().st_mode & 0o777 == 0o700


def test_no_home_but_a_folder_for_caches(nobody):
    done = bash(f"{WITHOUT_HOME} PY {RUN}", XDG_CACHE_HOME=os.path.abspath("caches"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "note: " not in done.stdout
    report = bash(
        f"{WITHOUT_HOME} PY -m analysis.report results/tiny --figure spectrum", XDG_CACHE_HOME=os.path.abspath("caches")
    )
    assert (report.returncode, report.stderr) == (0, "")
    assert Path("caches/factorial-iwae/matplotlib").is_dir()
    assert not list(Path().glob("factorial-iwae-*"))


def test_a_home_that_is_not_known_is_named_where_it_is_needed(nobody):
    done = bash(f"{WITHOUT_HOME} PY {RUN} --out '~/x'")
    assert done.returncode == 2
    assert "run.out: ~/x: the home folder is not known (HOME is not set); write the whole path" in done.stderr


READ_ONLY = "mount --bind results results && mount -o remount,ro,bind results"


def test_a_finished_study_on_a_read_only_disk():
    assert bash(f"PY {RUN}").returncode == 0
    if not can(f"unshare -m bash -c '{READ_ONLY} && ! touch results/x 2>&-'"):
        pytest.skip("this machine allows no read-only mounts")

    def there(command: str) -> subprocess.CompletedProcess[str]:
        return bash(f"unshare -m bash -c '{READ_ONLY}; {command.replace('PY ', sys.executable + ' ')}'")

    done = there(f"PY {RUN}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing to do: all 4 trials are done" in done.stdout
    assert there("PY -m study status tiny").returncode == 0
    for command in ("analysis.report results/tiny", "analysis.report results/tiny --figure spectrum"):
        refused = there(f"PY -m {command}")
        assert refused.returncode == 2
        assert refused.stderr == (
            "results/tiny/figures: cannot be written (Read-only file system); make it writable, or name another folder with "
            "--out\n"
        )
    assert there("PY -m analysis.report results/tiny --figure spectrum --out elsewhere").returncode == 0
    assert list(Path("elsewhere/figures").iterdir())
    # The control: with something to do, the disk is the reason for an end.
    longer = there(f"PY {RUN} --set training.epochs=3")
    assert longer.returncode == 2
    assert "Read-only file system" in longer.stderr


RC = """
text.usetex: True
axes.prop_cycle: cycler(color=["red"])
font.size: 30
axes.facecolor: black
savefig.bbox: tight
lines.linewidth: 9
mathtext.fontset: cm
"""


@pytest.mark.parametrize("place", ["current folder", "MATPLOTLIBRC", "config folder"])
def test_no_door_to_a_figure_follows_a_matplotlibrc(place):
    assert bash(f"PY {RUN}").returncode == 0
    report = "-m analysis.report results/tiny --figure spectrum --figure kl-map --format png,svg"
    doors = [report, "-m analysis.latent results/tiny"]
    for door in doors:
        assert bash(f"PY {door} --out usual").returncode == 0
    Path("rc").mkdir()
    environment = {"MPLCONFIGDIR": os.path.abspath("rc")} if place == "config folder" else {}
    if place == "MATPLOTLIBRC":
        environment = {"MATPLOTLIBRC": os.path.abspath("rc/matplotlibrc")}
    Path("matplotlibrc" if place == "current folder" else "rc/matplotlibrc").write_text(RC)
    followed = bash("PY -c 'import matplotlib; print(matplotlib.rcParams[\"text.usetex\"])'", **environment)
    assert followed.stdout == "True\n", "the control: matplotlib itself reads the file"
    for door in doors:
        done = bash(f"PY {door} --out odd", **environment)
        assert (done.returncode, done.stderr) == (0, "")
    made = sorted(path.name for path in Path("usual/figures").iterdir())
    assert len(made) > 8
    for name in made:
        assert Path("odd/figures", name).read_bytes() == Path("usual/figures", name).read_bytes(), name
