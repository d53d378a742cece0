"""The paths of Ray's sockets are short, whatever TMPDIR is, and who names a long folder for them hears so."""

import tempfile
from pathlib import Path

import pytest

from study.cluster.local_ray import socket_folder
from study.doctor.machine_checks import check_sockets
from study.plan.machine import MachineError

LONG = "/tmp/" + "x" * 100


@pytest.fixture
def without(monkeypatch):
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_the_folder_for_temporary_files_is_taken_where_it_is_short(without):
    without.setattr(tempfile, "tempdir", "/tmp/short")
    assert socket_folder() == Path("/tmp/short")
    assert list(check_sockets()) == []


def test_a_long_one_is_not(without):
    """Ray ended in "cannot be read or written (None)"."""
    without.setattr(tempfile, "tempdir", LONG)
    assert socket_folder() == Path("/tmp")
    (check,) = check_sockets()
    assert check.code == 0
    assert check.text == f"sockets: Ray's are in /tmp, because {LONG} (TMPDIR) is too long for the path of a socket"


def test_a_long_folder_that_is_named_for_ray_is_refused(without):
    without.setenv("RAY_TMPDIR", LONG)
    with pytest.raises(
        MachineError, match=r"^RAY_TMPDIR=/tmp/x+: has 105 characters, but the paths of Ray's sockets allow at"
    ):
        socket_folder()
    (check,) = check_sockets()
    assert check.code == 2
    assert check.text.startswith(f"sockets: RAY_TMPDIR={LONG}: has 105 characters")


def test_nowhere_to_write_is_a_sentence(without):
    def nowhere():
        raise FileNotFoundError(2, "No usable temporary directory found")

    without.setattr(tempfile, "gettempdir", nowhere)
    with pytest.raises(MachineError, match=r"^no folder for temporary files can be written \(TMPDIR, /tmp\)"):
        socket_folder()
