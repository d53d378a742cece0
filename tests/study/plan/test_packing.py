"""Packs: every trial in exactly one, side by side only what has equal shapes, sized to the device, in a good order."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.plan.packing import MAX_PACK, MOST_PADDED, halves, lengthen, make_pack, pack_seconds, pack_trials
from study.plan.rough_cost import SECONDS_BETWEEN_BORDERS, border_every, epoch_seconds, fixed_seconds, weights_of
from tests.study.small_study import DIGITS
from workers.contract.settings import RunSettings
from workers.contract.settings_table import flatten, settings_from
from workers.contract.trial import Trial, trial_of
from workers.data.images import KNOWN

POSSIBLE = {
    "decoder": ["bernoulli", "gaussian"],
    "k": [1, 5],
    "batch_norm": [False, True],
    "warmup": [0, 3, 20],
    "n_z": [2, 10, 50],
    "seed": list(range(12)),
    "training.learning_rate": [0.001, 0.01],
    "model.hidden": [(8,), (200, 200)],
}


def trial(**values: object) -> Trial:
    named = {name.replace("__", "."): value for name, value in values.items()}
    return trial_of(settings_from({"training.epochs": 60, **named}), DIGITS.fingerprint)


@st.composite
def some_trials(draw):
    n = draw(st.integers(1, 400))
    one = st.fixed_dictionaries({name: st.sampled_from(levels) for name, levels in POSSIBLE.items()})
    values = draw(st.lists(one, min_size=1, max_size=40, unique_by=lambda v: str(sorted(v.items()))))
    return [trial_of(settings_from({"training.epochs": n, **v}), DIGITS.fingerprint) for v in values]


some_runs = st.builds(
    RunSettings, packing=st.sampled_from(["auto", "none"]), commit_every=st.sampled_from(["auto", 1, 7, 1000])
)
devices = st.sampled_from(sorted(MAX_PACK))
slots = st.integers(1, 20)


def shape_of(trial: Trial, device: str = "cpu") -> dict:
    differs = ("seed", "warmup", "data.root", "data.path", *(["n_z"] if device == "cuda" else []))
    return {n: v for n, v in flatten(trial.settings).items() if n not in differs}


@settings(deadline=None)
@given(some_trials(), some_runs, devices, slots)
def test_laws_of_packs(trials, run, device, slots):
    packs = pack_trials(trials, run, device, slots, DIGITS)

    packed = [trial for pack in packs for trial in pack.trials]
    assert sorted(t.trial_id for t in packed) == sorted(t.trial_id for t in trials), "every trial exactly once"
    assert {t.trial_id: t for t in packed} == {t.trial_id: t for t in trials}, "settings unchanged"
    assert len({pack.pack_id for pack in packs}) == len(packs)
    for pack in packs:
        assert all(shape_of(trial, device) == shape_of(pack.trials[0], device) for trial in pack.trials)
        assert len(pack.trials) <= (1 if run.packing == "none" else MAX_PACK[device])
        assert len(pack.trials) <= -(-len(trials) // slots), "no slot waits while a pack has more than its share"
        assert list(pack.borders) == sorted(set(pack.borders))
        assert pack.borders[0] >= 1
        assert pack.epochs == trials[0].settings.training.epochs
        assert (pack.parent, pack.from_epoch) == (None, 0)
    assert pack_trials(trials, run, device, slots, DIGITS) == packs, "the same again"


@settings(deadline=None)
@given(some_trials(), devices, slots)
def test_low_seeds_first_and_then_long_packs(trials, device, slots):
    packs = pack_trials(trials, RunSettings(), device, slots, DIGITS)
    keys = [(min(t.settings.seed for t in p.trials), -pack_seconds(p, DIGITS, device)) for p in packs]
    assert keys == sorted(keys)
    for seed in range(12):
        early = [p for p in packs if min(t.settings.seed for t in p.trials) <= seed]
        assert packs[: len(early)] == early
        covered = {t.trial_id for p in early for t in p.trials}
        assert {t.trial_id for t in trials if t.settings.seed <= seed} <= covered


@settings(deadline=None)
@given(some_trials(), devices, slots, st.randoms())
def test_packs_do_not_depend_on_the_order_of_trials(trials, device, slots, random):
    shuffled = random.sample(trials, len(trials))
    one, other = ({p.pack_id for p in pack_trials(t, RunSettings(), device, slots, DIGITS)} for t in (trials, shuffled))
    assert one == other


@pytest.mark.parametrize(("n", "slots"), [(2, 2), (4, 2), (4, 8), (16, 16), (6, 3), (1, 5)])
def test_a_small_study_uses_all_slots(n, slots):
    packs = pack_trials([trial(seed=s) for s in range(n)], RunSettings(), "cpu", slots, DIGITS)
    assert len(packs) == min(n, slots)


def test_packs_of_a_group_are_even():
    sizes = [len(p.trials) for p in pack_trials([trial(seed=s) for s in range(20)], RunSettings(), "cpu", 1, DIGITS)]
    assert sorted(sizes) == [6, 7, 7]


@pytest.mark.parametrize("device", sorted(MAX_PACK))
def test_the_largest_pack_is_full(device):
    trials = [trial(seed=s) for s in range(MAX_PACK[device])]
    assert len(pack_trials(trials, RunSettings(), device, 1, DIGITS)) == 1
    assert len(pack_trials([*trials, trial(seed=999)], RunSettings(), device, 1, DIGITS)) == 2


@pytest.mark.parametrize(
    "differs",
    [{"k": 5}, {"n_z": 2}, {"batch_norm": True}, {"decoder": "gaussian"}, {"training__beta1": 0.5}, {"model__hidden": (8,)}],
    ids=lambda differs: next(iter(differs)),
)
def test_what_differs_in_shape_or_operations_is_not_packed(differs):
    assert len(pack_trials([trial(), trial(**differs)], RunSettings(), "cpu", 1, DIGITS)) == 2


def test_seeds_warmups_and_data_folders_are_packed_side_by_side():
    trials = [
        trial(seed=s, warmup=w, data__root=r) for s, w, r in [(0, 0, None), (1, 0, "/a"), (0, 20, "/b"), (1, 20, "/a")]
    ]
    assert len(pack_trials(trials, RunSettings(), "cpu", 1, DIGITS)) == 1


# ---- Trials that differ in n_z ----

PAPERS = (2, 5, 10, 20, 50, 100)


def widths_of(packs):
    return [sorted({t.settings.n_z for t in pack.trials}) for pack in packs]


def pack_on(device, trials, run=None):
    return pack_trials(trials, run or RunSettings(), device, 1, KNOWN["mnist"])


@pytest.mark.parametrize("device", sorted(MAX_PACK))
def test_n_z_is_padded_on_a_gpu_alone(device):
    packs = pack_on(device, [trial(n_z=n) for n in PAPERS])
    assert sorted(widths_of(packs)) == ([list(PAPERS)] if device == "cuda" else [[n] for n in PAPERS])


def test_nothing_is_padded_that_is_not_packed_and_no_model_of_several_layers():
    assert len(pack_on("cuda", [trial(n_z=n) for n in PAPERS], RunSettings(packing="none"))) == 6
    assert len(pack_on("cuda", [trial(n_z=n, model__layers_above="9-z2") for n in PAPERS])) == 6


def test_packing_none_and_a_cpu_plan_as_if_nothing_could_be_padded(monkeypatch):
    trials = [trial(n_z=n, seed=s, warmup=w) for n in PAPERS for s in range(5) for w in (0, 9)]
    cases = [("cuda", RunSettings(packing="none")), ("cpu", RunSettings()), ("mps", RunSettings())]
    planned = [pack_on(device, trials, run) for device, run in cases]
    monkeypatch.setattr("study.plan.packing.PADDED", ())
    assert [pack_on(device, trials, run) for device, run in cases] == planned


@settings(deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=30), st.integers(1, 6), st.integers(1, 9))
def test_trials_of_near_n_z_share_a_pack(widths, seeds, slots):
    trials = [trial(n_z=n, seed=s) for n in set(widths) for s in range(seeds)]
    packs = pack_trials(trials, RunSettings(), "cuda", slots, KNOWN["mnist"])
    spans = sorted((found[0], found[-1]) for found in widths_of(packs))
    assert all(above >= below for (_, below), (above, _) in pairwise(spans)), "no pack within another's"
    for pack in packs:
        own = [784 * 200 * 2 + 2 * 200 * 200 + 3 * 200 * t.settings.n_z for t in pack.trials]
        assert max(own) <= MOST_PADDED * min(own)


@pytest.mark.parametrize(("widths", "packs"), [((2, 8000), [[2], [8000]]), ((300, 800, 900), [[300], [800, 900]])])
def test_what_would_be_padded_too_far_has_a_pack_of_its_own(widths, packs):
    assert sorted(widths_of(pack_on("cuda", [trial(n_z=n) for n in widths]))) == packs


def test_halves_of_a_pack_have_near_n_z():
    (pack,) = pack_on("cuda", [trial(n_z=n, seed=s) for s in range(3) for n in PAPERS])
    assert [sorted({t.settings.n_z for t in half}) for half in halves(pack.trials)] == [[2, 5, 10], [20, 50, 100]]


# ---- Borders ----


@settings(deadline=None)
@given(st.floats(1e-9, 1e6), st.integers(1, 1_000_000))
def test_borders_are_about_ten_seconds_apart(seconds, epochs):
    every = border_every(seconds, epochs)
    assert 1 <= every <= epochs
    if 1 < every < epochs:
        assert abs(every * seconds - SECONDS_BETWEEN_BORDERS) <= seconds / 2 * (1 + 1e-9)
    if every == epochs > 1:
        assert (epochs - 0.5) * seconds <= SECONDS_BETWEEN_BORDERS * (1 + 1e-9)


@pytest.mark.parametrize(
    ("every", "epochs", "borders"),
    [(1, 3, (1, 2, 3)), (7, 20, (7, 14, 20)), (7, 21, (7, 14, 21)), (100, 20, (20,)), (20, 20, (20,))],
)
def test_commit_every_is_respected(every, epochs, borders):
    run = RunSettings(commit_every=every)
    pack = make_pack([trial(training__epochs=epochs)], run, "cpu", DIGITS)
    assert pack.borders == borders


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(0, 50), st.sampled_from(["auto", 1, 7, 40]), st.sampled_from(["auto", 1, 5]))
def test_a_longer_pack_keeps_its_id_and_its_borders(epochs, more, every, every_now):
    members = [trial(seed=s, training__epochs=epochs) for s in (0, 1)]
    pack = make_pack(members, RunSettings(commit_every=every), "cpu", DIGITS)
    today = [trial(seed=s, training__epochs=epochs + more) for s in (0, 1)]
    longer = lengthen(pack, today, RunSettings(commit_every=every_now), "cpu", DIGITS)
    assert longer.pack_id == pack.pack_id
    assert longer.borders[: len(pack.borders)] == pack.borders
    assert list(longer.borders) == sorted(set(longer.borders))
    assert longer.epochs == epochs + more
    assert longer.trials == tuple(today)


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(1, 50), st.sampled_from(["auto", 1, 7]))
def test_a_child_begins_where_its_parent_ended(epochs, more, every):
    child = make_pack(
        [trial(training__epochs=epochs + more)], RunSettings(commit_every=every), "cpu", DIGITS, "a" * 16, epochs
    )
    assert (child.parent, child.from_epoch, child.epochs) == ("a" * 16, epochs, epochs + more)
    assert child.borders[0] > epochs
    assert list(child.borders) == sorted(set(child.borders))
    assert child.pack_id != make_pack(child.trials, RunSettings(), "cpu", DIGITS).pack_id


# ---- Cost: only its order matters ----


@pytest.mark.parametrize(
    "more",
    [
        {"k": 5},
        {"n_z": 100},
        {"decoder": "gaussian"},
        {"batch_norm": True},
        {"model__hidden": (400, 400)},
        {"model__layers_above": "100-100-z50"},
        {"measure__images": 1437},
    ],
    ids=lambda more: next(iter(more)),
)
@pytest.mark.parametrize("device", sorted(MAX_PACK))
def test_more_work_costs_more(more, device):
    small, large = (
        make_pack([trial(**({"measure__images": 500} | values))], RunSettings(), device, DIGITS) for values in ({}, more)
    )
    assert 0 < epoch_seconds(small, DIGITS, device) < epoch_seconds(large, DIGITS, device)


def test_a_pack_costs_what_its_trials_cost_and_more_data_cost_more():
    one, two = ([trial(seed=s) for s in range(n)] for n in (1, 2))
    packs = [make_pack(members, RunSettings(), "cpu", DIGITS) for members in (one, two)]
    alone, both = (pack_seconds(pack, DIGITS, "cpu") for pack in packs)
    fixed = fixed_seconds(packs[0], DIGITS, "cpu") * packs[0].epochs
    # They share the fixed costs of their epochs.
    assert both - fixed == pytest.approx(2 * (alone - fixed))
    assert pack_seconds(packs[0], KNOWN["mnist"], "cpu") > 10 * alone


def test_the_borders_of_a_model_that_costs_nothing_come_every_ten_seconds():
    """By its arithmetic alone, 100,000 epochs of it would have one border at the end."""
    small = trial(model__hidden=(1,), n_z=1, training__epochs=100_000)
    pack = make_pack([small], RunSettings(), "cpu", DIGITS)
    every = pack.borders[0]
    assert 5 < every * fixed_seconds(pack, DIGITS, "cpu") < 10
    assert len(pack.borders) == -(-100_000 // every)


def seconds(**values: object) -> float:
    pack = make_pack([trial(**values)], RunSettings(), "cpu", DIGITS)
    return epoch_seconds(pack, DIGITS, "cpu") - fixed_seconds(pack, DIGITS, "cpu")


def test_every_layer_above_costs_and_samples_of_it_cost_again():
    costs = [seconds(model__layers_above=above) for above in ("none", "50-z10", "50-z10-20-z5", "50-z10-200-z5")]
    assert costs == sorted(set(costs))
    more = [seconds(k=k, model__layers_above="100-100-z50") - seconds(k=k) for k in (1, 5)]
    assert more[1] > 4 * more[0]


def test_the_weights_that_are_counted_are_those_of_the_layers():
    """Twice, forwards and backwards, a layer's encoder and decoder, from the sizes alone."""
    settings = settings_from({"n_z": 7, "model.hidden": (30, 20), "model.layers_above": "9-8-z5-4-z3"})
    encoder, decoder, above = weights_of(settings, 100)
    assert encoder == 100 * 30 + 30 * 20 + 2 * 20 * 7
    assert decoder == 7 * 20 + 20 * 30 + 30 * 100
    second = (7 * 9 + 9 * 8 + 2 * 8 * 5) + (5 * 8 + 8 * 9 + 2 * 9 * 7)
    third = (5 * 4 + 2 * 4 * 3) + (3 * 4 + 2 * 4 * 5)
    assert above == second + third


