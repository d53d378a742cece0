"""The loop and its commits: resume, crash, race, split; always compared with an undisturbed run."""

import dataclasses
import itertools
from functools import cache

import pytest
import safetensors.torch
import torch

from tests.workers import tiny
from workers.contract.columns import EPOCHS, SCHEMA_VERSION, TRIALS
from workers.contract.errors import ConflictError, RecordError
from workers.contract.trial import pack_id_of
from workers.replicas.device import describe_device
from workers.store.folder import FolderStore
from workers.store.keys import checkpoint_key, epochs_key, trials_key, weights_key
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


# ---- What is stored ----


@cells
def test_every_trial_and_epoch_is_stored_once(members):
    pack = tiny.pack(*members, borders=BORDERS)
    store = undisturbed(pack)
    rows = tiny.rows(store)
    assert rows.keys() == {(trial.trial_id, epoch) for trial in pack.trials for epoch in range(5)}
    assert [(s.first, s.last) for s in segments(store)] == [(0, 1), (2, 2), (3, 4)]
    for table in tiny.tables(store):
        assert [(f.name, f.type) for f in table.schema] == [(f.name, f.type) for f in EPOCHS]
        # A linear head has no end at which it could be saturated.
        empty = {name for name in table.column_names if table[name].null_count}
        assert empty == {"saturated_mean", "saturated_log_variance"}
    for trial in pack.trials:
        s = trial.settings
        factors = {name: getattr(s, name) for name in ("decoder", "k", "batch_norm", "warmup", "n_z", "seed")}
        for epoch in range(5):
            row = rows[trial.trial_id, epoch]
            assert row.items() >= {**factors, "epoch": epoch, "schema_version": SCHEMA_VERSION}.items()
            for name in (
                "activity",
                "activity_test",
                "kl_per_unit",
                "kl_per_unit_test",
                "posterior_mean",
                "posterior_variance",
            ):
                assert len(row[name]) == (5 if s.model.layers_above != "none" else 3), name
            assert len(row["reconstruction_per_class"]) == 10
            assert row["active_units"] == sum(a > s.measure.threshold for a in row["activity"])
            assert row["seconds"] > 0


@cells
def test_a_finished_trial_has_its_row_and_its_weights(members):
    pack = tiny.pack(*members, borders=BORDERS)
    store = undisturbed(pack)
    assert store.list("trials") == [trials_key(pack.pack_id, 4)]
    assert store.list("weights") == sorted(weights_key(trial.trial_id, 4) for trial in pack.trials)
    rows, ends = tiny.rows(store), tiny.ended(store)
    for trial in pack.trials:
        end, last = ends[trial.trial_id], rows[trial.trial_id, 4]
        assert end.keys() == set(TRIALS.names)
        assert (end["status"], end["epochs"], end["last_epoch"], end["pack_id"]) == ("completed", 4, 4, pack.pack_id)
        assert {name: end[name] for name in ("train_bound", "test_bound", "test_elbo", "active_units")} == {
            name: last[name] for name in ("train_bound", "test_bound", "test_elbo", "active_units")
        }
        assert end["nll_samples"] == 12
        assert end["nll"] <= -end["test_elbo"] + 0.5
        assert end["baseline_bound"] < 0


def test_rows_name_their_checkpoint_and_where_they_come_from():
    pack = tiny.pack({}, borders=BORDERS)
    store = MemoryStore()
    tiny.run(pack, store, provenance={"commit": "abc", "dirty": False})
    for segment in segments(store):
        footer = read_footer(store.read(segment.key), segment.key)
        assert footer["checkpoint"] in store.list("checkpoints")
        assert tiny.checkpoint_of(store, footer["checkpoint"]).epoch == segment.last
        assert footer["provenance"] == {
            **describe_device(tiny.CPU),
            "commit": "abc",
            "dirty": False,
            "fingerprint": tiny.digits().fingerprint,
        }
        assert footer["threshold"] == 0.1


def test_progress_is_reported_after_every_epoch_and_commit():
    reports = []
    pack = tiny.pack({}, borders=BORDERS)
    tiny.run(pack, MemoryStore(), report=reports.append)
    assert {report.pack_id for report in reports} == {pack.pack_id}
    seen = [(report.epoch, report.committed) for report in reports]
    assert seen == [(0, -1), (1, -1), (1, 1), (2, 1), (2, 2), (3, 2), (4, 2), (4, 4)]


