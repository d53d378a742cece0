"""Classes that are asked for and are not there."""

import numpy as np
import pytest

from tests.workers.data.small_images import GREY, LABELS, one_sentence, write
from workers.contract.errors import DataError
from workers.contract.settings import DataSettings
from workers.data.images import load_images


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
