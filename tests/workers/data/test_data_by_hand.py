"""Data that no program can download: read in the form in which their authors publish them."""

import hashlib

import numpy as np
import pytest

from tests.workers.data.small_images import BITS, DAMAGED, DATA_ROOT, FRAMES, one_sentence, settings_at, tree
from workers.contract.errors import DamagedDataError, DataError
from workers.contract.settings import DataSettings
from workers.data.arrays import Images
from workers.data.images import KNOWN, fingerprint, load_images


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
        ("omniglot", "chardata.mat of Burda et al.'s program (from its folder datasets/OMNIGLOT)"),
    ],
)
def test_what_cannot_be_downloaded_is_asked_for(tmp_path, name, files):
    with pytest.raises(DataError) as error:
        load_images(settings_at(tmp_path / "nowhere", name))
    assert one_sentence(error) == (
        f"data.root: {name} is not in {tmp_path / 'nowhere'}, and it cannot be downloaded automatically; put {files} there, "
        "or name the folder that contains it with --set data.root=..."
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
    assert one_sentence(error) == (f"data: {name} in {tmp_path} does not have the published content; copy its files again")


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
    assert one_sentence(error) == f"data.root: {path} does not consist of rows of 784 numbers that are 0 or 1; copy it again"


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
    assert "copy it again" in str(error.value)


@pytest.mark.parametrize("name", FILE_OF)
@pytest.mark.parametrize("raw", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_archive_by_hand_is_named(tmp_path, name, raw):
    path = tmp_path / FILE_OF[name]
    path.write_bytes(raw)
    with pytest.raises(DamagedDataError) as error:
        load_images(settings_at(tmp_path, name))
    assert one_sentence(error).startswith(f"data.root: {path}")
    assert "copy it again" in str(error.value)


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
