"""Every example of docs/formats.md is read by the code that it is written for, and every list on it is that of the code."""

import re

import pytest

from analysis.claims import comparisons, reader
from analysis.claims.claim import BASE
from analysis.claims.reader import read_claims
from analysis.claims.values import LATENT_COLUMNS, VALUES
from analysis.loading.labels import read_labels
from study.grid.design import MAX_TRIALS, cells_of, trials_of
from study.grid.grid import GridError, parse_grid
from study.grid.presets import PRESETS
from study.grid.reader import TOP
from tests import ROOT
from tests.analysis.figures.test_catalogue import KEYS
from workers.contract.settings import DataSettings
from workers.contract.yaml_tree import MAX_BYTES
from workers.data.images import load_images

PAGE = (ROOT / "docs" / "formats.md").read_text()


def section(title):
    level = title.split()[0]
    assert f"\n{title}\n" in PAGE
    return re.split(rf"^#{{1,{len(level)}}} ", PAGE.partition(f"\n{title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def blocks(title, language):
    found = re.findall(r"^```(\w*)\n(.*?)^```$", section(title), re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


def rows(title):
    """The cells of the rows of a section's tables, without heads."""
    lines = [line for line in section(title).splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def names(text):
    return tuple(re.findall(r"`([^`]+)`", text))


CELLS = {
    "smallest": (1, 1),
    "my-study": (6, 24),
    "more-factors": (6, 6),
    "ranges": (4, 120),
    "without-some": (4, 4),
    "one-by-one": (3, 15),
}


@pytest.mark.parametrize("text", blocks("## Grid files", "yaml"), ids=list(CELLS))
def test_a_grid_file_has_the_cells_and_trials_that_the_page_states(text):
    grid = parse_grid(text)
    assert (len(cells_of(grid)), len(trials_of(grid, "0" * 64))) == CELLS[grid.study]


def test_the_levels_left_out_are_the_gaussian_ones():
    (text,) = (one for one in blocks("## Grid files", "yaml") if "exclude" in one)
    cells = [(cell["decoder"], cell["k"]) for cell in cells_of(parse_grid(text))]
    assert cells == [("bernoulli", 1), ("bernoulli", 5), ("bernoulli", 50), ("gaussian", 1)]


def test_the_keys_limits_and_presets_of_a_grid_file():
    page = section("## Grid files")
    assert all(f"`{key}`" in page for key in (*TOP, *PRESETS))
    assert f"{MAX_BYTES:,} bytes" in page
    assert f"{MAX_TRIALS:,} trials" in page


def test_the_problems_shown_are_those_of_such_a_file():
    (shown,) = blocks("## Grid files", "")
    text = (ROOT / "grid.yaml").read_text()
    text = text.replace("[bernoulli, gaussian]", "[bernouli, gaussian]").replace("{epochs: 60", "{epoch: 60")
    with pytest.raises(GridError) as error:
        parse_grid(text)
    assert str(error.value) == shown.rstrip("\n")


def test_images_as_the_page_writes_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (program,) = blocks("## Your own images", "python")
    exec(program, {})
    images = load_images(DataSettings(name="npz", path="mine.npz"))
    assert images.train.shape == (80, 8, 8)
    assert images.test.shape == (20, 8, 8)
    assert sorted({*images.train_labels, *images.test_labels}) == list(range(10))


def test_labels_as_the_page_writes_them(tmp_path):
    (text,) = blocks("## Labels", "yaml")
    (tmp_path / "labels.yaml").write_text(text)
    labels = read_labels(tmp_path / "labels.yaml")
    assert labels.title_of("n_z") == "latent size"
    assert labels.title_of("training.learning_rate") == "step size"
    assert [labels.label_of("k", k) for k in (1, 5)] == ["VAE", "IWAE, K = 5"]
    assert [labels.label_of("batch_norm", level) for level in (True, False)] == ["BN", "plain"]


def test_a_claim_as_the_page_writes_it(tmp_path):
    (text,) = blocks("## Claims", "yaml")
    (tmp_path / "mine.yaml").write_text(text)
    (claim,) = read_claims(tmp_path / "mine.yaml")
    assert claim.cells == {"ten": {**BASE, "n_z": 10}, "fifty": {**BASE, "n_z": 50}}
    (tmp_path / "without.yaml").write_text(text.partition("\n")[2])
    assert read_claims(tmp_path / "without.yaml") == [claim]


def test_every_key_of_a_claim_and_of_a_part_is_named():
    page = section("## Claims")
    assert [key for key in (*reader._CLAIM_KEYS, *reader._PART_KEYS, "decides") if f"`{key}" not in page] == []


def test_every_test_is_listed_with_its_parameters():
    listed = {names(row[0])[0]: (names(row[1]), names(row[2])) for row in rows("### Tests")}
    assert listed == reader._TESTS
    assert listed.keys() == comparisons._TESTS.keys()


def test_every_value_is_listed_with_its_parameters():
    assert {names(row[0])[0]: names(row[1]) for row in rows("### Values")} == {
        name: tuple(value.takes) for name, value in VALUES.items()
    }
    assert all(f"`{column}`" in section("### Values") for column in LATENT_COLUMNS)


def test_every_figure_is_listed():
    table = "\n".join(line for line in section("## Names of figures").splitlines() if line.startswith("| `"))
    listed = {name for name in names(table) if "learning_rate" not in name}
    made = {key.removesuffix("-gaussian").replace("training-learning_rate", "SETTING") for key in KEYS}
    assert listed == made
