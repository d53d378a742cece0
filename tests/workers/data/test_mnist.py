"""MNIST and Fashion-MNIST: found, checked, downloaded once, and never written to."""

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.workers.data.small_images import DATA_ROOT, FILES, FOLDERS, GREY, LABELS, fill, one_sentence, settings_at, tree
from workers.contract.errors import DamagedDataError, DataError
from workers.data.images import KNOWN, load_images


@pytest.mark.usefixtures("these_are_mnist", "torchvision")
@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "unpacked"])
def test_files_that_lie_ready_are_read_and_nothing_is_written(tmp_path, name, packed):
    fill(tmp_path, name, packed)
    before = tree(tmp_path)
    images = load_images(settings_at(tmp_path, name))
    np.testing.assert_array_equal(images.train, GREY)
    np.testing.assert_array_equal(images.test_labels, LABELS[:5])
    assert images.train_labels.dtype == np.int64
    assert tree(tmp_path) == before


@pytest.mark.usefixtures("torchvision")
def test_other_content_is_named_by_its_folder(tmp_path):
    fill(tmp_path)
    before = tree(tmp_path)
    with pytest.raises(DamagedDataError) as error:
        load_images(settings_at(tmp_path))
    assert (
        f"data: mnist in {tmp_path / 'MNIST' / 'raw'} does not have the published content; remove its files"
        in one_sentence(error)
    )
    assert tree(tmp_path) == before


# ---- Where the files lie, and what they are called ----

DOTTED = {name.replace("-idx", ".idx"): raw for name, raw in FILES.items()}


def fill_at(folder, files, packed):
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in files.items():
        (folder / f"{name}{'.gz' if packed else ''}").write_bytes(gzip.compress(raw) if packed else raw)


@pytest.mark.usefixtures("these_are_mnist", "torchvision")
@pytest.mark.parametrize("folder", ["", "MNIST/raw", "MNIST", "mnist", "mnist/raw"])
@pytest.mark.parametrize("files", [FILES, DOTTED], ids=["published", "dotted"])
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "unpacked"])
def test_mnist_is_found_where_people_have_it(tmp_path, folder, files, packed):
    fill_at(tmp_path / folder, files, packed)
    np.testing.assert_array_equal(load_images(settings_at(tmp_path)).train, GREY)


@pytest.mark.usefixtures("these_are_mnist", "torchvision")
def test_folders_of_kaggle_that_are_called_like_the_files_are_passed_over(tmp_path):
    fill_at(tmp_path, DOTTED, packed=False)
    for name in FILES:
        (tmp_path / name).mkdir()
    assert len(load_images(settings_at(tmp_path)).train) == 23


@pytest.mark.usefixtures("these_are_mnist", "torchvision")
@pytest.mark.parametrize("folder", ["FashionMNIST", "fashion-mnist", "Fashion-MNIST/raw", "fashionmnist"])
def test_fashion_mnist_is_found_in_a_folder_of_its_own(tmp_path, folder):
    fill_at(tmp_path / folder, FILES, packed=True)
    for root in (tmp_path, tmp_path / folder):
        assert len(load_images(settings_at(root, "fashion_mnist")).train) == 23


@pytest.mark.parametrize("folder", ["", "MNIST/raw"])
def test_fashion_mnist_takes_no_files_that_may_be_those_of_mnist(tmp_path, torchvision, folder):
    fill_at(tmp_path / folder, FILES, packed=True)
    torchvision.download = lambda root, name: None
    with pytest.raises(DataError, match="still lacks"):
        load_images(settings_at(tmp_path, "fashion_mnist"))


@pytest.mark.usefixtures("these_are_mnist", "torchvision")
def test_files_of_the_other_data_set_are_called_so(tmp_path, monkeypatch):
    """Both have files of the same names, and nobody should be told to remove files that are right."""
    fill_at(tmp_path, FILES, packed=True)
    monkeypatch.setitem(KNOWN, "mnist", KNOWN["digits"])
    with pytest.raises(DamagedDataError) as error:
        load_images(settings_at(tmp_path))
    assert one_sentence(error) == (
        f"data: the files in {tmp_path} are those of fashion_mnist; set data.name: fashion_mnist, or name another folder with "
        "data.root"
    )


BROKEN = {
    "truncated": lambda raw: gzip.compress(raw)[:-10],
    "flipped": lambda raw: gzip.compress(raw)[:-5] + b"\0\0\0\0\0",
    "no gzip": lambda raw: b"<html>404 not found</html>",
    "empty": lambda raw: b"",
    "empty inside": lambda raw: gzip.compress(b""),
    "short inside": lambda raw: gzip.compress(raw[:-1]),
    "long inside": lambda raw: gzip.compress(raw + b"\0"),
    "header alone": lambda raw: gzip.compress(raw[:6]),
}


