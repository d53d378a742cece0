"""Data sets: found, checked, refused in one sentence, and never written to."""

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest

from workers.contract.errors import DamagedDataError, DataError
from workers.contract.settings import DataSettings
from workers.data.files import Images
from workers.data.images import KNOWN, fingerprint, known, load_images

DATA_ROOT = os.environ.get("STUDY_DATA_ROOT")


def one_sentence(error):
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith("data")
    return text


# ---- digits ----


def test_digits_are_what_their_fingerprint_says():
    images = load_images(DataSettings())
    assert (images.train.shape, images.test.shape) == ((1437, 8, 8), (360, 8, 8))
    assert fingerprint(images) == KNOWN["digits"].fingerprint == known(DataSettings()).fingerprint
    assert (KNOWN["digits"].n_train, KNOWN["digits"].n_test, KNOWN["digits"].n_x) == (1437, 360, 64)
    for part in (images.train, images.test):
        assert part.dtype == np.float32
        assert set(np.unique(part)) == {np.float32(i / 16) for i in range(17)}
    # Stratified: every class takes a fifth of its images to the test.
    train, test = (np.bincount(labels, minlength=10) for labels in (images.train_labels, images.test_labels))
    np.testing.assert_allclose(test / (train + test), 360 / 1797, atol=0.005)
    both = np.concatenate([images.train, images.test]).reshape(1797, -1)
    assert len(np.unique(both, axis=0)) == 1797


def test_images_set_aside_are_the_first():
    whole, rest = load_images(DataSettings()), load_images(DataSettings(n_valid=37))
    np.testing.assert_array_equal(rest.train, whole.train[37:])
    np.testing.assert_array_equal(rest.train_labels, whole.train_labels[37:])
    np.testing.assert_array_equal(rest.test, whole.test)
    # The data are the same, so the fingerprint is: `data.n_valid` itself makes another trial.
    assert known(DataSettings(n_valid=37)) == known(DataSettings())


@pytest.mark.parametrize("n_valid", [1437, 5000])
def test_no_image_left_is_refused(n_valid):
    with pytest.raises(DataError) as error:
        load_images(DataSettings(n_valid=n_valid))
    assert f"data.n_valid: {n_valid} leaves no image of 1437" in one_sentence(error)


def test_the_fingerprint_sees_every_array_its_type_and_its_shape():
    labels = np.array([0, 1])
    base = Images(np.zeros((2, 2, 2), np.uint8), np.zeros((1, 2, 2), np.uint8), labels, labels[:1])
    others = [
        Images(base.train, base.test, None, None),
        Images(base.train, base.test, labels, None),
        Images(base.train, base.test, labels[::-1].copy(), labels[:1]),
        Images(base.train.reshape(2, 1, 4), base.test.reshape(1, 1, 4), labels, labels[:1]),
        Images(base.train.view(np.bool_), base.test, labels, labels[:1]),
        Images(base.train[:1], base.train, labels, labels[:1]),
        Images(base.train, base.test + np.uint8(1), labels, labels[:1]),
    ]
    assert len({fingerprint(images) for images in [base, *others]}) == 8


# ---- npz ----


def write(tmp_path, **arrays):
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays)
    return DataSettings(name="npz", path=str(path))


RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (23, 4, 3), dtype=np.uint8)
SHARES = RNG.random((23, 4, 3))
LABELS = np.arange(23) % 3


@pytest.mark.parametrize(
    ("images", "dtype"),
    [(GREY, np.uint8), (SHARES, np.float32), (SHARES.astype(np.float16), np.float32), (SHARES > 0.5, np.float32)],
    ids=["uint8", "float64", "float16", "bool"],
)
def test_npz_of_any_kind_of_pixel(tmp_path, images, dtype):
    settings = write(tmp_path, images=images, labels=LABELS)
    found = load_images(settings)
    assert found.train.shape == (19, 4, 3)
    assert found.test.shape == (4, 4, 3)
    assert found.train.dtype == found.test.dtype == dtype
    # Every image once, with its own label.
    pairs = [(x.astype(np.float32).tobytes(), y) for x, y in zip(images, LABELS, strict=True)]
    back = [*zip(found.train, found.train_labels, strict=True), *zip(found.test, found.test_labels, strict=True)]
    assert sorted((x.astype(np.float32).tobytes(), y) for x, y in back) == sorted(pairs)
    assert known(settings).n_x == 12
    assert (known(settings).n_train, known(settings).n_test) == (19, 4)
    assert known(settings).fingerprint == fingerprint(found)
    assert fingerprint(load_images(settings)) == fingerprint(found)


