"""Whoever asks a study to stop loses next to nothing, hears so, and gets exit code 130; see stopping.py for the whole matrix."""

import pytest

from tests.end_to_end.stopping import WAYS, stop_once

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("executor", "way"), [("inline", "terminate all"), *(("ray", way) for way in WAYS)])
def test_a_small_model_that_is_asked_to_stop_loses_nothing(executor, way, tmp_path):
    """It has one border in all its epochs."""
    found = stop_once(tmp_path / "one", 0.05, 400, executor, way, train_s=2.0)
    assert found.is_kept, found
    assert found.lost_epochs <= 1, found
