"""The range of pixels of one's own: read for what it is, or refused with what was found and a line that converts it."""

import re

import numpy as np
import pytest

from tests.workers.data.small_images import GREY, SHARES, one_sentence, write
from workers.contract.errors import DataError
from workers.data.images import fingerprint, load_images
from workers.data.summary import in_unit_floats

BITS = np.random.default_rng(1).integers(0, 2, (23, 4, 3))
DARK = GREY // 2 + 30  # from 30 to 157, in many levels


def pixels_of(settings):
    """All pixels as the model sees them, in the order of the images' numbers in the file."""
    found = load_images(settings)
    return in_unit_floats(found.train), in_unit_floats(found.test)


def halves(images):
    return {"train_images": images[:15], "test_images": images[15:]}


def seen(tmp_path, images, scale="auto"):
    settings = write(tmp_path, **halves(images)).model_copy(update={"scale": scale})
    return np.concatenate(pixels_of(settings))


TAKEN = {
    "bits of bytes": (BITS.astype(np.uint8), BITS),
    "bits of integers": (BITS, BITS),
    "bits": (BITS.astype(bool), BITS),
    "bits of floats": (BITS.astype(np.float64), BITS),
    "no light": (BITS * 0, BITS * 0),
    "bytes": (GREY, GREY / 255),
    "0 and 255": (BITS.astype(np.uint8) * 255, BITS),
    "wide integers": (GREY.astype(np.int64), GREY / 255),
    "short integers": (GREY.astype(np.uint16), GREY / 255),
    "dark bytes": (DARK, DARK / 255),
    "shares": (SHARES, SHARES),
    "half shares": (SHARES.astype(np.float16), SHARES.astype(np.float16)),
    "faint shares": (SHARES / 1000, SHARES / 1000),
}


@pytest.mark.parametrize(("images", "expected"), TAKEN.values(), ids=TAKEN)
def test_a_range_with_one_meaning_is_read(tmp_path, images, expected):
    np.testing.assert_allclose(seen(tmp_path, images), expected, rtol=1e-6)


def test_zeros_and_ones_are_the_same_data_in_any_integers(tmp_path):
    settings = [write(tmp_path, images=BITS.astype(kind)) for kind in (np.uint8, np.int64)]
    prints = [fingerprint(load_images(one)) for one in settings]
    # Bytes of 0 and 255 have always been this data.
    assert prints == [fingerprint(load_images(write(tmp_path, images=BITS.astype(np.uint8) * 255)))] * 2


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (GREY, "9c784218f059872c"),
        (SHARES, "736c478411eab78e"),
        (SHARES > 0.5, "be88b78a0a35072d"),
        (GREY.reshape(23, 12), "0855280bde1408ea"),
    ],
    ids=["bytes", "floats", "bits", "rows"],
)
def test_fingerprints_of_what_was_read_before_stay(tmp_path, images, expected):
    """Pinned from the version before ranges were looked at: a fingerprint that changes orphans studies."""
    assert fingerprint(load_images(write(tmp_path, images=images, labels=np.arange(23) % 3)))[:16] == expected


def test_the_range_is_that_of_both_parts(tmp_path):
    """A test set that happens to hold zeros and ones alone is scaled as the training set is."""
    settings = write(tmp_path, train_images=GREY, test_images=BITS.astype(np.uint8))
    assert pixels_of(settings)[1].max() == np.float32(1) / np.float32(255)


