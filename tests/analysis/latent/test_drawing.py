"""What the artists draw, from their own numbers."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from analysis.latent import drawing as latent_figures
from analysis.latent.drawing import Row
from analysis.latent.numbers import (
    REACH,
    STEPS,
)


@pytest.fixture
def axes():
    return Figure().add_subplot()


def test_reconstructions_draw_every_image_and_mark_the_better_one(axes):
    draw = np.random.default_rng(0)
    images = [draw.random((2, 3, 4)) for _ in range(3)]
    rows = [
        Row("test image", images[0]),
        Row("n_z = 2", images[1], np.array([5.0, 7.04])),
        Row("n_z = 50", images[2], np.array([4.0, 7.02]), "all: 5.5"),
    ]
    latent_figures.reconstructions(rows, ["0", "1"], axes)
    for artist, image in zip(axes.images, np.concatenate(images), strict=True):
        np.testing.assert_array_equal(artist.get_array(), image)
        assert artist.get_clim() == (0, 1)
    weights = {(text.get_text(), round(text.get_position()[0], 1)): text.get_fontweight() for text in axes.texts}
    assert weights["5.0", 0.5] == "normal"
    assert weights["4.0", 0.5] == "bold"
    assert weights["7.0", 1.5] == "bold"
    assert "all: 5.5" in [text.get_text() for text in axes.texts]


def test_codes_are_drawn_as_the_number_of_their_class(axes):
    table = pd.DataFrame({"across": [0.0, 1.0, 2.0, -1.0], "up": [1.0, 3.0, -1.0, 0.5]})
    table["class"] = pd.array([7, 7, 2, None], dtype="Int64")
    latent_figures.codes(table, axes, limit=4.0)
    two, seven, rest = axes.collections
    assert two.get_offsets().tolist() == [[2.0, -1.0]]
    assert seven.get_offsets().tolist() == [[0.0, 1.0], [1.0, 3.0]]
    assert rest.get_offsets().tolist() == [[-1.0, 0.5]]
    assert len(two.get_paths()[0].vertices) != len(seven.get_paths()[0].vertices)
    assert to_hex(seven.get_facecolor()[0]) == latent_figures.CLASSES[7].lower()
    assert {text.get_text(): text.get_position() for text in axes.texts} == {"2": (2.0, -1.0), "7": (0.5, 2.0)}
    assert axes.get_xlim() == axes.get_ylim() == (-4.0, 4.0)


def luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_classes_have_ten_colours_that_are_seen_on_white():
    assert len(set(latent_figures.CLASSES)) == 10
    assert max(luminance(colour) for colour in latent_figures.CLASSES) < 0.5


def test_the_lattice_lies_where_its_points_are(axes):
    images = np.random.default_rng(0).random((20, 20, 3, 2))
    latent_figures.lattice(images, axes, REACH)
    (picture,) = axes.images
    mosaic = np.asarray(picture.get_array())
    assert mosaic.shape == (80, 60)
    np.testing.assert_array_equal(mosaic[4 * 7 : 4 * 7 + 3, 3 * 11 : 3 * 11 + 2], images[7, 11])
    left, right, bottom, top = picture.get_extent()
    assert left + (right - left) * 11.5 / 20 == pytest.approx(np.linspace(-3, 3, 20)[11])
    assert top - (top - bottom) * 7.5 / 20 == pytest.approx(np.linspace(3, -3, 20)[7])


def test_class_maps_colour_what_agrees(axes):
    classes, agrees = np.array([[1, 2], [3, 4]]), np.array([[True, False], [True, True]])
    latent_figures.class_map(classes, agrees, axes, REACH)
    tints = np.asarray(axes.images[0].get_array())
    assert (tints == 1).all(-1).tolist() == (~agrees).tolist()
    assert [text.get_text() for text in axes.texts] == ["1", "2", "3", "4"]
    assert [text.get_position()[0] < 0 for text in axes.texts] == [True, False, True, False]
    assert [text.get_position()[1] > 0 for text in axes.texts] == [True, True, False, False]


def test_traversals_go_down_one_block_and_then_the_next(axes):
    images = np.random.default_rng(0).random((5, 7, 3, 2))
    latent_figures.traversals(images, ["a", "b", "c", "d", "e"], axes, 2, STEPS)
    first, second = axes.images
    assert np.asarray(first.get_array()).shape == (3 * 4, 7 * 3)
    assert np.asarray(second.get_array()).shape == (2 * 4, 7 * 3)
    np.testing.assert_array_equal(np.asarray(second.get_array())[4:7, 6:8], images[4, 2])
    places = {text.get_text(): text.get_position() for text in axes.texts}
    assert places["a"][1] == places["d"][1] < places["b"][1]
    assert places["a"][0] < places["d"][0]


def test_points_of_classes_stand_at_their_means(axes):
    table = pd.DataFrame({"class": [0, 0, 1, 1], "seed": [0, 1, 0, 1], "knn_purity": [0.2, 0.4, 0.9, 0.7]})
    table["excess_cross_entropy"] = [3.0, 5.0, 1.0, 0.0]
    latent_figures.class_points(table, "knn_purity", axes)
    assert {text.get_text(): tuple(np.round(text.xy, 9)) for text in axes.texts} == {"0": (0.3, 4.0), "1": (0.8, 0.5)}
    assert [item.get_offsets().tolist() for item in axes.collections[-2:]] == [
        [[0.2, 3.0], [0.4, 5.0]],
        [[0.9, 1.0], [0.7, 0.0]],
    ]


def test_numbers_at_one_place_stand_side_by_side(axes):
    table = pd.DataFrame({"class": [3, 4, 5], "knn_purity": [0.5, 0.5, 0.9], "excess_cross_entropy": [1.0, 1.0, 2.0]})
    latent_figures.class_points(table.assign(seed=0), "knn_purity", axes)
    moves = [text.get_position() for text in axes.texts]
    assert moves[0] == moves[2] == (0, 0)
    assert moves[1][0] > 0
