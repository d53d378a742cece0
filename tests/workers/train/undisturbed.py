"""Packs, what is stored of them when nothing goes wrong, and damage to it."""

from functools import cache

import pytest

from tests.workers import tiny
from workers.store.listing import segments
from workers.store.memory import MemoryStore
from workers.store.parquet import read_footer

CELLS = {
    "plain": ({"seed": 0}, {"seed": 1, "warmup": 2}),
    "batch_norm_k5": tuple({"batch_norm": True, "k": 5, "seed": seed} for seed in (0, 1)),
    "two_layers_k5": tuple({**tiny.DEEP, "k": 5, "seed": seed, "warmup": 2 * seed} for seed in (0, 1)),
    "two_layers_running": ({**tiny.DEEP, **tiny.RUNNING, "seed": 0}, {**tiny.DEEP, **tiny.RUNNING, "seed": 1}),
    "gaussian_k1_torch": ({"decoder": "gaussian", "k": 1, "training__epsilon_mode": "torch", "warmup": 3},),
}

cells = pytest.mark.parametrize("members", CELLS.values(), ids=CELLS)

BORDERS = (1, 2, 4)


def finished(pack, data=None):
    store = MemoryStore()
    assert tiny.run(pack, store, data).status == "done"
    return store


undisturbed = cache(finished)
"""For comparison; not to be trained on."""


def epochs_trained(pack, store, **options):
    """Go on with a pack, and say which epochs that took."""
    seen = []
    outcome = tiny.run(pack, store, report=lambda progress: seen.append(progress.epoch), **options)
    assert outcome.status == "done"
    return sorted(set(seen))


def flip(raw):
    return raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 1]) + raw[len(raw) // 2 + 1 :]


def damage(store, key, how):
    raw = store.read(key)
    store.delete(key)
    if how is not None:
        assert store.create(key, how(raw))


def damage_newest(store, how, n=1):
    for segment in list(segments(store))[-n:]:
        damage(store, read_footer(store.read(segment.key), segment.key)["checkpoint"], how)