# ---- Stop and go on ----


@cells
def test_stopping_at_every_border_changes_nothing(members):
    pack = tiny.pack(*members, borders=BORDERS)
    whole, halting = undisturbed(pack), MemoryStore()
    for _ in BORDERS[:-1]:
        assert tiny.run(pack, halting, should_stop=tiny.stop_after(1)).status == "stopped"
        assert not halting.list("trials")
    assert epochs_trained(pack, halting, should_stop=tiny.stop_after(1)) == [3, 4]
    assert tiny.content(halting) == tiny.content(whole)
    assert tiny.same_state(tiny.final_state(halting, pack), tiny.final_state(whole, pack))


def test_a_finished_pack_is_left_as_it_is():
    pack = tiny.pack({}, {"seed": 1}, borders=(1, 2))
    store = finished(pack)
    before = tiny.everything(store)
    assert epochs_trained(pack, store) == []
    assert tiny.everything(store) == before


def test_a_longer_study_goes_on_where_the_shorter_ended():
    short, long = (tiny.pack({}, {"seed": 1}, borders=borders) for borders in ((1, 2), (1, 2, 4)))
    store = finished(short)
    before = tiny.everything(store)
    assert epochs_trained(long, store) == [3, 4]
    after, whole = tiny.content(store), tiny.content(undisturbed(long))
    assert {key: after[key] for key in whole} == whole
    assert before.items() <= tiny.everything(store).items()


def test_borders_change_no_number():
    many, few = (undisturbed(tiny.pack({"batch_norm": True}, borders=borders)) for borders in ((1, 2, 3, 4), (4,)))
    rows, expected = tiny.rows(many), tiny.rows(few)
    assert rows.keys() == expected.keys()
    for key, row in expected.items():
        tiny.assert_close(rows[key], row, rtol=0)


# ---- Damage and crashes ----


