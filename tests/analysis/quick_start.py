"""A planted study of the quick start's cells, as grid.yaml lists them."""

from collections.abc import Callable
from pathlib import Path

from study.grid.design import cells_by_settings
from study.grid.grid import read_grid
from tests import ROOT
from tests.analysis.planted import flat_bound, plausible_activity, write
from workers.contract.settings_table import value_of

GRID = read_grid(ROOT / "grid.yaml")
FACTORS = [name for name in GRID.factors if name != "seed"]


def write_quick_start(root: Path, seeds: int, bound: Callable = flat_bound) -> None:
    """Write the study with its first seeds and two epochs."""
    factors = {**GRID.factors, "objective.kl": ["auto", "sampled"], "seed": GRID.factors["seed"][:seeds]}
    names = [*FACTORS, "objective.kl"]
    cells = {tuple(value_of(cell, name) for name in names) for cell in cells_by_settings(GRID)}
    write(
        root,
        {name: list(levels) for name, levels in factors.items()},
        epochs=2,
        borders=1,
        excluded=lambda values: tuple(values[name] for name in names) not in cells,
        bound=bound,
        activity=plausible_activity,
    )
