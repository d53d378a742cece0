"""Forecasts: laws of the counts and the schedule, disk against a real study, and no torch where a plan is only looked at."""

import heapq
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from study.commands.run import main
from study.forecast.amounts import duration, in_bytes
from study.forecast.forecast import Course, ends_of, forecast, predicted, seconds_of, stored_bytes
from study.forecast.overhead import Overhead
from study.forecast.rates import BUILT_IN
from study.forecast.wording import compared
from study.forecast.work import Sizes, Work, end, measurement, of_pack, parameters_of, sizes_of, training_epoch
from study.plan.packing import pack_trials
from tests import ROOT
from tests.study.small_study import DIGITS, grid_of, trials_in, use_machine
from workers.contract.settings import RunSettings
from workers.contract.settings_table import settings_from
from workers.data.images import KNOWN
from workers.model.architecture import architecture_of, initial_parameters
from workers.store.open import open_store
from workers.store.plan_log import read_plan

CPU_RATES = BUILT_IN["cpu"]
SIDE_BY_SIDE = Overhead(start_s=6.0, pack_s=0.05, runs_side_by_side=True)
ONE_BY_ONE = Overhead(start_s=0.0, pack_s=0.0, runs_side_by_side=False)
SMALL = Sizes(1000, 500, 300, 64)


@pytest.fixture(autouse=True)
def no_calibration(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def packs_of(*lines: str, slots: int = 2):
    grid = grid_of(*lines)
    trials = trials_in(grid)
    return trials, pack_trials(trials, RunSettings(), "cpu", slots, DIGITS)


def foresee(trials, packs, slots=2, done=None, **options):
    done = done or dict.fromkeys([pack.pack_id for pack in packs], -1)
    return forecast(packs, DIGITS, CPU_RATES, slots, SIDE_BY_SIDE, done=done, wanted=trials, **options)


# ---- What there is to do ----


@pytest.mark.parametrize("of", [training_epoch, measurement, end])
@pytest.mark.parametrize(
    "more",
    [{"k": 5}, {"n_z": 100}, {"decoder": "gaussian"}, {"batch_norm": True}, {"model.layers_above": "100-z50"}],
    ids=lambda more: next(iter(more)),
)
def test_more_to_compute_costs_more(of, more):
    small, large = (CPU_RATES.training.of(of(settings_from(values), 2, SMALL)) for values in ({}, more))
    # The end takes its own number of samples, and its nll needs no batch statistics.
    assert small < large or (of is end and "k" in more)


@pytest.mark.parametrize("of", [training_epoch, measurement, end])
def test_a_pack_computes_what_its_trials_do_in_no_more_calls(of):
    one, four = (of(settings_from({}), replicas, SMALL) for replicas in (1, 4))
    assert four == one * 4 + Work(calls=-3 * one.calls)


def test_parameters_are_counted_as_the_model_has_them():
    for values in ({}, {"decoder": "gaussian", "n_z": 7}, {"model.hidden": (30, 20), "n_z": 3}):
        settings = settings_from(values)
        made = initial_parameters(architecture_of(settings, 64), [0], torch.device("cpu"))
        assert parameters_of(settings, 64) == sum(tensor.numel() for tensor in made.values())


def test_images_set_aside_and_left_unmeasured_cost_nothing():
    settings = settings_from({"data.n_valid": 437, "measure.images": 600})
    assert sizes_of(settings, DIGITS) == Sizes(1000, 600, 360, 64)


def test_the_first_epoch_is_measured_before_it_is_trained():
    (pack,) = packs_of("training: {epochs: 10}", slots=1)[1]
    whole, rest = (of_pack(pack, DIGITS, done) for done in (-1, 9))
    assert whole[1].calls == pytest.approx(11 * rest[1].calls)
    assert whole[0].calls == pytest.approx((10 + 1 / 3) * rest[0].calls)
    assert whole[2] == rest[2], "the end comes once"
    assert seconds_of(pack, DIGITS, CPU_RATES, 9) < seconds_of(pack, DIGITS, CPU_RATES, -1)


# ---- When it ends ----


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=40), st.integers(1, 8), st.floats(0, 10))
def test_a_schedule_wastes_no_slot_and_does_no_magic(seconds, slots, start):
    ends = ends_of(seconds, slots, start)
    whole = max(ends) - start
    assert whole >= max(max(seconds), sum(seconds) / slots) - 1e-6
    assert whole <= sum(seconds) / slots + max(seconds) + 1e-6, "Graham's bound"
    assert all(e >= start + s - 1e-9 for e, s in zip(ends, seconds, strict=True))
    # Never more at once than there are slots.
    running: list[float] = []
    for begun, ended in sorted((e - s, e) for e, s in zip(ends, seconds, strict=True)):
        while running and running[0] <= begun + 1e-9:
            heapq.heappop(running)
        heapq.heappush(running, ended)
        assert len(running) <= slots