def flip(raw):
    return raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 1]) + raw[len(raw) // 2 + 1 :]


DAMAGE = {
    "flipped": flip,
    "flipped_header": lambda raw: bytes([raw[0] ^ 1]) + raw[1:],
    "truncated": lambda raw: raw[:-7],
    "empty": lambda raw: b"",
    "deleted": None,
}


def damage(store, key, how):
    raw = store.read(key)
    store.delete(key)
    if how is not None:
        assert store.create(key, how(raw))


def damage_newest(store, how, n=1):
    for segment in list(segments(store))[-n:]:
        damage(store, read_footer(store.read(segment.key), segment.key)["checkpoint"], how)


@pytest.mark.parametrize("how", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_leads_to_the_border_before(how):
    pack, store = tiny.pack(*CELLS["plain"], borders=BORDERS), MemoryStore()
    tiny.run(pack, store, should_stop=tiny.stop_after(2))
    damage_newest(store, how)
    assert epochs_trained(pack, store) == [2, 3, 4]
    assert tiny.content(store) == tiny.content(undisturbed(pack))


def test_without_any_checkpoint_the_pack_begins_anew():
    pack, store = tiny.pack(*CELLS["plain"], borders=BORDERS), MemoryStore()
    tiny.run(pack, store, should_stop=tiny.stop_after(2))
    damage_newest(store, flip, n=2)
    assert epochs_trained(pack, store) == [0, 1, 2, 3, 4]
    assert tiny.content(store) == tiny.content(undisturbed(pack))


def test_a_checkpoint_damaged_at_the_end_is_only_missed_by_a_longer_study():
    pack, longer = (tiny.pack({}, borders=borders) for borders in ((1, 2), (1, 2, 3)))
    store = finished(pack)
    damage_newest(store, flip)
    assert epochs_trained(longer, store) == [2, 3]
    assert tiny.content(store).items() >= tiny.content(undisturbed(longer)).items()


def test_a_checkpoint_without_its_rows_is_ignored():
    pack = tiny.pack({}, borders=BORDERS)
    store, other = MemoryStore(), undisturbed(tiny.pack({"seed": 1}, borders=BORDERS))
    tiny.run(pack, store, should_stop=tiny.stop_after(1))
    for epoch, raw in ((2, b"half a checkp"), (4, other.read(other.list("checkpoints")[-1]))):
        store.create(checkpoint_key(pack.pack_id, epoch, "f" * 16), raw)
    assert epochs_trained(pack, store) == [2, 3, 4]
    assert tiny.content(store) == tiny.content(undisturbed(pack))


class CrashError(Exception):
    pass


def test_a_crash_before_any_write_loses_nothing():
    pack, data = tiny.pack({"warmup": 2}, borders=(1, 2)), tiny.digits(50, 10)
    whole = finished(pack, data)
    writes = len(tiny.everything(whole))
    assert writes == 2 + 2 + 1 + 1
    for n in range(writes):
        store, counter = MemoryStore(), itertools.count()

        def crash(key, counter=counter, n=n):
            if next(counter) == n:
                raise CrashError(key)

        with pytest.raises(CrashError):
            tiny.run(pack, tiny.Around(store, before=crash), data)
        stored = tiny.content(store)
        assert stored.items() <= tiny.content(whole).items()
        tiny.run(pack, store, data)
        assert tiny.content(store) == tiny.content(whole), f"crash before write {n}"


def test_a_full_disk_ends_with_an_oserror_and_can_go_on(tmp_path):
    pack = tiny.pack({}, borders=(1, 2))
    store = FolderStore(tmp_path)

    def full(key):
        # Of the second border; the name of an attempt may hold these digits too.
        if "-000002-" in key:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        tiny.run(pack, tiny.Around(store, before=full))
    assert epochs_trained(pack, store) == [2]
    assert tiny.content(store) == tiny.content(undisturbed(pack))


# ---- Races ----


def test_two_workers_of_one_pack_store_it_once():
    pack = tiny.pack(*CELLS["plain"], borders=BORDERS)
    store = MemoryStore()
    first = tiny.overtaken(store, lambda: tiny.run(pack, store))
    assert tiny.run(pack, first).status == "done"
    assert tiny.content(store) == tiny.content(undisturbed(pack))


def winner_on(store, pack, data, borders=1):
    """Another worker's commits: other data stand for whatever made its numbers differ."""
    return lambda: tiny.run(pack, store, data, should_stop=tiny.stop_after(borders))


def other_data():
    """Other images under the fingerprint of the usual ones."""
    data = tiny.digits()
    return dataclasses.replace(data, train=data.train.flip(0) * 0.5)


def test_other_numbers_from_the_same_machine_are_a_conflict():
    pack = tiny.pack({}, borders=BORDERS)
    store = MemoryStore()
    with pytest.raises(ConflictError, match="--out") as conflict:
        tiny.run(pack, tiny.overtaken(store, winner_on(store, pack, other_data())))
    key = epochs_key(pack.pack_id, 0, 1)
    assert conflict.value.key == key
    assert key in str(conflict.value)
    # What stood there stands.
    alone = MemoryStore()
    winner_on(alone, pack, other_data())()
    assert tiny.content(store) == tiny.content(alone)


@pytest.fixture
def elsewhere(monkeypatch):
    """Run something as if on another machine."""

    def call(function):
        with monkeypatch.context() as patch:
            patch.setattr(
                "workers.train.loop.describe_device", lambda device: describe_device(device) | {"device_name": "other"}
            )
            return function()

    return call


def test_who_loses_to_another_machine_goes_on_from_its_state(elsewhere):
    pack = tiny.pack(*CELLS["plain"], borders=BORDERS)
    expected, store = MemoryStore(), MemoryStore()
    elsewhere(winner_on(expected, pack, other_data()))
    tiny.run(pack, expected)
    loser = tiny.overtaken(store, lambda: elsewhere(winner_on(store, pack, other_data())))
    assert tiny.run(pack, loser).status == "done"
    assert tiny.content(store) == tiny.content(expected)
    assert tiny.rows(store).keys() == {(trial.trial_id, epoch) for trial in pack.trials for epoch in range(5)}


def test_a_lost_checkpoint_of_another_machine_wedges_nothing(elsewhere):
    """Its rows stand and cannot be computed again here bit for bit; the pack must still come to an end."""
    pack = tiny.pack({}, borders=BORDERS)
    store = MemoryStore()
    elsewhere(winner_on(store, pack, other_data(), borders=2))
    damage_newest(store, None)
    calls = itertools.count()

    def patience():
        assert next(calls) < 20, "the same border is computed again and again"
        return False

    assert tiny.run(pack, store, should_stop=patience).status == "done"
    assert tiny.rows(store).keys() == {(trial.trial_id, epoch) for trial in pack.trials for epoch in range(5)}


def test_equal_numbers_from_another_machine_are_no_conflict(elsewhere):
    pack = tiny.pack({}, borders=BORDERS)
    store = MemoryStore()
    loser = tiny.overtaken(store, lambda: elsewhere(winner_on(store, pack, tiny.digits())))
    assert tiny.run(pack, loser).status == "done"
    assert tiny.content(store) == tiny.content(undisturbed(pack))


# ---- Splits ----


def test_children_go_on_from_their_parents_commit():
    members = [{"seed": 0}, {"seed": 1, "warmup": 3}, {"seed": 2, "warmup": 1}]
    parent = tiny.pack(*members, borders=(1, 2, 4))
    store = MemoryStore()
    tiny.run(parent, store, should_stop=tiny.stop_after(2))
    for places in ((0, 2), (1,)):
        child = tiny.pack_of(tuple(parent.trials[i] for i in places), (3, 4), parent, from_epoch=2)
        assert child.pack_id == pack_id_of([t.trial_id for t in child.trials], parent.pack_id, 2)
        assert epochs_trained(child, store, ancestors=(parent,)) == [3, 4]
    rows, expected = tiny.rows(store), tiny.rows(undisturbed(parent))
    assert rows.keys() == expected.keys()
    for key, row in expected.items():
        tiny.assert_close(rows[key], row, rtol=1e-5, atol=1e-6)
    ends, expected_ends = tiny.ended(store), tiny.ended(undisturbed(parent))
    for trial_id, end in expected_ends.items():
        tiny.assert_close(ends[trial_id], end, rtol=1e-5, atol=1e-6)


def test_a_child_resumes_from_its_own_commit():
    parent = tiny.pack({"seed": 0}, {"seed": 1}, borders=(1, 4))
    store = MemoryStore()
    tiny.run(parent, store, should_stop=tiny.stop_after(1))
    child = tiny.pack_of(parent.trials[1:], (2, 3, 4), parent, from_epoch=1)
    tiny.run(child, store, ancestors=(parent,), should_stop=tiny.stop_after(1))
    assert epochs_trained(child, store, ancestors=(parent,)) == [3, 4]


@pytest.mark.parametrize("lost", [1, 2], ids=["newest", "all"])
@pytest.mark.parametrize("borders", [(4,), (2,)], ids=["epochs", "end"])
def test_a_child_whose_parents_state_is_gone_computes_it_again(lost, borders):
    parent = tiny.pack({"seed": 0}, {"seed": 1}, borders=(1, 2, 4))
    store = MemoryStore()
    tiny.run(parent, store, should_stop=tiny.stop_after(2))
    child = tiny.pack_of(parent.trials[1:], borders, parent, from_epoch=2)
    for key in sorted(store.list("checkpoints"))[-lost:]:
        damage(store, key, None)
    trained = [1, 2, 3, 4] if lost == 2 else [2, 3, 4]
    # Epochs of the parent are trained, not stored, and not told.
    assert epochs_trained(child, store, ancestors=(parent,)) == [epoch for epoch in trained if 2 < epoch <= borders[-1]]
    rows, expected = tiny.rows(store), tiny.rows(undisturbed(parent))
    for key, row in expected.items():
        if key[1] <= 2 or (key[0] == child.trials[0].trial_id and key[1] <= borders[-1]):
            tiny.assert_close(rows.pop(key), row, rtol=1e-5, atol=1e-6)
    assert not rows
    (key,) = store.list("weights")
    found = safetensors.torch.load(store.read(key))
    exact = MemoryStore()
    tiny.run(parent, exact, should_stop=tiny.stop_after(2))
    tiny.run(child, exact, ancestors=(parent,))
    for name, tensor in safetensors.torch.load(exact.read(key)).items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-6)
    end = child.trials[0].trial_id
    tiny.assert_close(tiny.ended(store)[end], tiny.ended(exact)[end], rtol=1e-5, atol=1e-6)


def test_damaged_rows_are_named_and_not_trained_over():
    pack = tiny.pack({}, borders=BORDERS)
    store = MemoryStore()
    tiny.run(pack, store, should_stop=tiny.stop_after(1))
    (segment,) = segments(store)
    damage(store, segment.key, lambda raw: raw[:-1])
    with pytest.raises(RecordError, match=segment.key):
        tiny.run(pack, store)
