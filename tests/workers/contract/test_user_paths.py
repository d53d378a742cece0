"""What `~` means, how a path is written for a shell, and where caches lie, with and without a home folder."""

import os
import pwd
import shlex
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import ROOT
from workers.contract import user_paths
from workers.contract.errors import CommandError
from workers.contract.user_paths import cache_folder, cache_note, can_be_written, expanded, home_folder, quoted


@pytest.fixture
def no_home(monkeypatch):
    def lists_nobody(number):
        raise KeyError(number)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", lists_nobody)


@given(st.text(st.characters(exclude_characters="\0"), max_size=30))
def test_only_a_path_that_begins_with_a_tilde_is_changed(text):
    if not text.startswith("~"):
        assert expanded(text) == text
    assert expanded(f"~/{text}") == f"{os.environ['HOME']}/{text}"


def test_the_home_of_a_user_who_exists():
    assert expanded("~root/x") == os.path.expanduser("~root") + "/x"
    assert expanded(Path("~")) == os.environ["HOME"]


@pytest.mark.parametrize("path", ["~nobody-of-this-name/x", "~nobody-of-this-name"])
def test_the_home_of_a_user_who_does_not_exist(path):
    with pytest.raises(CommandError, match=r"there is no user 'nobody-of-this-name'; write the whole path, or \./~nobody"):
        expanded(path)


def test_no_home_at_all(no_home):
    assert home_folder() is None
    with pytest.raises(CommandError, match="~/x: the home folder is not known"):
        expanded("~/x")


@pytest.mark.parametrize("home", ["", "relative"])
def test_a_home_that_is_no_absolute_path_is_none(monkeypatch, home):
    monkeypatch.setenv("HOME", home)
    assert home_folder() is None


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30))
def test_a_shell_reads_a_quoted_path_as_one_word_that_is_no_option(text):
    (word,) = shlex.split(quoted(text))
    assert word in (text, f"./{text}")
    assert not word.startswith("-")


def test_a_real_shell_does_too():
    path = "a b/-c$(true)'\"`;é*"
    printed = subprocess.run(["bash", "-c", f"printf %s {quoted(path)}"], capture_output=True, text=True).stdout
    assert printed == path


def test_caches_lie_in_the_folder_that_is_named(monkeypatch, no_home, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert (cache_folder(), cache_note()) == (tmp_path / "caches" / "factorial-iwae", "")


def test_caches_lie_in_the_home_folder():
    assert (cache_folder(), cache_note()) == (Path(os.environ["HOME"], ".cache", "factorial-iwae"), "")


def test_without_a_home_caches_are_temporary_and_a_line_says_so(no_home, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    user_paths._temporary.cache_clear()
    folder = cache_folder()
    assert folder == tmp_path / f"factorial-iwae-{os.stat(tmp_path).st_uid}"
    assert cache_note() == (
        f"note: the home folder is not known, so caches are kept in {folder}; set XDG_CACHE_HOME to a folder that lasts"
    )
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("trap", ["a link", "a folder that others can write", "a file"])
def test_a_temporary_folder_that_somebody_else_could_have_made_is_not_used(tmp_path, monkeypatch, trap):
    me = os.stat(tmp_path).st_uid
    taken = tmp_path / f"factorial-iwae-{me}"
    if trap == "a link":
        taken.symlink_to(tmp_path)
    elif trap == "a file":
        taken.touch()
    else:
        taken.mkdir()
        taken.chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    user_paths._temporary.cache_clear()
    made = user_paths._temporary(str(tmp_path), me)
    user_paths._temporary.cache_clear()
    assert made != taken
    assert made.is_dir()
    assert made.stat().st_mode & 0o777 == 0o700


def test_a_home_in_which_nothing_can_be_written_is_read_but_not_filled(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert not can_be_written(tmp_path / ".cache")
    assert f"nothing can be written below {tmp_path}" in cache_note()
    (tmp_path / ".cache" / "factorial-iwae").mkdir(parents=True)
    assert (cache_folder(), cache_note()) == (tmp_path / ".cache" / "factorial-iwae", "")


def test_every_other_file_leaves_it_to_this_one():
    found = {
        str(path.relative_to(ROOT))
        for package in ("study", "workers", "analysis")
        for path in (ROOT / package).rglob("*.py")
        if any(word in path.read_text() for word in ("expanduser", "Path.home", "getpass", '"XDG_CACHE_HOME"'))
    }
    assert found == {"workers/contract/user_paths.py"}