def test_the_first_seed_stands_before_the_last_and_what_is_done_counts():
    trials, packs = packs_of("factors: {k: [1, 5], n_z: [2, 50], seed: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]}")
    assert len(packs) == 8, "seeds 0 to 5 and 6 to 11 of every cell"
    all_of_it = foresee(trials, packs)
    assert 0 < all_of_it.first_factorial < all_of_it.seconds
    low = [pack for pack in packs if pack.trials[0].settings.seed == 0]
    assert all_of_it.first_factorial == pytest.approx(foresee([t for p in low for t in p.trials], low).seconds)
    rest = [pack for pack in packs if pack not in low]
    now = foresee(trials, rest, ended={t.trial_id for p in low for t in p.trials})
    assert now.first_factorial == 0
    assert foresee(trials, rest).first_factorial == foresee(trials, rest).seconds, "else that of a later seed"
    assert foresee(trials, rest[1:]).first_factorial is None, "cells are missing and nobody runs them"


def test_more_slots_are_faster_and_cost_the_same():
    trials, packs = packs_of("factors: {k: [1, 5], n_z: [2, 10, 20, 50]}")
    one, four = foresee(trials, packs, slots=1), foresee(trials, packs, slots=4)
    assert four.seconds < one.seconds
    assert four.device_seconds == pytest.approx(one.device_seconds)
    assert foresee(trials, packs, share=0.5).device_seconds == pytest.approx(one.device_seconds / 2)


def test_neighbours_slow_a_pack_down_where_they_were_seen_to():
    _, packs = packs_of("factors: {n_z: [2, 50]}")
    crowded = CPU_RATES.model_copy(update={"crowd": 1.5, "slots": 2})
    done = dict.fromkeys([pack.pack_id for pack in packs], -1)
    alone, both = (
        forecast(packs, DIGITS, rates, 2, SIDE_BY_SIDE, done=done).device_seconds for rates in (CPU_RATES, crowded)
    )
    assert 1.4 < both / alone <= 1.5
    inline = [forecast(packs, DIGITS, rates, 2, ONE_BY_ONE, done=done).seconds for rates in (CPU_RATES, crowded)]
    assert inline[0] == inline[1], "one after the other they have none"


def test_an_executor_s_own_time_comes_on_top():
    """Two packs, one after the other: their own times, the start of the executor, and what it takes for each pack."""
    _, packs = packs_of("factors: {n_z: [2, 50]}")
    done = dict.fromkeys([pack.pack_id for pack in packs], -1)
    bare, slow = (
        forecast(packs, DIGITS, CPU_RATES, 2, overhead, done=done)
        for overhead in (ONE_BY_ONE, Overhead(start_s=100.0, pack_s=7.0, runs_side_by_side=False))
    )
    assert slow.seconds - bare.seconds == pytest.approx(100 + 2 * 7)
    assert slow.device_seconds - bare.device_seconds == pytest.approx(2 * 7)
    whole = sum(seconds_of(pack, DIGITS, CPU_RATES, -1) for pack in packs)
    assert bare.seconds == pytest.approx(CPU_RATES.process + whole)


# ---- What it stores ----


