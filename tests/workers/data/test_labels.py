"""Labels are names: any numbers or texts become the classes 0 to C - 1 in sorted order, and their names are kept."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.data.small_images import GREY, LABELS, one_sentence, write
from workers.contract.errors import DataError
from workers.contract.settings import DataSettings
from workers.data.images import fingerprint, load_images
from workers.data.labels import classes_from
from workers.data.subset import subset

NAMES = {
    "dates": ([20231129, 20231130, 20240101], ("20231129", "20231130", "20240101")),
    "large": ([2_000_000_000, 7, 2**62], ("7", "2000000000", str(2**62))),
    "negative": ([-1, 0, 1], ("-1", "0", "1")),
    "from 1": ([1, 2, 3], ("1", "2", "3")),
    "text": (["dog", "cat", "ape"], ("ape", "cat", "dog")),
    "bytes": ([b"dog", b"cat", b"ape"], ("ape", "cat", "dog")),
    "whole floats": ([3.0, 1.0, 2.0], ("1", "2", "3")),
    "text of numbers": (["10", "9", "1"], ("1", "10", "9")),
    "days": (np.array(["2024-01-01", "2023-11-29", "2023-11-30"], "M8[D]"), ("2023-11-29", "2023-11-30", "2024-01-01")),
}


@pytest.mark.parametrize(("names", "expected"), NAMES.values(), ids=NAMES)
def test_labels_are_numbered_in_sorted_order_and_keep_their_names(tmp_path, names, expected):
    labels = np.array(names)[LABELS]
    found = load_images(
        write(tmp_path, train_images=GREY, test_images=GREY, train_labels=labels, test_labels=labels[:, None])
    )
    assert found.class_names == expected
    assert found.train_labels.dtype == found.test_labels.dtype == np.int64
    shown = [text.decode() if isinstance(text, bytes) else str(text) for text in labels.tolist()]
    assert [expected[label] for label in found.train_labels] == [text.removesuffix(".0") for text in shown]
    np.testing.assert_array_equal(found.train_labels, found.test_labels)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40))
def test_numbering_keeps_order_and_equality(values):
    (classes, none), names = classes_from("data", [("labels", np.array(values), len(values)), ("test_labels", None, 3)])
    assert none is None
    named = list(range(len(set(values)))) if names is None else [int(name) for name in names]
    assert [named[label] for label in classes] == values
    assert named == sorted(set(values))


def test_labels_from_0_stay_what_they_are(tmp_path):
    found = load_images(write(tmp_path, images=GREY, labels=LABELS.astype(np.uint8)))
    assert found.class_names is None
    assert fingerprint(found)[:16] == "9c784218f059872c"
    column = load_images(write(tmp_path, images=GREY, labels=LABELS[:, None]))
    assert fingerprint(column) == fingerprint(found)


def test_a_class_of_one_part_alone_has_its_number_in_both(tmp_path):
    parts = {"train_images": GREY, "test_images": GREY, "train_labels": LABELS * 10, "test_labels": LABELS // 2 * 20}
    found = load_images(write(tmp_path, **parts))
    assert found.class_names == ("0", "10", "20")
    np.testing.assert_array_equal(found.test_labels, LABELS // 2 * 2)


def test_other_names_are_other_data(tmp_path):
    """`data.classes` chooses by name, so that the same numbers under other names are not the same data."""
    prints = {fingerprint(load_images(write(tmp_path, images=GREY, labels=LABELS + first))) for first in (0, 1, 2)}
    assert len(prints) == 3


REFUSED = {
    "too few": (
        LABELS[:-1],
        "labels is int64 of shape (22,); the shapes (23,) and (23, 1) are allowed, one label per image",
    ),
    "one-hot": (
        np.eye(3)[LABELS],
        "of shape (23, 3); the shapes (23,) and (23, 1) are allowed, one label per image; turn one-hot",
    ),
    "one row": (LABELS[None], "of shape (1, 23); the shapes"),
    "fractions": (
        LABELS / 2,
        "labels is float64 of shape (23,) with values that are no whole numbers, like 0.5; a label is",
    ),
    "nan": (np.where(LABELS, np.nan, 1), "like nan; a label is the name of a class: whole numbers or text are allowed"),
    "complex": (LABELS * 1j, "labels is complex128 of shape (23,); whole numbers and text are allowed; convert them with"),
}


@pytest.mark.parametrize(("labels", "words"), REFUSED.values(), ids=REFUSED)
def test_labels_of_another_form_are_refused_by_what_they_are(tmp_path, labels, words):
    with pytest.raises(DataError) as error:
        load_images(write(tmp_path, images=GREY, labels=labels))
    assert words in one_sentence(error)
    assert "mine.npz" in str(error.value)


def test_numbers_in_one_part_and_text_in_the_other_are_refused(tmp_path):
    parts = {"train_images": GREY, "test_images": GREY, "train_labels": LABELS, "test_labels": LABELS.astype(str)}
    with pytest.raises(DataError, match="are numbers in one part and text in the other; give both the same type"):
        load_images(write(tmp_path, **parts))


def test_more_classes_than_the_images_could_support_are_refused():
    labels = np.arange(2_002)
    with pytest.raises(DataError, match="the labels have 2,002 different values for 2,002 images, so most classes"):
        classes_from("data.path: mine.npz", [("labels", labels, 2_002)])
    # With two images each, or few of them, they are classes.
    assert classes_from("data", [("labels", np.tile(labels, 2), 4_004)])[1] is None
    assert classes_from("data", [("labels", labels[:1000], 1_000)])[1] is None


@pytest.mark.parametrize(
    ("names", "chosen", "n"),
    [(["dog", "cat", "ape"], ["ape", "dog"], 15), ([20231129, -5, 7], [20231129], 8), (["1", "02", "3"], ["02", 3], 15)],
    ids=["text", "numbers", "text of numbers"],
)
def test_classes_are_chosen_by_the_names_of_the_file(tmp_path, names, chosen, n):
    labels = np.array(names)[LABELS]
    where = write(tmp_path, train_images=GREY, test_images=GREY, train_labels=labels, test_labels=labels)
    asked = DataSettings(name="npz", path=where.path, classes=chosen)
    found = subset(load_images(asked), asked)
    assert len(found.train) == n
    assert {found.class_names[label] for label in found.train_labels} == set(map(str, chosen))


def test_a_class_is_refused_with_the_names_that_are_there(tmp_path):
    asked = write(tmp_path, images=GREY, labels=np.array(["dog", "cat", "ape"])[LABELS])
    with pytest.raises(DataError) as error:
        load_images(DataSettings(name="npz", path=asked.path, classes=["cow", "cat"]))
    assert "have no class cow; their classes are ape, cat, dog; choose" in one_sentence(error)
