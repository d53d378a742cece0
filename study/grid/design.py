"""Enumerate the cells and the trials of a grid, deterministically."""

import itertools
import math
from collections.abc import Iterator, Mapping

from study.grid.grid import Grid
from workers.contract.errors import UserError
from workers.contract.settings import Level, Settings
from workers.contract.settings_table import flatten, settings_from, with_seed
from workers.contract.trial import Trial, trial_of

MAX_TRIALS = 100_000


class DesignError(UserError):
    """A grid whose design is empty or too large."""


def cells_of(grid: Grid) -> list[Mapping[str, Level]]:
    """Return every cell once, in the order of cells_by_settings."""
    return list(cells_by_settings(grid).values())


def cells_by_settings(grid: Grid) -> dict[Settings, Mapping[str, Level]]:
    """Return every cell once, keyed by its settings with the base's seed.

    The cells are the full product of all factors but `seed`, less `exclude`, followed by the cells named one by one.
    If no factor but `seed` is given, named cells replace the product.

    Raises:
        DesignError: no cell is left, or there are more than MAX_TRIALS trials.
    """
    factors = {name: levels for name, levels in grid.factors.items() if name != "seed"}
    has_product = bool(factors) or not grid.cells
    by_factors = math.prod(map(len, factors.values())) * has_product
    # Before anything is built, so that a cell that is excluded or named twice counts too.
    size = (by_factors + len(grid.cells)) * len(grid.factors["seed"])
    if size > MAX_TRIALS:
        key, what = ("factors", "levels") if by_factors >= len(grid.cells) else ("cells", "cells or seeds")
        raise DesignError(f"{grid.place(key)}: {key}: {size:,} trials; at most {MAX_TRIALS:,} are allowed; remove {what}")
    product: list[Mapping[str, Level]] = []
    if has_product:
        product = [dict(zip(factors, levels, strict=True)) for levels in itertools.product(*factors.values())]
    unique: dict[Settings, Mapping[str, Level]] = {}
    base = flatten(grid.base)
    for cell in [*product, *grid.cells]:
        if not _excluded(cell, grid):
            unique.setdefault(settings_from({**base, **cell}), cell)
    if not unique:
        raise DesignError(f"{grid.place('exclude')}: exclude: leaves no cell; remove an entry")
    return unique


def trials_of(grid: Grid, fingerprint: str) -> list[Trial]:
    """Return every cell with every seed, cell by cell.

    Raises:
        DesignError: as in cells_by_settings, or every seed of every cell is excluded.
    """
    trials = list(_trials(grid, fingerprint))
    if not trials:
        raise DesignError(f"{grid.place('exclude')}: exclude: leaves no trial; remove an entry")
    return trials


def _trials(grid: Grid, fingerprint: str) -> Iterator[Trial]:
    base = flatten(grid.base)
    for cell in cells_of(grid):
        settings = settings_from({**base, **cell})
        for seed in grid.factors["seed"]:
            if not _excluded({**cell, "seed": seed}, grid):
                yield trial_of(with_seed(settings, seed), fingerprint)
                if grid.one_seed:
                    break


def _excluded(cell: Mapping[str, Level], grid: Grid) -> bool:
    return any(all(name in cell and cell[name] in levels for name, levels in entry.items()) for entry in grid.exclude)