@pytest.mark.parametrize(
    ("values", "heads"),
    [
        ({}, 1),
        ({"decoder": "continuous_bernoulli"}, 1),
        ({"decoder": "gaussian"}, 2),
        ({"decoder": "gaussian", "model.decoder_logvar": "linear_clamped"}, 2),
        ({"decoder": "gaussian", "model.decoder_logvar": "global"}, 1),
        ({"decoder": "gaussian", "model.decoder_logvar": "fixed"}, 1),
    ],
)
def test_heads_that_end_at_the_pixels_are_counted(values, heads):
    _, decoder, _ = weights_of(settings_from({"n_z": 2, "model.hidden": (10,), **values}), 100)
    assert decoder == 2 * 10 + heads * 10 * 100


def test_fewer_classes_cost_less():
    costs = [seconds(data__classes=classes) for classes in ("1", "1,2", "1,2,3,4,5", "all")]
    assert costs == sorted(set(costs))
    assert costs[0] == pytest.approx(costs[-1] / 10, rel=0.02)
    assert costs[0] < seconds(data__classes="1", data__subset="random") < costs[-1] / 2, "the whole test set"
    assert seconds(data__classes=",".join(map(str, range(99)))) == pytest.approx(costs[-1]), "never more than all"


@settings(deadline=None)
@given(st.integers(0, 2000))
def test_images_set_aside_never_make_a_pack_free(n_valid):
    """A grid that sets aside more images than there are is refused later, with a sentence; planning must get there."""
    pack = make_pack([trial(data__n_valid=n_valid)], RunSettings(), "cpu", DIGITS)
    assert pack.borders[0] >= 1
    assert pack_seconds(pack, DIGITS, "cpu") > 0
