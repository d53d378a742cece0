"""The state of a pack as bytes, slices of it, and which checkpoints are kept."""

import json

import pytest
import safetensors
import safetensors.torch
import torch
from safetensors import safe_open

from tests.workers import tiny
from workers.store.ends import committed, prune_checkpoints
from workers.store.keys import checkpoint_key, weights_key
from workers.store.memory import MemoryStore
from workers.store.parquet import read_footer
from workers.train.checkpoint import from_bytes, take, to_bytes


@pytest.fixture
def state(data):
    learner = tiny.learner(*({"seed": seed, **tiny.RUNNING, **tiny.DEEP} for seed in range(3)))
    learner.train_epoch(1)
    assert learner.statistics.keys() > {"encoder.hidden0", "decoder2.mean"}
    return learner.state(1, (None, 1, None))


def test_bytes_hold_the_whole_state(state):
    again = from_bytes(to_bytes(state), tiny.CPU)
    assert tiny.same_state(again, state)
    assert again.seconds == state.seconds


def test_a_state_before_training_is_a_state(data):
    state = tiny.learner({}).state(0, (None,))
    assert tiny.same_state(from_bytes(to_bytes(state), tiny.CPU), state)


def test_a_slice_holds_its_replicas_in_their_order(state):
    some = take(state, [2, 0])
    assert some.diverged_at == (None, None)
    assert take(state, [1]).diverged_at == (1,)
    for name, tensor in state.parameters.items():
        assert torch.equal(some.parameters[name], tensor[[2, 0]])
        for kind, moment in state.moments[name].items():
            assert torch.equal(some.moments[name][kind], moment[[2, 0]])
    for name, statistic in state.statistics.items():
        assert all(torch.equal(a, b[[2, 0]]) for a, b in zip(some.statistics[name], statistic, strict=True))
    assert tiny.same_state(take(state, [0, 1, 2]), state)
    assert some.seconds + take(state, [1]).seconds == pytest.approx(state.seconds)


def test_nothing_is_unpickled(monkeypatch, state):
    monkeypatch.setattr("pickle.loads", lambda *args: pytest.fail("unpickled"))
    monkeypatch.setattr("torch.load", lambda *args: pytest.fail("unpickled"))
    with pytest.raises(safetensors.SafetensorError):
        from_bytes(b"\x80\x04K\x01.", tiny.CPU)
    from_bytes(to_bytes(state), tiny.CPU)


def test_weights_are_a_plain_safetensors_file(tmp_path):
    pack, store = tiny.pack({"seed": 0}, {"seed": 1}, borders=(1,)), MemoryStore()
    tiny.run(pack, store)
    end = tiny.final_state(store, pack)
    for i, trial in enumerate(pack.trials):
        path = tmp_path / "weights.safetensors"
        path.write_bytes(store.read(weights_key(trial.trial_id, 1)))
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["trial"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        assert facts["trial_id"] == trial.trial_id
        assert facts["epoch"] == 1
        assert facts["settings"]["seed"] == i
        assert tensors.keys() == end.parameters.keys()
        for name, tensor in tensors.items():
            assert torch.equal(tensor, end.parameters[name][i])


def test_pruning_keeps_the_newest_commits_and_what_may_become_one():
    pack, other = tiny.pack({}, borders=(1, 2, 3, 4)), tiny.pack({"seed": 1}, borders=(1,))
    store = MemoryStore()
    tiny.run(other, store)
    tiny.run(pack, store, should_stop=tiny.stop_after(3))
    orphan, ahead = (checkpoint_key(pack.pack_id, epoch, "e" * 16) for epoch in (2, 4))
    for key in (orphan, ahead):
        store.create(key, b"x")
    rows = tiny.content(store)
    named = [read_footer(store.read(s.key), s.key)["checkpoint"] for s in committed(store, pack)]
    prune_checkpoints(store, pack.pack_id, keep=2)
    kept = {key for key in store.list("checkpoints") if pack.pack_id in key}
    assert kept == {*named[-2:], ahead}
    assert len([key for key in store.list("checkpoints") if other.pack_id in key]) == 1
    assert tiny.content(store) == rows
    tiny.run(pack, store)
    whole = MemoryStore()
    tiny.run(pack, whole)
    assert tiny.content(whole).items() <= tiny.content(store).items()


def test_pruning_a_pack_without_commits_deletes_nothing():
    store, pack = MemoryStore(), tiny.pack({})
    store.create(checkpoint_key(pack.pack_id, 1, "a" * 16), b"x")
    prune_checkpoints(store, pack.pack_id, keep=2)
    assert len(store.list("checkpoints")) == 1
