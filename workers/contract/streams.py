"""The independent random streams of a seed, and a generator at the start of any step of a stream."""

from enum import IntEnum

import numpy as np

EVALUATION_SEED = 0
"""The seed of the choice of evaluation images and of their binarisation, in place of a trial's seed."""


class Stream(IntEnum):
    """The independent streams of a seed. A number, once used, keeps its meaning."""

    WEIGHTS = 0
    ORDER = 1
    BINARISATION = 2
    NOISE = 3
    TEST_NOISE = 4
    NLL_NOISE = 5
    STATISTICS_NOISE = 6
    EVALUATION_IMAGES = 7
    EVALUATION_BINARISATION = 8
    SUBSET = 9
    REDRAWN = 10
    MEASURED_NOISE = 11
    SECONDARY_NOISE = 12
    AGGREGATE_NOISE = 13


def generator(seed: int, stream: Stream, step: int, part: int = 0) -> np.random.Generator:
    """Return a generator at the start of a step.

    It is Philox4x64 (Salmon et al. 2011) with the key (seed, stream). The upper words of the counter hold step and part, so
    that no two steps overlap before 2^128 draws.
    """
    key = np.array([seed, stream], dtype=np.uint64)
    counter = np.array([0, 0, part, step], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
