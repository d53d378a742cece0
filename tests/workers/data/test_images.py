"""The digits, what is set aside of them, and the fingerprint of images."""

import numpy as np
import pytest

from tests.workers.data.small_images import one_sentence
from workers.contract.errors import DataError
from workers.contract.settings import DataSettings
from workers.data.arrays import Images
from workers.data.images import KNOWN, fingerprint, known, load_images


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
    assert f"data.n_valid: {n_valid} leaves none of the 1437 training images; set a number below 1437" in one_sentence(error)


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
