"""A folder that was removed, renamed or replaced while a store used it: nothing makes it again, and no answer hides it."""

import os
import pickle
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import workers.store.folder
from workers.contract.errors import FolderGoneError, exit_code_of
from workers.contract.failure import WORTH_RETRYING, failure_of
from workers.store.folder import FolderStore
from workers.store.protocol import exists

AWAY = {
    "removed": lambda root: shutil.rmtree(root),
    "renamed": lambda root: os.rename(root, root.with_name("other")),
    "replaced by a file": lambda root: (shutil.rmtree(root), root.write_bytes(b"")),
}
REPLACED = {
    "removed and made again": lambda root: (shutil.rmtree(root), (root / "plan").mkdir(parents=True)),
    "renamed, and another in its place": lambda root: (os.rename(root, root.with_name("other")), root.mkdir()),
}
SEEN = {
    "by a write": lambda root: (store := FolderStore(root), store.create("plan/1", b"x"))[0],
    "when it was opened": lambda root: (FolderStore(root).create("plan/1", b"x"), FolderStore(root))[1],
    "by a listing": lambda root: seen_later(root, lambda store: store.list("plan")),
    "by a read": lambda root: seen_later(root, lambda store: store.read("plan/1")),
    "by a question": lambda root: seen_later(root, lambda store: exists(store, "plan/2")),
}


def seen_later(root: Path, look: Callable[[FolderStore], object]) -> FolderStore:
    """A store that was opened before the folder was there."""
    store = FolderStore(root)
    FolderStore(root).create("plan/1", b"x")
    look(store)
    return store


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "results" / "s"


def below(folder: Path) -> list[Path]:
    return sorted(folder.parent.rglob("*"))


@pytest.mark.parametrize("seen", SEEN.values(), ids=SEEN)
@pytest.mark.parametrize("goes", [*AWAY.values(), *REPLACED.values()], ids=[*AWAY, *REPLACED])
def test_a_root_that_was_seen_is_never_made_again(root, goes, seen):
    store = seen(root)
    goes(root)
    before = below(root)
    for key in ("epochs/1", "plan/2", "plan/1", "verify.json"):
        with pytest.raises(FolderGoneError, match="the study's folder is gone"):
            store.create(key, b"x")
    with pytest.raises(FolderGoneError):
        store.list("plan")
    for key in ("plan/1", "epochs/1"):
        with pytest.raises(FolderGoneError):
            store.read(key)
    with pytest.raises(FolderGoneError):
        exists(store, "checkpoints/stop-1")
    store.delete("plan/1")
    assert below(root) == before


def test_a_root_that_was_never_seen_is_made_with_its_parents(root):
    """The negative control: that is what the first write of a study does."""
    store = FolderStore(root)
    assert store.list("plan") == []
    assert store.create("plan/1", b"x")
    assert store.read("plan/1") == b"x"


def test_a_folder_below_the_root_is_made_again(root):
    store = SEEN["by a write"](root)
    shutil.rmtree(root / "plan")
    assert store.create("plan/1", b"y")


@pytest.mark.parametrize("operation", ["open", "link", "fsync"])
def test_a_root_that_goes_in_the_middle_of_a_write_is_not_made_again(root, monkeypatch, operation):
    """Somebody sleeps between any two steps of a write."""
    store = SEEN["by a write"](root)
    module = workers.store.folder

    class Os:
        def __getattr__(self, name: str) -> object:
            return getattr(os, name)

    def first(call: Callable[..., object]) -> Callable[..., object]:
        def then(*args: object) -> object:
            if root.exists():
                os.rename(root, root.with_name("other"))
            return call(*args)

        return then

    seen = Os()
    if operation == "open":
        monkeypatch.setattr(module, "open", first(open), raising=False)
    else:
        setattr(seen, operation, first(getattr(os, operation)))
        monkeypatch.setattr(module, "os", seen)
    with pytest.raises(FolderGoneError):
        store.create("plan/2", b"x")
    assert not root.exists()


def test_it_is_a_failure_that_is_not_tried_again(root):
    store = SEEN["by a write"](root)
    shutil.rmtree(root)
    with pytest.raises(OSError, match="gone") as raised:
        store.create("epochs/1", b"x")
    failure = failure_of(raised.value)
    assert failure.kind == "gone"
    assert failure.kind not in WORTH_RETRYING
    assert failure.sentence == str(raised.value)
    assert str(raised.value).startswith(f"{root}: the study's folder is gone: it was removed, renamed or replaced")
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
    assert failure_of(OSError(5, "Input/output error")).kind in WORTH_RETRYING, "negative control"


def test_every_command_ends_with_the_sentence_and_exit_code_2(root, capsys):
    store = SEEN["by a write"](root)
    shutil.rmtree(root)
    assert exit_code_of(lambda: len(store.list("plan"))) == 2
    assert capsys.readouterr().err.startswith(f"{root}: the study's folder is gone")


def test_two_threads_may_look_at_once(root):
    store = FolderStore(root)
    threads = [threading.Thread(target=store.create, args=(f"plan/{number}", b"x")) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.list("plan")) == 20


def test_a_store_gives_its_handle_back(root):
    count = lambda: len(os.listdir("/proc/self/fd"))  # noqa: E731
    if not Path("/proc/self/fd").exists():
        pytest.skip("counts the open files of the process, which only Linux lists")
    FolderStore(root).create("plan/1", b"x")
    before = count()
    for _ in range(100):
        assert FolderStore(root).list("plan") == ["plan/1"]
    assert count() == before
