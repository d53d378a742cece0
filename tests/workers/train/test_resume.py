"""Resume from every border of a longer run, bit for bit; alone, beside a member that diverged, and after a split."""

from functools import cache

import pytest

from study.plan.packing import halves
from tests.workers import tiny
from workers.store.closing import fence, last_epoch, mark_closed
from workers.store.memory import MemoryStore
from workers.train.learner import Learner

EPOCHS = 20
EVERY = tuple(range(1, EPOCHS + 1))
HARD = {"batch_norm": True, "k": 5, "warmup": 12}
MEMBERS = ({**HARD, "seed": 0}, {**HARD, "seed": 1}, {**HARD, "seed": 2, "warmup": 3})


@pytest.fixture(params=[None, 7], ids=["all healthy", "one diverged"])
def fallen(request, monkeypatch):
    """The epoch in which the second member's numbers stop being finite."""
    healthy = Learner.train_epoch

    def train_epoch(self: Learner, epoch: int):
        objective, bound = healthy(self, epoch)
        # By its seed: after a split it stands elsewhere.
        if epoch == request.param and 1 in self.seeds.unique:
            bound = bound.clone()
            bound[self.seeds.index == self.seeds.unique.index(1)] = float("nan")
        return objective, bound

    monkeypatch.setattr(Learner, "train_epoch", train_epoch)
    return request.param


@cache
def undisturbed(fallen: int | None) -> tuple[dict, dict]:
    """Under the fixture of the same name."""
    pack, store = tiny.pack(*MEMBERS, borders=EVERY), MemoryStore()
    assert tiny.run(pack, store).status == "done"
    return tiny.content(store), tiny.rows(store)


def test_a_worker_cut_off_at_every_border_gives_the_same_bits(fallen):
    pack, store = tiny.pack(*MEMBERS, borders=EVERY), MemoryStore()
    for _ in EVERY[:-1]:
        assert tiny.run(pack, store, should_stop=tiny.stop_after(1)).status == "stopped"
    assert tiny.run(pack, store).status == "done"
    assert tiny.content(store) == undisturbed(fallen)[0]


@pytest.mark.parametrize("border", EVERY)
def test_one_interruption_at_any_border_gives_the_same_bits(border, fallen):
    pack, store = tiny.pack(*MEMBERS, borders=EVERY), MemoryStore()
    tiny.run(pack, store, should_stop=tiny.stop_after(border))
    # The newest checkpoint damaged as well: the one before leads to the same place.
    if border > 1 and border % 3 == 0:
        store.delete(max(store.list("checkpoints")))
    assert tiny.run(pack, store).status == "done"
    assert tiny.content(store) == undisturbed(fallen)[0]


@pytest.mark.parametrize("border", [3, 7, 12, 20])
def test_after_a_split_at_any_border_the_numbers_agree(border, fallen):
    pack, store = tiny.pack(*MEMBERS, borders=EVERY), MemoryStore()
    tiny.run(pack, store, should_stop=tiny.stop_after(border))
    if border == EPOCHS:
        for folder in ("trials", "weights"):
            for key in store.list(folder):
                store.delete(key)
    mark_closed(store, pack.pack_id, "error", "x")
    fence(store, pack)
    at = last_epoch(store, pack)
    assert at == border
    for members in halves(pack.trials):
        borders = tuple(b for b in EVERY if b > at) or (EPOCHS,)
        child = tiny.pack_of(tuple(members), borders, pack, at)
        assert tiny.run(child, store, ancestors=(pack,)).status == "done"
    rows, expected = tiny.rows(store), undisturbed(fallen)[1]
    assert rows.keys() == expected.keys(), "the one that diverged has no row more and none less"
    for key, row in expected.items():
        tiny.assert_close(rows[key], row, rtol=2e-4, atol=2e-5)
    statuses = {end["seed"]: end["status"] for end in tiny.ended(store).values()}
    assert statuses == {0: "completed", 1: "diverged" if fallen else "completed", 2: "completed"}
