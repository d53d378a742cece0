"""The driver keeps the newest checkpoint of a pack and the one before, and does not list the store to do so."""

from collections import Counter

import pytest

from study.drive.checkpoint_cleanup import Pruning
from study.plan.packing import make_pack
from tests.study.small_study import DIGITS, trials_from
from workers.contract.columns import EPOCHS
from workers.contract.settings import RunSettings
from workers.contract.trial import Pack
from workers.store.keys import checkpoint_key, epochs_key
from workers.store.memory import MemoryStore
from workers.store.parquet import encode


class Counting(MemoryStore):
    """Counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def list(self, folder: str, beginning: str = "") -> list[str]:
        self.asked["list"] += 1
        return super().list(folder, beginning)

    def read(self, key: str) -> bytes:
        self.asked["read"] += 1
        return super().read(key)


def pack_of(*seeds: int, epochs: int = 6) -> Pack:
    trials = trials_from(f"factors: {{seed: {list(seeds)}}}", f"training: {{epochs: {epochs}}}")
    return make_pack(trials, RunSettings(commit_every=1), "cpu", DIGITS)


def checkpoint(store: MemoryStore, pack: Pack, border: int, attempt: int = 0) -> str:
    key = checkpoint_key(pack.pack_id, border, f"{attempt:016x}")
    assert store.create(key, b"state")
    return key


def commit(store: MemoryStore, pack: Pack, border: int, attempt: int = 0) -> str:
    """What a worker stores at a border: a checkpoint, and rows that name it."""
    key = checkpoint(store, pack, border, attempt)
    first = max((b for b in pack.borders if b < border), default=-1) + 1
    footer = {"kind": "epochs", "pack_id": pack.pack_id, "checkpoint": key}
    assert store.create(epochs_key(pack.pack_id, first, border), encode(EPOCHS.empty_table(), footer))
    return key


def there(store: MemoryStore, pack: Pack) -> list[str]:
    return [key for key in store.list("checkpoints") if pack.pack_id in key]


@pytest.fixture
def store() -> Counting:
    return Counting()


def test_the_newest_and_the_one_before_stay_and_at_the_end_the_newest_alone(store):
    pack = pack_of(0)
    pruning = Pruning(store, {pack.pack_id: pack})
    keys = []
    for border in pack.borders:
        keys.append(commit(store, pack, border))
        pruning.committed(pack.pack_id, border)
        assert there(store, pack) == keys[-2:]
    pruning.ended(pack.pack_id)
    assert there(store, pack) == keys[-1:]


@pytest.mark.parametrize("n", [1, 20])
def test_commits_take_no_listing_however_many_packs_there_are(store, n):
    packs = [pack_of(seed) for seed in range(n)]
    pruning = Pruning(store, {pack.pack_id: pack for pack in packs})
    store.asked.clear()
    for pack in packs:
        for border in pack.borders:
            commit(store, pack, border)
            pruning.committed(pack.pack_id, border)
        pruning.ended(pack.pack_id)
    assert store.asked["list"] == 0
    assert store.asked["read"] == sum(len(pack.borders) for pack in packs)
    pruning.disturbed(packs[0].pack_id)
    pruning.ended(packs[0].pack_id)
    assert store.asked["list"] > 0, "a listing is counted where there is one"
    assert len(store.list("checkpoints")) == n


def test_what_an_earlier_run_left_goes_at_the_next_commit(store):
    """It committed two borders, left two checkpoints that no rows name, and died before anything was deleted."""
    pack = pack_of(0)
    old = [commit(store, pack, border) for border in (1, 2, 3)]
    for border in (3, 4):
        checkpoint(store, pack, border, attempt=7)
    pruning = Pruning(store, {pack.pack_id: pack})
    assert len(there(store, pack)) == 5, "nothing is deleted before something newer is there"
    newest = commit(store, pack, 4, attempt=1)
    store.asked.clear()
    pruning.committed(pack.pack_id, 4)
    assert store.asked["list"] == 0
    assert there(store, pack) == [old[-1], newest]


def test_what_a_failed_attempt_left_goes_and_what_may_be_named_next_stays(store):
    pack = pack_of(0)
    pruning = Pruning(store, {pack.pack_id: pack})
    first = commit(store, pack, 1)
    pruning.committed(pack.pack_id, 1)
    checkpoint(store, pack, 2, attempt=7)
    pruning.disturbed(pack.pack_id)
    second = commit(store, pack, 2, attempt=1)
    ahead = checkpoint(store, pack, 3, attempt=1)
    pruning.committed(pack.pack_id, 2)
    assert there(store, pack) == [first, second, ahead]


def test_of_two_workers_the_one_whose_rows_stand_keeps_its_checkpoint(store):
    """The other's checkpoint, of which the driver hears nothing, goes at the end of the round."""
    pack = pack_of(0)
    pruning = Pruning(store, {pack.pack_id: pack})
    winner = commit(store, pack, 1)
    loser = checkpoint(store, pack, 1, attempt=7)
    pruning.committed(pack.pack_id, 1)
    assert there(store, pack) == [winner, loser]
    pruning.finish()
    assert there(store, pack) == [winner]


def test_rows_that_are_not_where_the_plan_has_them_are_looked_for(store):
    """As those of a pack whose plan another driver has changed since."""
    long, short = pack_of(0, epochs=6), pack_of(0, epochs=4)
    keys = [commit(store, long, border) for border in long.borders]
    pruning = Pruning(store, {})
    pruning.committed(long.pack_id, 6)
    assert there(store, long) == keys[-2:]
    pruning = Pruning(store, {short.pack_id: short})
    pruning.committed(short.pack_id, 6)
    assert there(store, short) == keys[-2:]


def test_packs_of_others_are_left_alone(store):
    mine, other = pack_of(0), pack_of(1)
    keys = [commit(store, other, border) for border in other.borders]
    pruning = Pruning(store, {mine.pack_id: mine})
    commit(store, mine, 1)
    pruning.committed(mine.pack_id, 1)
    pruning.finish()
    assert there(store, other) == keys
