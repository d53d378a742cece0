"""The loop and its commits, compared with an undisturbed run; children of a split pack."""

from dataclasses import replace

import pytest
import safetensors.torch
import torch

from tests.workers import tiny
from tests.workers.train.undisturbed import BORDERS, cells, damage, epochs_trained, finished, undisturbed
from workers.contract.columns import EPOCHS, SCHEMA_VERSION, TRIALS
from workers.contract.errors import RecordError
from workers.contract.trial import pack_id_of
from workers.replicas.device import describe_device
from workers.store.keys import trials_key, weights_key
from workers.store.listing import segments
from workers.store.memory import MemoryStore
from workers.store.parquet import read_footer

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


def test_rows_name_their_classes_unless_they_are_numbers_from_0():
    pack, digits = tiny.pack({}, borders=(1,)), tiny.digits()
    named = replace(digits, class_names=tuple("abcdefghij"))
    for data, expected in ((digits, None), (named, list("abcdefghij"))):
        store = MemoryStore()
        tiny.run(pack, store, data=data)
        footers = [read_footer(store.read(segment.key), segment.key) for segment in segments(store)]
        assert [footer.get("classes") for footer in footers] == [expected] * len(footers)


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