@pytest.mark.usefixtures("these_are_mnist", "torchvision")
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_damaged_file_is_named(tmp_path, broken):
    file = "t10k-images-idx3-ubyte"
    path = fill(tmp_path) / f"{file}.gz"
    path.write_bytes(broken(FILES[file]))
    with pytest.raises(DamagedDataError) as error:
        load_images(settings_at(tmp_path))
    assert one_sentence(error).startswith(f"data: {path} is damaged (")
    assert "remove it and run again" in str(error.value)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (RuntimeError("Error downloading train-images\nand more"), "Error downloading train-images"),
        (OSError(101, "Network is unreachable"), "Network is unreachable"),
        (TimeoutError(), "TimeoutError"),
    ],
    ids=["RuntimeError", "OSError", "TimeoutError"],
)
@pytest.mark.parametrize("missing", [None, "t10k-labels-idx1-ubyte.gz"], ids=["all missing", "one missing"])
def test_a_download_that_fails_says_what_to_do(tmp_path, torchvision, failure, reason, missing):
    if missing:
        (fill(tmp_path) / missing).unlink()

    def fail(root, name):
        raise failure

    torchvision.download = fail
    with pytest.raises(DataError) as error:
        load_images(settings_at(tmp_path))
    text = one_sentence(error)
    assert f"data.root: mnist is not in {tmp_path} and cannot be downloaded ({reason}" in text or reason in text
    assert f"put its four .gz files into {tmp_path / 'MNIST' / 'raw'}" in text
    assert "--set data.root=" in text


@pytest.mark.usefixtures("these_are_mnist")
def test_missing_files_are_downloaded_once(tmp_path, torchvision):
    torchvision.download = lambda root, name: fill(Path(root), name)
    for _ in range(2):
        assert len(load_images(settings_at(tmp_path / "new")).train) == 23
    assert [name for _, name in torchvision.calls] == ["mnist"]
    left = {path.name for path in (tmp_path / "new").rglob("*") if path.is_file()}
    assert left == {f"{file}.gz" for file in FILES} | {".download.lock"}


@pytest.mark.usefixtures("these_are_mnist")
def test_a_download_that_died_half_way_is_begun_again(tmp_path, torchvision):
    def die(root, name):
        (fill(Path(root), name) / "t10k-labels-idx1-ubyte.gz").write_bytes(b"half")
        raise KeyboardInterrupt

    torchvision.download = die
    with pytest.raises(KeyboardInterrupt):
        load_images(settings_at(tmp_path))
    # torchvision itself sees by its checksums which of its files are whole.
    torchvision.download = lambda root, name: shutil.rmtree(root) or fill(Path(root), name)
    assert len(load_images(settings_at(tmp_path)).train) == 23


AT_ONCE = """
import contextlib, sys, time, types
from pathlib import Path
import workers.data.files as image_files
import workers.data.idx as idx
from workers.contract.settings import DataSettings
root, files, is_locked = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "locked"

def mnist(aside, download):
    with (root / "downloads").open("a") as log:
        log.write("once\\n")
    # Without the lock another process must get here: this one waits for it, however late it comes.
    end = time.monotonic() + 300
    while not is_locked and (root / "downloads").read_text().count("once") < 2 and time.monotonic() < end:
        time.sleep(0.01)
    raw = Path(aside) / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for file in files.iterdir():
        (raw / file.name).write_bytes(file.read_bytes()[:20])
        time.sleep(0.1)
        (raw / file.name).write_bytes(file.read_bytes())

module = types.ModuleType("torchvision.datasets")
module.MNIST = module.FashionMNIST = mnist
sys.modules |= {"torchvision": types.ModuleType("torchvision"), "torchvision.datasets": module}
if not is_locked:
    idx._one_at_a_time = lambda root: contextlib.nullcontext()
print("ready", flush=True)
sys.stdin.readline()
print(len(image_files.read_images(DataSettings(name="mnist", root=str(root))).train))
"""


def fetch_at_once(folder, lock):
    """What three processes say that begin together, and how many of them downloaded."""
    files, root = fill(folder / "published"), folder / "root"
    root.mkdir()
    command = [sys.executable, "-c", AT_ONCE, str(root), str(files), lock]
    pipe = subprocess.PIPE
    three = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(3)]
    for process in three:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    for process in three:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=300) for process in three]
    return said, (root / "downloads").read_text().count("once")


def test_processes_of_a_node_fetch_the_data_once(tmp_path):
    said, downloads = fetch_at_once(tmp_path, "locked")
    assert [out for out, _ in said] == ["23\n"] * 3, said
    assert downloads == 1


def test_without_the_lock_they_fetch_it_more_than_once(tmp_path):
    assert fetch_at_once(tmp_path, "unlocked")[1] > 1


def test_a_download_that_brings_nothing_is_noticed(tmp_path, torchvision):
    torchvision.download = lambda root, name: None
    with pytest.raises(
        DataError, match=r"still lacks train-images-idx3-ubyte\.gz, or another of the four files, after the download"
    ):
        load_images(settings_at(tmp_path))


def test_a_root_that_is_a_file_is_refused(tmp_path, torchvision):
    root = tmp_path / "root"
    root.write_text("x")
    with pytest.raises(DataError) as error:
        load_images(settings_at(root))
    assert "is not in" in one_sentence(error)
    assert not torchvision.calls


@pytest.mark.skipif(not DATA_ROOT, reason="set STUDY_DATA_ROOT to the folder above MNIST/raw and FashionMNIST/raw")
@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("name", FOLDERS)
def test_the_real_files_are_what_their_fingerprint_says(name):
    from pathlib import Path

    before = tree(Path(DATA_ROOT))
    images = load_images(settings_at(DATA_ROOT, name))
    assert images.train.shape == (60_000, 28, 28)
    assert images.test.shape == (10_000, 28, 28)
    assert images.train.dtype == np.uint8
    assert (KNOWN[name].n_train, KNOWN[name].n_test, KNOWN[name].n_x) == (60_000, 10_000, 784)
    assert len(np.unique(images.train_labels)) == 10
    assert tree(Path(DATA_ROOT)) == before
