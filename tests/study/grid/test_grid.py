"""A grid file is the full product of its levels, less what is excluded, with the cells named one by one."""

import math
from itertools import permutations, product

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from study.grid.checks import notes, refuse
from study.grid.design import cells_by_settings, cells_of, trials_of
from study.grid.grid import GridError, parse_grid, read_grid
from study.grid.hints import LISTS, words_of
from study.grid.presets import PRESETS
from tests import ROOT
from tests.study.small_study import grid_of, levels_of, trials_from, trials_in
from workers.contract.combinations import closed_form_kl
from workers.contract.settings import FACTORS, NOT_A_FACTOR, Settings
from workers.contract.settings_table import adapter_of, default_of, flatten, leaves
from workers.contract.trial import trial_of
from workers.data.images import KNOWN

LEVELS = {
    "decoder": ["bernoulli", "gaussian"],
    "k": [1, 2, 5],
    "batch_norm": [False, True],
    "warmup": [0, 20],
    "n_z": [2, 10],
    "training.learning_rate": [0.001, 0.01],
    "seed": [0, 1, 7],
}

some_factors = st.fixed_dictionaries(
    {}, optional={name: st.lists(st.sampled_from(levels), min_size=1, unique=True) for name, levels in LEVELS.items()}
)


def text_of(factors: dict, **rooms: object) -> str:
    return yaml.safe_dump({"study": "s", "factors": factors, **rooms}, sort_keys=False)


def can_be_factors() -> list[str]:
    return [name for name in leaves() if name not in NOT_A_FACTOR and not name.startswith("measure.")]


# ---- The product ----


@settings(deadline=None, max_examples=60)
@given(some_factors)
def test_trials_are_the_product_of_the_levels(factors):
    trials = trials_in(parse_grid(text_of(factors)))
    expected = set(product(*factors.values()))
    assert len(trials) == math.prod(map(len, factors.values())) == len(expected)
    assert set(levels_of(trials, *factors)) == expected
    assert len({trial.trial_id for trial in trials}) == len(trials)
    others = {name: value for name, value in flatten(Settings()).items() if name not in factors}
    assert all({name: flatten(trial.settings)[name] for name in others} == others for trial in trials)


@settings(deadline=None, max_examples=60)
@given(some_factors.filter(lambda factors: "k" in factors), st.data())
def test_exclude_takes_away_what_matches_every_name_of_an_entry(factors, data):
    entry = {
        name: data.draw(st.lists(st.sampled_from(levels), min_size=1, unique=True))
        for name, levels in factors.items()
        if name == "k" or data.draw(st.booleans())
    }
    left = [
        levels
        for levels in product(*factors.values())
        if not all(dict(zip(factors, levels, strict=True))[name] in gone for name, gone in entry.items())
    ]
    grid = parse_grid(text_of(factors, exclude=[entry]))
    if left:
        assert sorted(map(str, levels_of(trials_in(grid), *factors))) == sorted(map(str, left))
    else:
        with pytest.raises(ValueError, match="exclude"):
            trials_in(grid)


def test_one_excluded_level_may_stand_without_a_list():
    factors = "factors: {k: [1, 5], n_z: [2, 10], seed: [0, 1]}"
    one = trials_from(factors, "exclude: [{k: 5, n_z: 2}]")
    assert one == trials_from(factors, "exclude: [{k: [5], n_z: [2]}]")
    assert levels_of(one, "k", "n_z", "seed") == [(1, 2, 0), (1, 2, 1), (1, 10, 0), (1, 10, 1), (5, 10, 0), (5, 10, 1)]


def test_a_seed_of_one_cell_can_be_excluded():
    trials = trials_from("factors: {k: [1, 5], seed: [0, 1]}", "exclude: [{k: 5, seed: 1}]")
    assert levels_of(trials, "k", "seed") == [(1, 0), (1, 1), (5, 0)]


def test_a_single_level_is_a_list_of_one():
    assert trials_from("factors: {k: 5, seed: 3}") == trials_from("factors: {k: [5], seed: [3]}")


