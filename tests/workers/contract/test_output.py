"""Commands whose output is closed, cut off, on a full disk, or in an encoding that lacks a character."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from workers.contract.errors import exit_code_of, reason_of

COMMAND = """
import sys
from pathlib import Path
from workers.contract.errors import exit_code_of, say

def work():
    for number in range(3):
        say(f"line {number} λ é")
    print("a line for stderr, λ", file=sys.stderr)
    sys.stdin.read()
    Path("stored").write_text("λ", encoding="utf-8")
    return CODE

raise SystemExit(exit_code_of(work, needs_output=NEEDED))
"""


def shell(tail: str, needed: bool = False, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    Path("command.py").write_text(COMMAND.replace("NEEDED", str(needed)).replace("CODE", str(code)))
    line = f"set -o pipefail; {sys.executable} command.py {tail}"
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, env=os.environ | environment, stdin=subprocess.DEVNULL
    )


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize(
    "tail",
    [
        ">&-",
        "2>&-",
        "<&-",
        ">&- 2>&- <&-",
        ">/dev/full",
        "2>/dev/full",
        ">/dev/full 2>/dev/full",
        "| true",
        "> out",
    ],
)
def test_a_command_that_stores_goes_on_and_keeps_its_exit_code(tail, code):
    done = shell(tail, code=code)
    assert done.returncode == code
    assert Path("stored").is_file()
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_a_full_disk_is_named_once_and_a_reader_who_left_is_not():
    assert shell(">/dev/full").stderr.count("note: the output cannot be written (No space left on device)") == 1
    assert shell("| true").stderr == "a line for stderr, λ\n"


@pytest.mark.parametrize(
    ("tail", "code", "is_stored"), [(">&-", 0, True), (">/dev/full", 2, False), ("| true", 130, False), ("> out", 0, True)]
)
def test_a_command_that_is_for_its_output_ends_with_it(tail, code, is_stored):
    done = shell(tail, needed=True)
    assert (done.returncode, Path("stored").is_file()) == (code, is_stored)
    assert "Traceback" not in done.stderr
    if code == 2:
        assert done.stderr == "stdout cannot be written (No space left on device); free some space, or print elsewhere\n"


def test_characters_that_a_terminal_lacks_are_replaced():
    done = shell("", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "line 0 ? ?")
    assert shell("").stdout.splitlines()[0] == "line 0 λ é"


def test_no_file_is_opened_in_the_place_of_a_closed_stream():
    """What a library of C prints would be written into it."""
    program = (
        "import os\nfrom workers.contract.errors import exit_code_of\n"
        "def work():\n    file = open('data', 'w')\n    os.system('echo in the way')\n    return int(file.fileno() < 3)\n"
        "raise SystemExit(exit_code_of(work))"
    )
    Path("program.py").write_text(program)
    done = subprocess.run(["bash", "-c", f"{sys.executable} program.py >&- 2>&- <&-"])
    assert done.returncode == 0
    assert Path("data").read_text() == ""


def test_the_streams_are_those_of_before_afterwards(capsys):
    before = sys.stdout, sys.stderr
    assert exit_code_of(lambda: 0) == 0
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            OSError("AF_UNIX path length"),
            "the system refused a request of this command (AF_UNIX path length); no file is named",
        ),
        (OSError(), "the system refused a request of this command (OSError); no file is named"),
        (
            OSError(errno.ENOSPC, "No space left"),
            "the system refused a request of this command (No space left); no file is named",
        ),
        (
            OSError(errno.EROFS, "Read-only", "results/s"),
            "results/s: cannot be read or written (Read-only); check the disk, its free space and the permissions",
        ),
        (
            OSError(errno.EROFS, "Read-only", b"results/s"),
            "results/s: cannot be read or written (Read-only); check the disk, its free space and the permissions",
        ),
    ],
    ids=["text alone", "nothing", "no path", "path", "path in bytes"],
)
def test_an_error_of_the_system_is_about_its_own_path_or_about_none(capsys, error, sentence):
    def work():
        raise error

    assert exit_code_of(work) == 2
    assert capsys.readouterr().err == f"{sentence}\n"
    assert "None" not in reason_of(error)


def test_every_other_file_takes_the_reason_from_one_place():
    found = {
        str(path.relative_to(ROOT))
        for package in ("study", "workers", "analysis")
        for path in (ROOT / package).rglob("*.py")
        if ".strerror" in path.read_text() or '"strerror"' in path.read_text()
    }
    # A BucketError always has a reason.
    expected = {"workers/contract/errors.py", "workers/store/bucket.py"}
    assert found == expected
