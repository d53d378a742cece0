"""What the folder of a study cannot hold."""

import pytest

from study.plan.planning import PlanConflictError
from tests.study.plan.planned_study import SEEDS, grid, look, plan, run
from workers.contract.errors import RecordError
from workers.store.keys import plan_key, trials_key


@pytest.mark.parametrize(
    ("setting", "was", "now"), [("threshold", "0.1", "0.2"), ("images", "10000", "500"), ("nll_samples", "5000", "7")]
)
def test_other_measurements_are_refused_by_name(store, setting, was, now):
    plan(store, grid(SEEDS))
    with pytest.raises(PlanConflictError) as caught:
        look(store, grid(SEEDS, f"measure: {{{setting}: {now}}}"))
    assert f"measure.{setting}: got {now}, but study s was planned with {was}" in str(caught.value)
    assert "set it back, or give the study another name" in str(caught.value)


def test_other_measurements_of_new_trials_are_refused_too(store):
    """All rows of a study are measured alike: also those of levels that the plan does not know yet."""
    plan(store, grid("factors: {k: [1]}"))
    with pytest.raises(PlanConflictError, match=r"measure.threshold: got 0.2, but study s was planned with 0.1"):
        look(store, grid("factors: {k: [5]}", "measure: {threshold: 0.2}"))


def test_the_same_measurements_written_out_are_no_conflict(store):
    plan(store, grid(SEEDS))
    assert look(store, grid(SEEDS, "measure: {threshold: 1e-1, images: 10000}")).new == ()


@pytest.mark.parametrize(
    "damage",
    [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: raw[:40] + bytes([raw[40] ^ 1]) + raw[41:]],
    ids=["half", "empty", "one bit"],
)
def test_a_damaged_plan_entry_is_named(store, damage):
    plan(store, grid(SEEDS))
    path = store.root / plan_key(1)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RecordError, match=r"plan/000001.parquet: damaged"):
        look(store, grid(SEEDS))


def test_a_damaged_trials_file_is_named_when_it_is_needed(store):
    work = run(store, grid(SEEDS))
    key = trials_key(work.missing[0].pack_id, work.missing[0].epochs)
    path = store.root / key
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RecordError, match=f"{key}: damaged"):
        look(store, grid(SEEDS, epochs=8))