REFUSED = {
    "percent": (
        GREY // 3,
        "images is uint8 of shape (23, 4, 3) from 0 to 85; allowed are 0 and 1, integers from 0 to 255, and floats from 0 to 1 "
        "(integers count as 0 to 255 if one is 255, or if one is above 127 and there are more than two levels); set data.scale "
        "to the number that means 1, such as 85 or 255, or convert them with `images = images / 85`",
    ),
    "two levels": (BITS * 200, "images is int64 of shape (23, 4, 3) from 0 to 200; allowed are"),
    "sixteen levels": (GREY // 16, "such as 15 or 255, or convert them with `images = images / 15`"),
    "sixteen bits": (GREY.astype(np.uint16) * 257, "from 0 to 65535; allowed"),
    "twelve bits": (GREY.astype(np.uint16) * 16, "such as 4080 or 4095 (12 bits), or convert"),
    "below 0": (GREY.astype(int) - 1, "from -1 to 254; allowed"),
    "bytes as floats": (GREY.astype(float), "from 0 to 255; allowed are"),
    "a hair above 1": (
        SHARES * 1.01,
        "set data.scale: 255 to divide them by 255, or convert them with `images = images / 255`",
    ),
    "centred": (SHARES * 2 - 1, "convert them with `images = (images + 1) / 2`"),
    "standardised": (SHARES * 6 - 3, "convert them with `images = (images - lowest) / (highest - lowest)`"),
    "nan": (
        np.where(SHARES > 0.5, np.nan, 0),
        "pixels that are NaN or infinite; allowed are 0 and 1, integers from 0 to 255",
    ),
    "infinite": (
        np.where(SHARES > 0.5, np.inf, 0),
        "replace them, for example with `images = np.nan_to_num(images, nan=0.0",
    ),
}


@pytest.mark.parametrize(("images", "words"), REFUSED.values(), ids=REFUSED)
def test_a_range_that_may_mean_anything_is_refused_with_what_was_found(tmp_path, images, words):
    with pytest.raises(DataError) as error:
        load_images(write(tmp_path, images=images))
    text = one_sentence(error)
    assert words in text
    assert f"mine.npz: images is {images.dtype} of shape (23, 4, 3) " in text


CONVERTED = {name: case for name, case in REFUSED.items() if name not in ("two levels", "standardised", "a hair above 1")}


@pytest.mark.parametrize("images", [case[0] for case in CONVERTED.values()], ids=CONVERTED)
def test_the_line_that_is_shown_makes_the_file_readable(tmp_path, images):
    """What the message asks for is carried out as it is printed."""
    with pytest.raises(DataError) as error:
        load_images(write(tmp_path, images=images))
    line = re.search(r"`images = (.*?)`", str(error.value)).group(1)
    lowest, highest = np.min(images), np.max(images)
    names = {"np": np, "images": images, "lowest": lowest, "highest": highest}
    assert len(load_images(write(tmp_path, images=eval(line, names))).train) == 19


SCALED = {
    "sixteen levels": (GREY // 16, "16", GREY // 16 / 16),
    "dark bytes in few levels": (GREY // 16, "255", GREY // 16 / 255),
    "bytes as floats": (GREY.astype(float), "255", GREY / 255),
    "sixteen bits": (GREY.astype(np.uint16) * 257, "65535", GREY / 255),
    "faint bits": (BITS, "255", BITS / 255),
    "bits": (BITS, "1", BITS),
    "shares": (SHARES / 4, "0.5", SHARES / 2),
}


@pytest.mark.parametrize(("images", "scale", "expected"), SCALED.values(), ids=SCALED)
def test_a_scale_says_what_is_meant(tmp_path, images, scale, expected):
    np.testing.assert_allclose(seen(tmp_path, images, scale), expected, rtol=1e-6)


def test_a_scale_that_is_what_is_done_anyway_changes_no_bit(tmp_path):
    settings = write(tmp_path, images=GREY)
    assert fingerprint(load_images(settings)) == fingerprint(load_images(settings.model_copy(update={"scale": "255"})))


@pytest.mark.parametrize("images", [GREY.astype(float), GREY.astype(int) - 1], ids=["too bright", "negative"])
def test_a_scale_that_does_not_fit_is_refused(tmp_path, images):
    with pytest.raises(DataError) as error:
        load_images(write(tmp_path, images=images).model_copy(update={"scale": "16"}))
    assert one_sentence(error).startswith("data.scale: got 16, but ")
    assert f"{images.dtype} of shape (23, 4, 3) from {images.min():g} to {images.max():g}; divided by data.scale" in str(
        error.value
    )


# ---- Layouts ----


@pytest.mark.parametrize("images", [GREY[..., None], GREY[:, None]], ids=["channel last", "channel first"])
def test_one_channel_is_no_other_data(tmp_path, images):
    plain = load_images(write(tmp_path, images=GREY))
    found = load_images(write(tmp_path, images=images))
    assert found.train.shape == (19, 4, 3)
    assert fingerprint(found) == fingerprint(plain)


@pytest.mark.parametrize("images", [GREY.reshape(23, 12)[:, :9], GREY.reshape(23, 1, 12)[:, :, :9]], ids=["rows", "strips"])
def test_rows_are_squares_where_that_is_possible_and_the_same_data(tmp_path, images):
    found = load_images(write(tmp_path, images=images))
    assert found.train.shape[1:] == found.test.shape[1:] == (3, 3)
    np.testing.assert_array_equal(np.concatenate([found.train, found.test]).reshape(23, 9).sum(1).sum(), images.sum())
    strip = found.__class__(found.train.reshape(19, 1, 9), found.test.reshape(4, 1, 9), None, None)
    assert fingerprint(found) == fingerprint(strip)


def test_rows_of_another_length_take_the_size_that_is_set(tmp_path):
    settings = write(tmp_path, images=GREY.reshape(23, 12))
    found = load_images(settings.model_copy(update={"image_size": (4, 3)}))
    np.testing.assert_array_equal(found.train, load_images(write(tmp_path, images=GREY)).train)
    assert fingerprint(found) == fingerprint(load_images(write(tmp_path, images=GREY.reshape(23, 12))))


@pytest.mark.parametrize(
    ("images", "size", "words"),
    [
        (GREY.reshape(23, 12), (5, 3), "are rows of 12 pixels; give two numbers, height and width, whose product is 12"),
        (GREY.reshape(23, 12), (12,), "got [12], but the images of"),
        (GREY, (3, 4), "are 4 x 3 pixels already; give no data.image_size"),
    ],
    ids=["other product", "one number", "not rows"],
)
def test_a_size_that_does_not_fit_is_refused(tmp_path, images, size, words):
    with pytest.raises(DataError) as error:
        load_images(write(tmp_path, images=images).model_copy(update={"image_size": size}))
    assert one_sentence(error).startswith("data.image_size: got [")
    assert words in str(error.value)


# ---- Members ----


def test_only_what_is_needed_is_read(tmp_path):
    beside = {"metadata": np.array([{"a": 1}, None], object), "val_images": GREY.astype(str)}
    found = load_images(write(tmp_path, images=GREY, labels=np.arange(23) % 3, **beside))
    assert fingerprint(found) == fingerprint(load_images(write(tmp_path, images=GREY, labels=np.arange(23) % 3)))


def test_a_needed_member_of_objects_is_refused_with_what_to_write(tmp_path):
    with pytest.raises(DataError) as error:
        load_images(write(tmp_path, images=GREY, labels=np.array(["a", None] * 11 + [1], object)))
    assert "labels holds Python objects, which are never read; write numbers or text, for example with" in one_sentence(
        error
    )
    assert error.value.exit_code == 2


def test_names_of_keras_are_read(tmp_path):
    labels = np.arange(23) % 3
    found = load_images(write(tmp_path, x_train=GREY[:20], y_train=labels[:20], x_test=GREY[20:], y_test=labels[20:]))
    np.testing.assert_array_equal(found.test, GREY[20:])
    np.testing.assert_array_equal(found.train_labels, labels[:20])
