"""Numbers of latent codes by their definitions."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from analysis.latent.numbers import (
    NEIGHBOURS,
    STEPS,
    agreement,
    cross_entropy,
    fit_classifier,
    lattice,
    plane_row,
    purity,
    silhouettes,
    spearman,
    traversal,
)


def test_cross_entropy_is_that_of_bernoulli_pixels():
    x, mean = np.array([[0.0, 1.0, 0.25], [1.0, 1.0, 1.0]]), np.array([[0.5, 0.5, 0.5], [1.0, 0.0, 0.5]])
    np.testing.assert_allclose(cross_entropy(x, mean), [3 * np.log(2), -np.log(1e-6) + np.log(2) + 1e-6], rtol=1e-9)


def test_purity_leaves_the_code_itself_out():
    draw = np.random.default_rng(0)
    found, classes = draw.normal(size=(60, 3)), draw.integers(0, 4, 60)
    for i, share in enumerate(purity(found, classes)):
        distance = ((found - found[i]) ** 2).sum(1)
        near = [j for j in np.argsort(distance) if j != i][:NEIGHBOURS]
        assert share == pytest.approx((classes[near] == classes[i]).mean())


def test_silhouettes_follow_their_definition_and_need_two_classes():
    found, classes = np.array([[0.0], [1.0], [5.0], [7.0]]), np.array([3, 3, 8, 8])
    np.testing.assert_allclose(silhouettes(found, classes), [(6 - 1) / 6, (5 - 1) / 5, (4.5 - 2) / 4.5, (6.5 - 2) / 6.5])
    assert np.isnan(silhouettes(found, np.zeros(4, int))).all()


def test_spearman_is_scipys_and_knows_when_there_is_none():
    draw = np.random.default_rng(1)
    a, b = draw.integers(0, 5, 12).astype(float), draw.normal(size=12)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert spearman(np.array([1, 2, 3, np.nan]), np.array([3, 2, 1, 9.0])) == pytest.approx(-1)
    third = 0.1 + 0.2
    assert third > 0.3
    assert spearman(np.array([third, 0.3, 1.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(np.sqrt(3) / 2)
    assert np.isnan(spearman(a, np.ones(12)))
    assert np.isnan(spearman(a[:2], b[:2]))


def test_the_lattice_runs_across_the_first_unit_and_down_the_second():
    points = lattice(4, (2, 0)).reshape(20, 20, 4)
    assert not points[..., [1, 3]].any()
    np.testing.assert_allclose(points[0, :, 2], np.linspace(-3, 3, 20))
    np.testing.assert_allclose(points[:, 5, 0], np.linspace(3, -3, 20))
    assert lattice(1, (0,)).shape == (20, 1)
    moved = traversal(np.array([1, 0])).reshape(2, len(STEPS), 2)
    np.testing.assert_array_equal(moved[0], np.stack([np.zeros(7), STEPS], 1))
    np.testing.assert_array_equal(moved[1], np.stack([STEPS, np.zeros(7)], 1))


def test_agreement_compares_with_the_class_of_the_nearest_code():
    draw = np.random.default_rng(2)
    points, found = lattice(3, (0, 1)), draw.normal(size=(50, 3))
    classes, read = draw.integers(0, 3, 50), draw.integers(0, 3, 400)
    distance = np.linalg.norm(points[:, None] - found, axis=2)
    table = agreement(points, read, found, classes)
    assert table["nearest_class"].tolist() == classes[distance.argmin(1)].tolist()
    np.testing.assert_allclose(table["distance"], distance.min(1))
    images = draw.normal(size=(30, 4))
    classifier = fit_classifier(images, np.arange(30) % 3, images, np.arange(30) % 3)
    row = plane_row(table, (0, 1), classifier)
    agrees = read == classes[distance.argmin(1)]
    near = distance.min(1) <= 6 / 19
    assert row["lattice_agreement"] == pytest.approx(agrees.mean())
    assert (row["lattice_points"], row["lattice_points_near"]) == (400, near.sum())
    assert row["lattice_agreement_near"] == pytest.approx(agrees[near].mean())
    shares = [np.bincount(each, minlength=3) / 400 for each in (read, classes[distance.argmin(1)])]
    assert row["lattice_agreement_by_chance"] == pytest.approx(shares[0] @ shares[1])
    assert row["classifier"] == "5 nearest of 30 training images"