def test_a_grid_without_factors_is_one_trial_of_seed_0():
    for lines in ([], ["factors:"], ["factors: {}"], ["cells: []", "exclude:"]):
        assert levels_of(trials_from(*lines), "k", "seed") == [(1, 0)]


# ---- Cells named one by one ----


def test_cells_stand_beside_the_product():
    trials = trials_from("factors: {k: [1, 5], seed: [0, 1]}", "cells: [{n_z: 3}, {k: 7, decoder: gaussian}]")
    assert levels_of(trials, "k", "n_z", "decoder", "seed") == [
        (k, n_z, decoder, seed)
        for k, n_z, decoder in [(1, 50, "bernoulli"), (5, 50, "bernoulli"), (1, 3, "bernoulli"), (7, 50, "gaussian")]
        for seed in (0, 1)
    ]


@pytest.mark.parametrize("factors", ["factors: {seed: [0, 1]}", "factors: {}"])
def test_cells_stand_instead_of_a_product_of_nothing(factors):
    trials = trials_from(factors, "cells: [{k: 5}, {k: 7}]")
    assert {trial.settings.k for trial in trials} == {5, 7}


def test_a_cell_of_the_product_named_again_is_there_once_and_stays_where_it_is():
    factors = "factors: {k: [1, 5], seed: [0, 1]}"
    without = trials_from(factors, "cells: [{k: 7}]")
    # The second says the same with a default written out.
    for again in ("{k: 1}", "{k: 1, n_z: 50}", "{k: 5}"):
        trials = trials_from(factors, f"cells: [{again}, {{k: 7}}, {{k: 7}}]")
        assert {trial.trial_id for trial in trials} == {trial.trial_id for trial in without}
        assert len(trials) == len(without)
        assert trials == without, "the same trials, in another order"


def test_exclude_holds_for_named_cells_too():
    trials = trials_from("factors: {k: [1, 5], n_z: [2]}", "cells: [{k: 5, n_z: 9}, {k: 1, n_z: 9}]", "exclude: [{k: 5}]")
    assert levels_of(trials, "k", "n_z") == [(1, 2), (1, 9)]


# ---- How it is written does not matter ----


def test_order_of_the_keys_at_the_top_changes_nothing():
    parts = [
        "study: s",
        "factors: {k: [1, 5], seed: [0, 1]}",
        "training: {epochs: 9, beta1: 0.5}",
        "exclude: [{k: 1, seed: 1}]",
    ]
    wanted = trials_in(parse_grid("\n".join(parts)))
    for order in permutations(parts):
        assert trials_in(parse_grid("\n".join(order))) == wanted


@settings(deadline=None, max_examples=60)
@given(some_factors, st.data())
def test_order_of_the_factors_changes_nothing(factors, data):
    shuffled = dict(data.draw(st.permutations(list(factors.items()))))
    ids = [[trial.trial_id for trial in trials_in(parse_grid(text_of(f)))] for f in (factors, shuffled)]
    assert sorted(ids[0]) == sorted(ids[1])
    assert ids[0] == ids[1], "the same trials, in another order"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("training.learning_rate: [0.001]", "training.learning_rate: [1e-3]"),
        ("training.learning_rate: [0.5]", "training.learning_rate: [.5]"),
        ("training.learning_rate: [1.0]", "training.learning_rate: [1]"),
        ("training.learning_rate: [1.0]", "training.learning_rate: [+1.]"),
        ("training.learning_rate: [0.002]", "training.learning_rate: [2.0E-3]"),
        ("decoder: [gaussian]", "decoder: ['gaussian']"),
        ("decoder: [gaussian]", 'decoder: ["gaussian"]'),
        ("batch_norm: [true]", "batch_norm: [ true ]"),
        ("k: [5]", "k:\n    - 5"),
        ("k: [5]", "'k': [+5]"),
    ],
)
def test_how_a_value_is_written_changes_nothing(one, other):
    assert trials_from(f"factors:\n  {one}") == trials_from(f"factors:\n  {other}")


def test_1e_3_is_a_number():
    assert grid_of("training: {learning_rate: 1e-3}").base.training.learning_rate == 0.001


