"""Studies whose effects are known exactly, and simulated seeds for coverage."""

import numpy as np

from analysis import load
from tests.analysis.planted import write

FACTORS = {
    "decoder": ["bernoulli"],
    "k": [1, 5],
    "batch_norm": [False, True],
    "warmup": [0, 2],
    "n_z": [2, 10, 50],
    "seed": [0, 1, 2, 3, 4],
}
K, BATCH_NORM, WARMUP, K_BY_BATCH_NORM = 2.0, -0.5, 0.1, 0.4
N_Z = {2: 0.0, 10: 3.0, 50: 3.5}


def truth(s):
    """Nats per example without noise: four main effects and one interaction."""
    k, bn = s["k"] == 5, bool(s["batch_norm"])
    return -100 + K * k + BATCH_NORM * bn + WARMUP * (s["warmup"] > 0) + N_Z[s["n_z"]] + K_BY_BATCH_NORM * (k and bn)


def offset(s):
    """What a seed adds to all of its trials."""
    return float(np.random.default_rng([11, s["seed"]]).normal(0, 0.5))


def noise(s, sd=0.05):
    return float(np.random.default_rng([s["seed"], s["k"], s["batch_norm"], s["warmup"], s["n_z"]]).normal(0, sd))


def exact(s, epoch):
    return truth(s) + offset(s)


def noisy(s, epoch):
    return truth(s) + offset(s) + noise(s)


def study(root, factors=FACTORS, bound=noisy, **more):
    write(root, factors, bound=bound, **more)
    return load(root)


def seeds(n, sds, simulations, seed, icc=0.0):
    """Normal values [simulation, cell, seed] of mean 0, correlated over cells within a seed."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((simulations, 1, n)) * np.sqrt(icc)
    own = rng.standard_normal((simulations, len(sds), n)) * np.sqrt(1 - icc)
    return (shared + own) * np.asarray(sds)[:, None]