def test_npz_of_rows_of_pixels(tmp_path):
    found = load_images(write(tmp_path, images=GREY.reshape(23, 12)))
    assert found.train.shape == (19, 1, 12)
    assert found.train_labels is None


def test_npz_of_two_images(tmp_path):
    found = load_images(write(tmp_path, images=GREY[:2]))
    assert (len(found.train), len(found.test)) == (1, 1)


def test_npz_with_its_own_split(tmp_path):
    found = load_images(
        write(tmp_path, train_images=GREY[:20], test_images=GREY[20:], test_labels=LABELS[20:].astype(np.uint8))
    )
    np.testing.assert_array_equal(found.train, GREY[:20])
    np.testing.assert_array_equal(found.test, GREY[20:])
    assert found.train_labels is None
    np.testing.assert_array_equal(found.test_labels, LABELS[20:])
    assert found.test_labels.dtype == np.int64


def test_compressed_npz(tmp_path):
    np.savez_compressed(tmp_path / "mine.npz", images=GREY)
    assert len(load_images(DataSettings(name="npz", path=str(tmp_path / "mine.npz"))).train) == 19


REFUSED = {
    "no images": ({"pictures": GREY}, "holds pictures; allowed are images (and labels)"),
    "nothing": ({}, "holds nothing; allowed are images"),
    "half a split": ({"train_images": GREY}, "holds train_images; allowed are"),
    "one axis": ({"images": GREY[:, 0, 0]}, "images has shape (23,); allowed is [n, height, width] or [n, pixels]"),
    "four axes": ({"images": GREY[..., None]}, "images has shape (23, 4, 3, 1)"),
    "no image": ({"images": GREY[:0]}, "images has shape (0, 4, 3)"),
    "one image": ({"images": GREY[:1]}, "images has shape (1, 4, 3)"),
    "no pixel": ({"images": GREY[:, :0]}, "images has shape (23, 0, 3)"),
    "too bright": ({"images": SHARES * 255}, "images is float64; allowed are uint8 from 0 to 255 and floats from 0 to 1"),
    "negative": ({"images": SHARES - 0.5}, "floats from 0 to 1"),
    "nan": ({"images": np.where(SHARES > 0.5, np.nan, 0)}, "floats from 0 to 1"),
    "wide integers": ({"images": GREY.astype(np.int64)}, "images is int64"),
    "text": ({"images": GREY.astype(str)}, "images is <U3"),
    "complex": ({"images": GREY * 1j}, "images is complex128"),
    "labels too few": ({"images": GREY, "labels": LABELS[:-1]}, "labels must be 23 integers from 0, one an image"),
    "labels as floats": ({"images": GREY, "labels": LABELS * 1.0}, "labels must be 23 integers"),
    "labels below 0": ({"images": GREY, "labels": LABELS - 1}, "labels must be 23 integers"),
    "sizes differ": (
        {"train_images": GREY, "test_images": GREY[:, :3]},
        "train_images (23, 4, 3) and test_images (23, 3, 3) differ in size",
    ),
}


@pytest.mark.parametrize(("arrays", "words"), REFUSED.values(), ids=REFUSED)
def test_another_form_is_refused(tmp_path, arrays, words):
    settings = write(tmp_path, **arrays)
    with pytest.raises(DataError) as error:
        load_images(settings)
    assert words in one_sentence(error)
    assert "mine.npz" in str(error.value)


def test_npz_without_a_path_is_refused():
    with pytest.raises(DataError, match=r"data\.path: name the file"):
        load_images(DataSettings(name="npz"))


@pytest.mark.parametrize("path", ["nowhere.npz", "."])
def test_npz_that_is_not_there_is_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as error:
        load_images(DataSettings(name="npz", path=path))
    assert f"data.path: {path} is no file (looked from {tmp_path})" in one_sentence(error)


class Trap:
    """An object whose unpickling would leave a trace."""

    def __reduce__(self):
        return os.mkdir, ("trap-went-off",)


