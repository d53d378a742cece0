"""Precedence: default, preset, file, --set."""

import pytest

from study.grid.design import cells_of
from study.grid.grid import GridError
from study.grid.presets import PRESETS
from tests.study.small_study import grid_of, levels_of, trials_from
from workers.contract.settings_table import default_of


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
        ("k=[1", "is not valid YAML"),
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