@settings(deadline=None)
@given(st.floats(1e-12, 10, exclude_min=True), st.sampled_from(["{!r}", "{:.17e}", "{:.17E}", "{:.17g}"]))
def test_a_number_survives_any_way_to_write_it(number, form):
    assert grid_of(f"training: {{learning_rate: {form.format(number)}}}").base.training.learning_rate == number


def test_a_default_written_out_gives_the_same_trial():
    assert trials_from("factors: {k: [1]}", "training: {beta1: 0.9}", "model: {activation: softplus}") == trials_from()


def test_a_level_and_a_setting_of_the_base_give_the_same_trial():
    levels = trials_from("factors: {training.beta1: [0.5], model.activation: [tanh]}")
    assert levels == trials_from("training: {beta1: 0.5}", "model: {activation: tanh}")


# ---- Any scalar setting can be a factor ----


def two_levels(name: str) -> list:
    if name in LISTS:
        return {"data.classes": ["all", "1,2"], "model.layers_above": ["none", "8-z4"]}[name]
    if words := words_of(name, Settings):
        # A setting that has one word only has one level.
        return words[:2]
    if isinstance(default_of(name), bool):
        return [False, True]
    good = []
    for value in (1, 2, 3, 0.25, 0.5):
        try:
            good.append(adapter_of(name).validate_python(value))
        except ValueError:
            continue
    return good[-2:]


@pytest.mark.parametrize("name", can_be_factors())
def test_any_scalar_setting_can_be_a_factor(name):
    levels = two_levels(name)
    assert len(levels) == 2
    trials = trials_in(parse_grid(text_of({name: levels})))
    assert [level for (level,) in levels_of(trials, name)] == levels
    assert len({trial.trial_id for trial in trials}) == 2


@pytest.mark.parametrize("name", [name for name in leaves() if name not in can_be_factors()])
def test_what_is_one_for_the_whole_study_is_no_factor(name):
    with pytest.raises(GridError, match=f"grid.yaml:2:11: factors.{name}: cannot be a factor: "):
        grid_of(f"factors: {{{name}: [{default_of(name)}]}}")


def test_the_six_factors_can_be_factors():
    assert set(FACTORS) <= set(can_be_factors())


# ---- Precedence: default, preset, file, --set ----


def test_later_words_win():
    def rate(*lines: str, sets: tuple[str, ...] = ()) -> tuple[float, int]:
        training = grid_of(*lines, sets=sets).base.training
        return training.learning_rate, training.epochs

    paper = PRESETS["paper"]["training.learning_rate"]
    assert rate() == (default_of("training.learning_rate"), default_of("training.epochs"))
    assert rate("preset: paper") == (paper, 300)
    assert rate("preset: paper", "training: {learning_rate: 0.5}") == (0.5, 300)
    assert rate("preset: paper", "training: {learning_rate: 0.5}", sets=("training.learning_rate=0.25",)) == (0.25, 300)
    assert rate("preset: paper", sets=("training.learning_rate=0.25", "training.learning_rate=0.125")) == (0.125, 300)
    assert rate(sets=("preset=paper", "training.epochs=7")) == (paper, 7)


def test_preset_wins_over_defaults_only(monkeypatch):
    """A preset of its own: it differs from the defaults in what is looked at."""
    monkeypatch.setitem(PRESETS, "other", {"training.batch_size": 7, "training.beta1": 0.5})
    settings = grid_of("preset: other", "training: {beta1: 0.25}").base.training
    assert (settings.batch_size, settings.beta1, settings.beta2) == (7, 0.25, default_of("training.beta2"))
    assert levels_of(trials_from("preset: other", "factors: {training.beta1: [0.75]}"), "training.beta1") == [(0.75,)]


@pytest.mark.parametrize(
    ("option", "name", "levels"),
    [
        ("k=7", "k", [7]),
        ("k=[7, 8]", "k", [7, 8]),
        ("factors.k=[7, 8]", "k", [7, 8]),
        ("seed=[0, 1, 2]", "seed", [0, 1, 2]),
        ("decoder=gaussian", "decoder", ["gaussian"]),
        ("factors.training.beta1=[0.25, 0.5]", "training.beta1", [0.25, 0.5]),
    ],
)
def test_set_replaces_the_levels_of_a_factor(option, name, levels):
    trials = trials_from("factors: {k: [1], decoder: [bernoulli]}", sets=[option])
    assert [level for (level,) in levels_of(trials, name)] == levels