def npy_bytes(array, **options):
    from io import BytesIO

    file = BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def zipped(raw):
    from io import BytesIO

    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("images.npy", raw)
    return file.getvalue()


DAMAGED = {
    "empty": b"",
    "text": b"these are no images\n",
    "half a zip": zipped(npy_bytes(GREY))[:200],
    "pickled": zipped(npy_bytes(np.array([Trap()]), allow_pickle=True)),
    "bare pickle": b"\x80\x04K\x01.",
    "zip of text": zipped(b"these are no images"),
    "half an array": zipped(npy_bytes(GREY)[:100]),
    "one array": npy_bytes(GREY),
}


@pytest.mark.parametrize("raw", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_npz_is_named(tmp_path, monkeypatch, raw):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.npz"
    path.write_bytes(raw)
    # An archive member that is no array is kept as bytes: then the form is refused, not the file.
    with pytest.raises(DataError) as error:
        load_images(DataSettings(name="npz", path=str(path)))
    assert "mine.npz" in one_sentence(error)
    assert not (tmp_path / "trap-went-off").exists()


@pytest.mark.filterwarnings("ignore::UserWarning:zipfile")
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_flipped_bit_of_an_npz_is_noticed_or_harmless(tmp_path, save):
    path = tmp_path / "mine.npz"
    save(path, images=GREY)
    settings, raw = DataSettings(name="npz", path=str(path)), path.read_bytes()
    expected = fingerprint(load_images(settings))
    messages = []
    for bit in np.random.default_rng(0).integers(0, 8 * len(raw), 150):
        damaged = bytearray(raw)
        damaged[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(damaged)
        try:
            assert fingerprint(load_images(settings)) == expected
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 75
    assert all("mine.npz" in message for message in messages)


# ---- MNIST ----


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + array.tobytes()


FILES = {
    "train-images-idx3-ubyte": idx(GREY),
    "train-labels-idx1-ubyte": idx(LABELS.astype(np.uint8)),
    "t10k-images-idx3-ubyte": idx(GREY[:5]),
    "t10k-labels-idx1-ubyte": idx(LABELS[:5].astype(np.uint8)),
}
FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}


def fill(root, name="mnist", packed=True):
    raw = root / FOLDERS[name] / "raw"
    raw.mkdir(parents=True)
    for file, content in FILES.items():
        if packed:
            (raw / f"{file}.gz").write_bytes(gzip.compress(content))
        else:
            (raw / file).write_bytes(content)
    return raw


def settings_at(root, name="mnist"):
    return DataSettings(name=name, root=str(root))


def tree(root):
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in root.rglob("*")} | {
        root: root.stat().st_mtime_ns
    }


@pytest.fixture
def these_are_mnist(monkeypatch):
    """Take the small files for the real ones."""
    images = Images(GREY, GREY[:5], LABELS, LABELS[:5])
    for name in FOLDERS:
        monkeypatch.setitem(KNOWN, name, KNOWN[name].__class__(fingerprint(images), 23, 5, 12))


@pytest.fixture
def torchvision(monkeypatch):
    """torchvision without its import of seconds and without a network; set `download` to what shall happen."""
    calls = []

    def download(root, name):
        pytest.fail("files that lie ready were downloaded")

    module = types.ModuleType("torchvision.datasets")
    module.download = download
    for name, folder in FOLDERS.items():

        def data_set(root, download, name=name):
            assert download
            calls.append((root, name))
            module.download(root, name)

        setattr(module, folder, data_set)
    module.calls = calls
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)
    return module


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
    assert f"data: mnist in {tmp_path} does not have the content it should have; remove its files" in one_sentence(error)
    assert tree(tmp_path) == before


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
from workers.contract.settings import DataSettings
root, files, is_locked = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "locked"

def mnist(aside, download):
    with (root / "downloads").open("a") as log:
        log.write("once\\n")
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
    image_files._one_at_a_time = lambda root: contextlib.nullcontext()
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
    said = [process.communicate(timeout=60) for process in three]
    return said, (root / "downloads").read_text().count("once")


def test_processes_of_a_node_fetch_the_data_once(tmp_path):
    said, downloads = fetch_at_once(tmp_path, "locked")
    assert [out for out, _ in said] == ["23\n"] * 3, said
    assert downloads == 1


def test_without_the_lock_they_fetch_it_more_than_once(tmp_path):
    assert fetch_at_once(tmp_path, "unlocked")[1] > 1


