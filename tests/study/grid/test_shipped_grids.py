"""The grids and presets of the project."""

import pytest

from study.grid.checks import notes, refuse
from study.grid.design import cells_by_settings, cells_of, trials_of
from study.grid.grid import read_grid
from study.grid.presets import PRESETS
from tests import ROOT
from tests.study.small_study import grid_of, trials_from, trials_in
from workers.contract.combinations import closed_form_kl
from workers.contract.settings import FACTORS
from workers.contract.settings_table import default_of, flatten
from workers.contract.trial import trial_of
from workers.data.images import KNOWN


def test_the_quick_start():
    grid = read_grid(ROOT / "grid.yaml")
    assert len(cells_of(grid)) == 48 + 1, "the product, and the bridge"
    assert len(trials_in(grid)) == 3 * 49
    assert set(grid.factors) == set(FACTORS)


GRIDS = {
    "paper": (97, 485),
    "paper-figures": (11, 55),
    "paper-figures-short": (11, 22),
    "burda": (5, 25),
    "further": (15, 75),
    "further-continuous": (18, 90),
    "deep": (16, 80),
    "burda-two-layers": (5, 25),
    "burda-short": (4, 8),
    "mnist-check": (6, 12),
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


def bridges(cells):
    """The cells at K = 1 with a sampled KL that differ from another cell in that alone: there the KL is in closed form."""
    known = {tuple(flatten(cell).items()) for cell in cells}
    sampled = [cell for cell in cells if (cell.k, cell.objective.kl) == (1, "sampled")]
    return [cell for cell in sampled if tuple({**flatten(cell), "objective.kl": "auto"}.items()) in known]


def changes_the_estimator_with_k(cells):
    """Whether some cells take the KL in closed form because K is 1, and others at the samples because it is not."""
    return {closed_form_kl(cell) for cell in cells if cell.objective.kl == "auto"} == {True, False}


COMPARING = {"grid", "paper", "paper-figures", "paper-figures-short", "further", "further-continuous", "mnist-check"}


@pytest.mark.parametrize("path", [ROOT / "grid.yaml", *sorted((ROOT / "grids").glob("*.yaml"))], ids=lambda path: path.stem)
def test_a_grid_that_compares_k_1_with_more_has_a_bridge_between_them(path):
    cells = list(cells_by_settings(read_grid(path)))
    assert changes_the_estimator_with_k(cells) == (path.stem in COMPARING)
    assert bool(bridges(cells)) == (path.stem in COMPARING)
    for bridge in bridges(cells):
        assert not closed_form_kl(bridge)
        cells.remove(bridge)
    assert bridges(cells) == [], "without them there is none"


def test_a_cell_that_differs_in_more_than_the_kl_is_no_bridge():
    lines = ("factors: {k: [1, 5], n_z: [2, 3], seed: [0]}", "exclude: [{k: 1, n_z: 3}]")
    found = [
        list(cells_by_settings(grid_of(*lines, f"cells: [{{k: 1, n_z: {n_z}, objective.kl: {kl}}}]")))
        for n_z, kl in ((2, "sampled"), (3, "sampled"), (2, "analytic"))
    ]
    assert all(changes_the_estimator_with_k(cells) for cells in found)
    assert [len(bridges(cells)) for cells in found] == [1, 0, 0]


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
    whole, chosen = (trials_of(read_grid(ROOT / f"grids/{name}.yaml"), "0" * 64) for name in ("paper", "paper-figures"))
    assert {trial.trial_id for trial in chosen} < {trial.trial_id for trial in whole}


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
