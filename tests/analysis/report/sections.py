"""What the tests of sections share."""

from tests.analysis.planted import SMALL

FACTORIAL = {**SMALL, "batch_norm": [False, True], "warmup": [0, 2]}


def table(section, name):
    (found,) = [one for one in section.tables if one.name == name]
    return found
