"""Laws are asserted in files that pytest does not rewrite unasked."""

import pytest

pytest.register_assert_rewrite("tests.study.drive.executors.heard", "tests.study.drive.executors.laws")