def test_set_reaches_every_room():
    sets = ["study=t", "data.root=/data", "model.hidden=[8, 4]", "measure.images=10", "run.out=here", "exclude=[{k: 5}]"]
    grid = grid_of("factors: {k: [1, 5]}", sets=sets)
    assert (grid.study, grid.base.data.root, grid.base.model.hidden) == ("t", "/data", (8, 4))
    assert (grid.base.measure.images, grid.run.out, len(cells_of(grid))) == (10, "here", 1)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("training.epoch=3", "training.epoch: no such setting; did you mean epochs?"),
        ("epochs=3", "epochs: no such key; did you mean training.epochs?"),
        ("trainign.epochs=3", "trainign: no such key; did you mean training?"),
        ("training.epochs=0", "training.epochs: got 0; allowed: a whole number from 1"),
        ("training.epochs", "must be NAME=VALUE, like --set training.epochs=10"),
        ("=3", "must be NAME=VALUE"),
        ("k=[1", "is no YAML"),
        ("k=", "is empty"),
        ("k=&a 1", "anchors and aliases"),
        ("batch_norm=no", "did you mean false?"),
        ("study=../x", "study: got '../x'"),
    ],
)
def test_a_bad_option_is_named_as_it_was_written(option, words):
    with pytest.raises(GridError) as caught:
        grid_of("factors: {k: [1]}", sets=[option])
    assert f"\n--set {option}: " in str(caught.value)
    assert words in str(caught.value)


def test_set_wins_over_a_factor_of_that_name_or_says_what_to_do():
    """`--set` never loses in silence."""
    with pytest.raises(GridError, match=r"factors.training.beta1: is also set under training; keep one"):
        grid_of("factors: {training.beta1: [0.25, 0.5]}", sets=["training.beta1=0.75"])


# ---- The grids of the project ----


def test_the_quick_start():
    grid = read_grid(ROOT / "grid.yaml")
    assert len(cells_of(grid)) == 48
    assert len(trials_in(grid)) == 144
    assert set(grid.factors) == set(FACTORS)


GRIDS = {
    "paper": (96, 480),
    "paper-figures": (10, 50),
    "paper-figures-short": (10, 20),
    "burda": (5, 25),
    "further": (14, 70),
    "further-continuous": (16, 80),
    "deep": (16, 80),
    "burda-two-layers": (5, 25),
    "burda-short": (4, 8),
    "mnist-check": (4, 8),
}


@pytest.mark.parametrize(("name", "cells", "trials"), [(name, *sizes) for name, sizes in GRIDS.items()])
def test_grids_have_the_sizes_that_they_speak_of(name, cells, trials):
    grid = read_grid(ROOT / "grids" / f"{name}.yaml")
    data = KNOWN[grid.base.data.name]
    assert len(cells_of(grid)) == cells
    assert len({trial.trial_id for trial in trials_of(grid, data.fingerprint)}) == trials


@pytest.mark.parametrize("path", sorted((ROOT / "grids").glob("*.yaml")), ids=lambda path: path.stem)
def test_no_grid_has_cells_that_are_refused_or_twice_the_same(path):
    grid = read_grid(path)
    cells = cells_by_settings(grid)
    refuse(grid, cells)
    assert notes(grid, cells) == []


def test_the_table_of_burda_is_burdas():
    cells = list(cells_by_settings(read_grid(ROOT / "grids" / "burda.yaml")))
    found = {(cell.k, cell.objective.bound) for cell in cells}
    assert found == {(1, "iwae"), (5, "iwae"), (50, "iwae"), (5, "vae"), (50, "vae")}
    for cell in cells:
        assert (cell.n_z, cell.decoder, cell.warmup, cell.batch_norm) == (50, "bernoulli", 0, False)
        assert not closed_form_kl(cell)
        assert (cell.training.epochs, cell.training.batch_size, cell.data.n_valid) == (3280, 20, 400)


