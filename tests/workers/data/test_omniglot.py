"""OMNIGLOT from a file of the layout that Burda et al. published, made small."""

import numpy as np
import pytest
import scipy.io

from tests.workers.data.small_images import one_sentence, settings_at
from workers.contract.errors import DamagedDataError
from workers.contract.settings import DataSettings
from workers.data.images import fingerprint, known, load_images
from workers.data.subset import subset

RNG = np.random.default_rng(3)
TRAIN, TEST = RNG.random((12, 28, 28)), RNG.random((5, 28, 28))
ALPHABETS = np.arange(12) % 4, np.arange(5) % 4


def members():
    """As MATLAB stores them: every image is a column, and of an image its columns come one after the other."""
    columns = [np.stack([image.ravel(order="F") for image in images], axis=1) for images in (TRAIN, TEST)]
    one_hot = [np.eye(50)[labels].T for labels in ALPHABETS]
    others = {"targetchar": np.zeros((55, 12)), "testtargetchar": np.zeros((55, 5))}
    return {"data": columns[0], "testdata": columns[1], "target": one_hot[0], "testtarget": one_hot[1], **others}


def write(folder, **changes):
    folder.mkdir(exist_ok=True)
    held = {name: value for name, value in (members() | changes).items() if value is not None}
    scipy.io.savemat(folder / "chardata.mat", held)
    return folder / "chardata.mat"


@pytest.mark.parametrize("folder", ["", "OMNIGLOT", "omniglot"])
def test_images_stand_upright_and_alphabets_are_classes(tmp_path, folder):
    write(tmp_path / folder)
    settings = settings_at(tmp_path, "omniglot")
    found = load_images(settings)
    np.testing.assert_array_equal(found.train, TRAIN.astype(np.float32))
    np.testing.assert_array_equal(found.test, TEST.astype(np.float32))
    np.testing.assert_array_equal(found.train_labels, ALPHABETS[0])
    np.testing.assert_array_equal(found.test_labels, ALPHABETS[1])
    assert (known(settings).n_train, known(settings).n_test, known(settings).n_x) == (12, 5, 784)
    assert known(settings).fingerprint == fingerprint(found)


def test_the_images_are_those_of_the_authors_program(tmp_path):
    """`reshape_data` of Burda et al.'s datasets.py, as it stands there, for the images as rows."""
    held = scipy.io.loadmat(write(tmp_path))
    rows = held["data"].T.astype("float32").reshape((-1, 28, 28)).reshape((-1, 28 * 28), order="F")
    found = load_images(settings_at(tmp_path, "omniglot"))
    np.testing.assert_array_equal(found.train.reshape(-1, 784), rows)


def test_an_alphabet_can_be_chosen(tmp_path):
    write(tmp_path)
    settings = DataSettings(name="omniglot", root=str(tmp_path), classes=[1, 3])
    assert set(subset(load_images(settings), settings).train_labels.tolist()) == {1, 3}


BROKEN = {
    "no images": ({"testdata": None}, "testdata is missing; it should be numbers from 0 to 1 of shape (784, n)"),
    "images as rows": ({"data": members()["data"].T}, "data is float64 of shape (12, 784); it should be"),
    "too bright": ({"data": members()["data"] * 255}, "it should be numbers from 0 to 1 of shape (784, n)"),
    "no labels": ({"target": None}, "target is missing; it should be 0 and 1 of shape (50, 12), with a single 1 per column"),
    "labels of other images": ({"testtarget": members()["target"]}, "testtarget is float64 of shape (50, 12)"),
    "two alphabets": ({"testtarget": np.ones((50, 5))}, "with a single 1 per column; copy it again from the folder"),
}


@pytest.mark.parametrize(("changes", "words"), BROKEN.values(), ids=BROKEN)
def test_another_layout_is_named(tmp_path, changes, words):
    path = write(tmp_path, **changes)
    with pytest.raises(DamagedDataError) as error:
        load_images(settings_at(tmp_path, "omniglot"))
    assert one_sentence(error).startswith(f"data.root: {path}: ")
    assert words in str(error.value)


@pytest.mark.parametrize(
    "change", [lambda raw: b"", lambda raw: raw[:300], lambda raw: b"no images at all" * 20], ids=range(3)
)
def test_a_damaged_file_is_named(tmp_path, change):
    path = write(tmp_path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DamagedDataError) as error:
        load_images(settings_at(tmp_path, "omniglot"))
    assert one_sentence(error).startswith(f"data.root: {path} is no MATLAB file of version 5 (")