def test_disk_is_foreseen_to_a_tenth(tmp_path, monkeypatch, capsys):
    """By the sizes of all files of a study that ran, of two shapes and several borders."""
    monkeypatch.chdir(tmp_path)
    use_machine(monkeypatch)
    Path("s.yaml").write_text(
        "study: s\ndata: {n_valid: 1337}\nfactors: {n_z: [2, 40], seed: [0, 1, 2]}\ntraining: {epochs: 12}\n"
        "measure: {images: 100, nll_samples: 2, secondary_samples: 2}\nrun: {device: cpu, commit_every: 4}\n"
    )
    assert main(["s.yaml", "--executor", "inline"]) == 0
    folder = Path("results/s")
    taken = {
        part: sum(f.stat().st_size for f in (folder / part).iterdir()) for part in ("plan", "epochs", "trials", "weights")
    }
    kept = sum(f.stat().st_size for f in (folder / "checkpoints").iterdir())
    packs = list(read_plan(open_store(str(folder))).packs.values())
    done = dict.fromkeys([pack.pack_id for pack in packs], -1)
    assert stored_bytes(packs, DIGITS, done) == pytest.approx(sum(taken.values()) + kept, rel=0.1)
    assert stored_bytes(packs, DIGITS, done, False) == pytest.approx(sum(taken.values()) + kept - taken["weights"], rel=0.1)
    said = capsys.readouterr().out
    assert f"{in_bytes(stored_bytes(packs, DIGITS, done))} more on disk" in said
    # The run says how it compares, and a finished study foresees nothing.
    assert "\npredicted " in said
    assert main(["s.yaml", "--executor", "inline"]) == 0
    again = capsys.readouterr().out
    assert "forecast" not in again
    assert "predicted" not in again


def test_a_part_is_compared_with_its_own_part():
    _, packs = packs_of("factors: {n_z: [2, 50]}", "training: {epochs: 10}")
    done = dict.fromkeys([pack.pack_id for pack in packs], -1)

    def of(course):
        return predicted(packs, course, DIGITS, CPU_RATES, 1, ONE_BY_ONE, done=done, with_start=False)

    whole, half, nothing = Course(), Course(), Course()
    for pack in packs:
        for epoch in range(11):
            whole.epoch(pack.pack_id, epoch)
            if epoch <= 5:
                half.epoch(pack.pack_id, epoch)
        whole.ended.add(pack.pack_id)
    assert of(whole) == pytest.approx(
        forecast(packs, DIGITS, CPU_RATES, 1, ONE_BY_ONE, done=done).seconds - CPU_RATES.process
    )
    assert of(half) == pytest.approx(of(whole) * 6 / 11)
    assert of(nothing) == 0


# ---- What is said ----


def test_words():
    assert [duration(s) for s in (0.4, 59.4, 61, 3600, 3 * 3600 + 150, 200_000, 1e6)] == [
        "0 s", "59 s", "1 min 1 s", "1 h 0 min", "3 h 2 min", "2 days 8 h", "11 days 14 h",
    ]  # fmt: skip
    assert [in_bytes(n) for n in (7, 12_345, 1.25e6, 3e9, 4.1e12)] == ["7 bytes", "12.3 kB", "1.2 MB", "3.0 GB", "4.1 TB"]
    assert compared(320, 341) == "predicted 5 min 20 s, took 5 min 41 s (+7%)"
    assert compared(100, 80) == "predicted 1 min 40 s, took 1 min 20 s (-20%)"


def test_a_plan_says_what_it_costs_and_what_the_figure_is_worth(capsys, monkeypatch, tmp_path):
    use_machine(monkeypatch)
    monkeypatch.chdir(tmp_path)
    grid = str(ROOT / "grid.yaml")
    assert main([grid, "--plan"]) == 0
    said = capsys.readouterr().out
    assert "\nforecast: " in said
    assert " core-hours, " in said
    assert "\nevery cell finished with one seed: after " in said
    assert "\nrough: this machine's cpu was not calibrated" in said
    assert f"python -m study.run {grid} --calibrate" in said
    assert not (tmp_path / "cache").exists(), "a plan writes nothing"


def test_mnist_costs_more_than_digits():
    (pack,) = packs_of("training: {epochs: 2}", slots=1)[1]
    assert seconds_of(pack, KNOWN["mnist"], CPU_RATES, -1) > 10 * seconds_of(pack, DIGITS, CPU_RATES, -1)