def test_every_subset_has_random_images_in_equal_number_beside_it():
    grid = read_grid(ROOT / "grids" / "further.yaml")
    found = {(s.data.classes, s.data.subset, s.k) for s in cells_by_settings(grid)}
    some = {classes for classes, _, _ in found} - {"all"}
    assert "1,2,3,4,5" in some
    pairs = {(classes, subset, k) for classes in some for subset in ("classes", "random") for k in (1, 5)}
    assert found == pairs | {("all", "classes", 1), ("all", "classes", 5)}


def test_continuous_data_are_grey_and_both_decoders_see_them():
    grid = read_grid(ROOT / "grids" / "further-continuous.yaml")
    found = {(s.decoder, s.model.decoder_logvar, s.data.input, s.data.name) for s in cells_by_settings(grid)}
    assert found == {
        *(("gaussian", head, "grey", "frey_faces") for head in ("tanh", "linear_clamped", "global")),
        ("continuous_bernoulli", "tanh", "grey", "frey_faces"),
    }


def test_the_figures_of_the_paper_take_trials_of_its_factorial():
    whole, ten = (trials_of(read_grid(ROOT / f"grids/{name}.yaml"), "0" * 64) for name in ("paper", "paper-figures"))
    assert {trial.trial_id for trial in ten} < {trial.trial_id for trial in whole}


def test_the_paper_preset_has_the_values_of_the_paper():
    base = grid_of("preset: paper").base
    assert (base.data.name, base.data.n_valid, base.data.input) == ("mnist", 5000, "dynamic")
    assert (base.model.hidden, base.model.activation) == ((200, 200), "softplus")
    training = base.training
    assert (training.epochs, training.batch_size, training.learning_rate) == (300, 100, 0.001)
    assert (training.beta1, training.beta2, training.epsilon) == (0.9, 0.9, 1e-4)
    assert (base.measure.threshold, base.measure.nll_samples) == (0.1, 5000)


def test_the_burda_preset_has_the_values_of_their_program():
    base = grid_of("preset: burda").base
    assert (base.data.name, base.data.n_valid, base.data.input) == ("mnist", 400, "dynamic")
    model, objective, training = base.model, base.objective, base.training
    assert (model.hidden, model.activation, model.encoder_logvar_head) == ((200, 200), "tanh", "linear_sd")
    assert (model.init, model.output_bias) == ("glorot_uniform", "data_mean")
    assert (objective.kl, objective.batch_reduction) == ("sampled", "sum")
    assert (training.epochs, training.batch_size, training.learning_rate) == (3280, 20, 1e-3)
    assert (training.schedule, training.schedule_over, training.order) == ("burda", 3280, "fixed")
    assert (training.beta1, training.beta2, training.epsilon) == (0.99, 0.999, 1e-4)
    assert (training.epsilon_mode, training.initial_second_moment) == ("tf1", 1.0)
    assert (base.measure.threshold, base.measure.images, base.measure.nll_samples) == (0.01, 500, 5000)


def test_the_paper_is_the_defaults_on_mnist():
    """So that what was trained before a setting was written into the preset is still the same trial."""
    values = {name: value for name, value in PRESETS["paper"].items() if value != default_of(name)}
    assert values == {"data.name": "mnist", "data.n_valid": 5000}


def test_every_preset_is_valid_and_has_known_settings():
    for name, values in PRESETS.items():
        base = flatten(grid_of(f"preset: {name}").base)
        assert {setting: base[setting] for setting in values} == values


def test_a_trial_is_the_same_in_any_study_that_has_its_settings():
    alone = trials_from("factors: {k: [5]}", "training: {epochs: 9}", "measure: {threshold: 0.5}", "run: {out: there}")
    assert alone[0].trial_id == trials_from("factors: {k: [1, 5], seed: [0, 1]}")[2].trial_id
    other = trial_of(alone[0].settings, "f" * 64)
    assert other.trial_id != alone[0].trial_id, "other data, another trial"