def test_a_download_that_brings_nothing_is_noticed(tmp_path, torchvision):
    torchvision.download = lambda root, name: None
    with pytest.raises(DataError, match=r"has no train-images-idx3-ubyte\.gz after the download"):
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


# ---- data that nobody can download ----


BITS = RNG.integers(0, 2, (9, 784), dtype=np.uint8)
FRAMES = np.repeat(np.arange(1965) % 256, 560).astype(np.uint8).reshape(1965, 28, 20)
FRAMES[:, 0, 0] = np.arange(1965) // 256


def text(bits, between=b" ", end=b"\n"):
    return b"".join(between.join(b"%d" % bit for bit in row) + end for row in bits)


def fill_by_hand(root, form, train=BITS[:6], test=BITS[6:]):
    if form == "npz":
        # What stands in `valid` is not used.
        parts = {"train": train, "valid": train[:2], "test": test}
        np.savez_compressed(root / "binarized_mnist_fixed.npz", **{k: np.packbits(v, axis=1) for k, v in parts.items()})
    elif form == "frames":
        np.savez_compressed(root / "frey_faces.npz", images=FRAMES)
    else:
        end = {"text": b"\n", "text with spaces": b" \n", "text from Windows": b"\r\n"}[form]
        for part, bits in (("train", train), ("test", test)):
            (root / f"binarized_mnist_{part}.amat").write_bytes(text(bits, end=end))


@pytest.fixture
def these_are_known(monkeypatch):
    as_bytes = (BITS * 255).reshape(-1, 28, 28).astype(np.uint8)
    bits = Images(as_bytes[:6], as_bytes[6:], None, None)
    frames = Images(FRAMES[:1572], FRAMES[1572:], None, None)
    for name, images in (("binarized_mnist", bits), ("frey_faces", frames)):
        changed = KNOWN[name].__class__(fingerprint(images), len(images.train), len(images.test), images.train[0].size)
        monkeypatch.setitem(KNOWN, name, changed)


@pytest.mark.usefixtures("these_are_known", "torchvision")
@pytest.mark.parametrize("form", ["npz", "text", "text with spaces", "text from Windows"])
def test_bits_are_read_from_either_form_and_nothing_is_written(tmp_path, form):
    fill_by_hand(tmp_path, form)
    before = tree(tmp_path)
    images = load_images(settings_at(tmp_path, "binarized_mnist"))
    np.testing.assert_array_equal(images.train.reshape(6, 784) / 255, BITS[:6])
    np.testing.assert_array_equal(images.test.reshape(3, 784) / 255, BITS[6:])
    assert images.train.shape[1:] == (28, 28)
    assert images.train_labels is images.test_labels is None
    assert tree(tmp_path) == before


