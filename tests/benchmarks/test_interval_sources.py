"""The sources of an interval are told apart where each alone is planted."""

import numpy as np
import pytest

from benchmarks.interval_sources import spread


def test_each_source_comes_back_alone():
    seeds, images, rng = np.array([[1.0], [2.0], [4.0]]), np.arange(10.0), np.random.default_rng(0)
    draws = rng.normal(0, 2, 50)
    mean, over_seeds, over_images, binarised, sampled = spread(seeds + images, draws, np.zeros(5))
    assert mean == pytest.approx(7 / 3 + 4.5)
    assert over_seeds == pytest.approx(np.std([1, 2, 4], ddof=1) / np.sqrt(3))
    assert over_images == pytest.approx(np.std(images, ddof=1) / np.sqrt(10))
    assert (binarised, sampled) == (pytest.approx(np.std(draws, ddof=1)), 0)
    # The negative control: where all seeds agree, only images are left.
    assert spread(np.ones((3, 1)) + images, draws, draws)[1] == 0
