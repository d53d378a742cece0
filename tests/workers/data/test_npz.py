"""Images of one's own in an .npz file: read in every allowed form, refused in one sentence otherwise."""

import numpy as np
import pytest

from tests.workers.data.small_images import DAMAGED, GREY, LABELS, SHARES, one_sentence, write
from workers.contract.errors import DataError
from workers.contract.settings import DataSettings
from workers.data.images import fingerprint, known, load_images


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
    "no images": ({"pictures": GREY}, "contains pictures; it must contain images (optionally with labels)"),
    "nothing": ({}, "contains no arrays; it must contain images"),
    "half a split": ({"train_images": GREY}, "contains train_images; it must contain"),
    "one axis": ({"images": GREY[:, 0, 0]}, "images is uint8 of shape (23,) from "),
    "no image": ({"images": GREY[:0]}, "images is uint8 of shape (0, 4, 3); the shapes (n, height, width), "),
    "one image": ({"images": GREY[:1]}, "with n > 1 are allowed; one row of pixels per image is made by"),
    "no pixel": ({"images": GREY[:, :0]}, "images is uint8 of shape (23, 0, 3);"),
    "five axes": ({"images": GREY[..., None, None]}, "images = images.reshape(len(images), -1)"),
    "text": ({"images": GREY.astype(str)}, "images is <U3 of shape (23, 4, 3); allowed are 0 and 1, integers from 0 to 255"),
    "complex": ({"images": GREY * 1j}, "images is complex128"),
    "colour": (
        {"images": np.stack([GREY] * 3, axis=-1)},
        "images is uint8 of shape (23, 4, 3, 3) from 0 to 255, which is colour; the shapes",
    ),
    "colour in front": (
        {"images": np.stack([SHARES[:, :, :2]] * 3, axis=1)},
        "make it grey with `images = images.mean(axis=1)`",
    ),
    "colour of bytes": ({"images": np.stack([GREY] * 4, axis=-1)}, "mean(axis=3).round().astype(np.uint8)`"),
    "sizes differ": (
        {"train_images": GREY, "test_images": GREY[:, :3]},
        "train_images (23, 4, 3) and test_images (23, 3, 3) differ in image size; give both the same",
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
    with pytest.raises(DataError, match=r"data\.path: no file is named; write for example"):
        load_images(DataSettings(name="npz"))


@pytest.mark.parametrize("path", ["nowhere.npz", "."])
def test_npz_that_is_not_there_is_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as error:
        load_images(DataSettings(name="npz", path=path))
    assert f"data.path: {path} is not a file (relative to {tmp_path})" in one_sentence(error)


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