@pytest.mark.usefixtures("these_are_known", "torchvision")
def test_the_end_of_the_film_is_the_test(tmp_path):
    fill_by_hand(tmp_path, "frames")
    images = load_images(settings_at(tmp_path, "frey_faces"))
    # Every frame tells its number.
    numbers = [part[:, 0, 0].astype(int) * 256 + part[:, 0, 1] for part in (images.train, images.test)]
    np.testing.assert_array_equal(numbers[0], np.arange(1572))
    np.testing.assert_array_equal(numbers[1], np.arange(1572, 1965))
    assert images.train_labels is images.test_labels is None
    rest = load_images(DataSettings(name="frey_faces", root=str(tmp_path), n_valid=100))
    np.testing.assert_array_equal(rest.train, FRAMES[100:1572])


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize(
    ("name", "files"),
    [
        (
            "binarized_mnist",
            "binarized_mnist_fixed.npz, or Larochelle's text files "
            "(missing: binarized_mnist_train.amat and binarized_mnist_test.amat),",
        ),
        ("frey_faces", "frey_faces.npz"),
    ],
)
def test_what_cannot_be_downloaded_is_asked_for(tmp_path, name, files):
    with pytest.raises(DataError) as error:
        load_images(settings_at(tmp_path / "nowhere", name))
    assert one_sentence(error) == (
        f"data.root: {name} is not in {tmp_path / 'nowhere'} and cannot be downloaded; put {files} there, "
        "or name the folder that has it with --set data.root=..."
    )
    assert not isinstance(error.value, DamagedDataError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", ["train", "test"])
def test_one_text_file_is_asked_for(tmp_path, part):
    fill_by_hand(tmp_path, "text")
    (tmp_path / f"binarized_mnist_{part}.amat").unlink()
    with pytest.raises(DataError, match=rf"\(missing: binarized_mnist_{part}\.amat\)"):
        load_images(settings_at(tmp_path, "binarized_mnist"))


@pytest.mark.parametrize(
    ("name", "form"), [("binarized_mnist", "npz"), ("binarized_mnist", "text"), ("frey_faces", "frames")]
)
def test_other_content_by_hand_is_named_by_its_folder(tmp_path, name, form):
    fill_by_hand(tmp_path, form)
    with pytest.raises(DamagedDataError) as error:
        load_images(settings_at(tmp_path, name))
    assert one_sentence(error) == (
        f"data: {name} in {tmp_path} does not have the content it should have; copy its files anew"
    )


BROKEN_TEXT = {
    "empty": b"",
    "grey": text(BITS[:6]).replace(b"1", b"2", 1),
    "html": b"<html>404 not found</html>",
    "a number short": text(BITS[:6])[:-3],
    "commas": text(BITS[:6], between=b","),
    "shares": text(BITS[:6]).replace(b"1", b"1.0"),
}


@pytest.mark.usefixtures("these_are_known")
@pytest.mark.parametrize("raw", BROKEN_TEXT.values(), ids=BROKEN_TEXT)
def test_a_damaged_text_file_is_named(tmp_path, raw):
    fill_by_hand(tmp_path, "text")
    path = tmp_path / "binarized_mnist_train.amat"
    path.write_bytes(raw)
    with pytest.raises(DamagedDataError) as error:
        load_images(settings_at(tmp_path, "binarized_mnist"))
    assert one_sentence(error) == f"data.root: {path} is not rows of 784 numbers 0 or 1; copy it anew"


PACKED = np.packbits(BITS, axis=1)
BROKEN_BY_HAND = {
    "no test": ("binarized_mnist", {"train": PACKED}, "test is missing; it should be uint8 [n, 98], packed bits"),
    "not packed": ("binarized_mnist", {"train": BITS, "test": BITS}, "train is uint8 (9, 784)"),
    "one row": ("binarized_mnist", {"train": PACKED[0], "test": PACKED}, "train is uint8 (98,)"),
    "wide": ("binarized_mnist", {"train": PACKED, "test": PACKED.astype(np.int64)}, "test is int64 (9, 98)"),
    "no frames": ("frey_faces", {"faces": FRAMES}, "images is missing; it should be uint8 (1965, 28, 20)"),
    "frames lost": ("frey_faces", {"images": FRAMES[1:]}, "images is uint8 (1964, 28, 20)"),
    "frames as floats": ("frey_faces", {"images": FRAMES / 255}, "images is float64 (1965, 28, 20)"),
}
FILE_OF = {"binarized_mnist": "binarized_mnist_fixed.npz", "frey_faces": "frey_faces.npz"}


@pytest.mark.parametrize(("name", "arrays", "words"), BROKEN_BY_HAND.values(), ids=BROKEN_BY_HAND)
def test_an_archive_by_hand_of_another_form_is_named(tmp_path, name, arrays, words):
    np.savez(tmp_path / FILE_OF[name], **arrays)
    with pytest.raises(DamagedDataError) as error:
        load_images(settings_at(tmp_path, name))
    assert one_sentence(error).startswith(f"data.root: {tmp_path / FILE_OF[name]}: {words}")
    assert "copy it anew" in str(error.value)


@pytest.mark.parametrize("name", FILE_OF)
@pytest.mark.parametrize("raw", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_archive_by_hand_is_named(tmp_path, name, raw):
    path = tmp_path / FILE_OF[name]
    path.write_bytes(raw)
    with pytest.raises(DamagedDataError) as error:
        load_images(settings_at(tmp_path, name))
    assert one_sentence(error).startswith(f"data.root: {path}")
    assert "copy it anew" in str(error.value)


SHA256_OF_TEXT = {
    "train": "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
    "test": "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
}


@pytest.mark.skipif(not DATA_ROOT, reason="set STUDY_DATA_ROOT to the folder of binarized_mnist_fixed.npz")
def test_the_original_text_files_are_the_same_data(tmp_path):
    from pathlib import Path

    packed = np.load(Path(DATA_ROOT) / "binarized_mnist_fixed.npz")
    for part, sha256 in SHA256_OF_TEXT.items():
        bits = np.unpackbits(packed[part], axis=1)
        raw = np.full((len(bits), 2 * 784), ord(" "), np.uint8)
        raw[:, ::2] = bits + ord("0")
        raw[:, -1] = ord("\n")
        assert raw[:6].tobytes() == text(bits[:6])
        assert hashlib.sha256(raw.tobytes()).hexdigest() == sha256
        (tmp_path / f"binarized_mnist_{part}.amat").write_bytes(raw.tobytes())
    for root in (DATA_ROOT, tmp_path):
        images = load_images(settings_at(root, "binarized_mnist"))
        for part in ("train", "test"):
            found = getattr(images, part).reshape(-1, 784)
            assert len(found) == getattr(KNOWN["binarized_mnist"], f"n_{part}")
            np.testing.assert_array_equal(found, np.unpackbits(packed[part], axis=1) * np.uint8(255))


@pytest.mark.skipif(not DATA_ROOT, reason="set STUDY_DATA_ROOT to the folder of frey_faces.npz")
def test_the_real_faces_are_what_their_fingerprint_says():
    images, constants = load_images(settings_at(DATA_ROOT, "frey_faces")), KNOWN["frey_faces"]
    assert images.train.shape == (constants.n_train, 28, 20) == (1572, 28, 20)
    assert images.test.shape == (constants.n_test, 28, 20) == (393, 28, 20)
    assert constants.n_x == 560
    # The film runs on from training to test: the cut is between two neighbours, and frames a minute apart differ more.
    cut, apart = (np.mean((images.train[-1 - back] * 1.0 - images.test[0]) ** 2) ** 0.5 for back in (0, 300))
    assert cut < apart


# ---- classes that are asked for ----


def classes_at(settings, classes, **others):
    return settings.model_copy(update={"classes": classes, **others})


@pytest.mark.parametrize("subset", ["classes", "random"])
def test_a_class_that_is_not_there_is_refused_with_what_is_there(subset):
    with pytest.raises(DataError) as error:
        load_images(DataSettings(classes=[3, 12, 10], subset=subset))
    assert one_sentence(error) == (
        "data.classes: the training images of digits have no class 10, 12; there are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9; "
        "name some of them, or set classes: all"
    )


def test_many_classes_are_not_all_listed(tmp_path):
    settings = write(tmp_path, images=np.repeat(GREY, 5, axis=0), labels=np.arange(115))
    with pytest.raises(DataError) as error:
        load_images(classes_at(settings, "4000"))
    assert "and 72 more; name some of them" in one_sentence(error)


def test_a_class_of_images_set_aside_only_is_refused(tmp_path):
    settings = write(tmp_path, train_images=GREY, test_images=GREY, train_labels=np.sort(LABELS), test_labels=LABELS)
    assert len(load_images(classes_at(settings, "0", n_valid=7)).train) == 16
    with pytest.raises(DataError, match="the training images of npz have no class 0; there are 1, 2;"):
        load_images(classes_at(settings, "0", n_valid=8))


def test_a_class_without_test_images_is_refused_where_they_are_chosen(tmp_path):
    settings = write(tmp_path, train_images=GREY, test_images=GREY[:2], train_labels=LABELS, test_labels=LABELS[:2])
    with pytest.raises(DataError, match="the test images of npz have no class 2; there are 0, 1;"):
        load_images(classes_at(settings, "1,2"))
    assert len(load_images(classes_at(settings, "1,2", subset="random")).test) == 2


@pytest.mark.parametrize(
    ("labels", "part"),
    [({}, "training"), ({"test_labels": LABELS}, "training"), ({"train_labels": LABELS}, "test")],
    ids=["none", "of the test only", "of the training only"],
)
def test_classes_of_data_without_labels_are_refused(tmp_path, labels, part):
    settings = write(tmp_path, train_images=GREY, test_images=GREY, **labels)
    assert len(load_images(settings).train) == 23
    with pytest.raises(DataError) as error:
        load_images(classes_at(settings, "1,2"))
    assert f"data.classes: 1,2 asked for, but the {part} images of npz have no labels; set classes: all" in one_sentence(
        error
    )
