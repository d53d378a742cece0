"""Refuse combinations of settings that make no sense in a grid's cells, and note settings that have no effect."""

from collections.abc import Mapping, Sequence

from study.grid.grid import Grid, GridError
from study.grid.hints import LISTS, shown_level
from study.grid.results_folder import wrong_with
from workers.contract.combinations import refusals, without_effect
from workers.contract.schedules import beta_at, learning_rate_at
from workers.contract.settings import Level, Settings, SettingValue
from workers.contract.settings_table import value_of
from workers.contract.yaml_tree import Problem

Cell = Mapping[str, Level]


Cells = Mapping[Settings, Cell]
"""Every cell of a grid, keyed by its settings."""


def refuse(grid: Grid, cells: Cells) -> None:
    """Refuse a grid with cells that make no sense, or whose results would go where they must not.

    Raises:
        GridError: a cell is refused; the error gives every reason once, the place of the setting to change, and the cells.
        OSError: the folder of the results cannot be read.
    """
    if reason := wrong_with(grid.run.out, grid.study):
        raise GridError(grid.source, [Problem(grid.place_of("run.out", grid.run.out), f"run.out: {reason}")])
    found: dict[tuple[str, str], list[Settings]] = {}
    for settings in cells:
        for name, text in refusals(settings):
            reason = text.removeprefix(f"got {value_of(settings, name)}: ")
            found.setdefault((name, reason), []).append(settings)
    if found:
        raise GridError(grid.source, [_refusal(grid, cells, *key, refused) for key, refused in found.items()])


def notes(grid: Grid, cells: Cells) -> list[str]:
    """Return one line for every setting that does not do in every cell what its name says."""
    return [f"note: {text}" for text in [*_warmups(cells), *_schedules(cells), *_idle(grid, cells)]]


def _refusal(grid: Grid, cells: Cells, name: str, reason: str, refused: Sequence[Settings]) -> Problem:
    values = list(dict.fromkeys(value_of(settings, name) for settings in refused))
    text = f"{name}: got {' or '.join(shown_level(name, value) for value in values)}: {reason}"
    if len(refused) == len(cells):
        where = f" (in all {len(cells)} cells)" if len(cells) > 1 else ""
    else:
        remedy = f"leave them out with {_exclude(grid, cells, refused)}"
        where = f" (in {len(refused)} of {len(cells)} cells, like {_example(cells, refused)}; {remedy})"
    return Problem(grid.place_of(name, values[0]), text + where)


def _idle(grid: Grid, cells: Cells) -> list[str]:
    idle: dict[str, list[Settings]] = {}
    for settings in cells:
        for name in without_effect(settings):
            # A preset is taken as a whole; only settings that were given one by one are worth a line.
            if grid.is_written(name, value_of(settings, name)):
                idle.setdefault(name, []).append(settings)
    return [f"{name} has no effect{_in_cells(cells, found)}" for name, found in idle.items()]


def _in_cells(cells: Cells, found: Sequence[Settings]) -> str:
    if len(found) < len(cells):
        return f" in {len(found)} of {len(cells)} cells, like {_example(cells, found)}"
    return f" in any of {len(cells)} cells" if len(cells) > 1 else ""


def _example(cells: Cells, some: Sequence[Settings]) -> str:
    """Return the first of some cells, described by the factors that distinguish them from the others."""
    cell = cells[some[0]]
    told = {name: level for name, level in cell.items() if name in _telling(cells, some)} or cell
    return " ".join(f"{name}={shown_level(name, level)}" for name, level in told.items())


def _exclude(grid: Grid, cells: Cells, some: Sequence[Settings]) -> str:
    """Return the `exclude` entry that leaves out exactly these cells, or the word `exclude` if no single entry does."""
    telling = _telling(cells, some)
    alike = [cell for cell in cells.values() if all(cell.get(name) in levels for name, levels in telling.items())]
    # A cell named one by one may lack a factor; then no entry that names the factor leaves it out.
    can_be_named = telling.keys() <= grid.factors.keys() and all(None not in levels for levels in telling.values())
    if not telling or len(alike) > len(some) or not can_be_named:
        return "exclude"
    entry = ", ".join(f"{name}: {_levels(name, levels)}" for name, levels in telling.items())
    return f"exclude: [{{{entry}}}]"


def _telling(cells: Cells, some: Sequence[Settings]) -> dict[str, list[Level | None]]:
    """Return the factors that do not have all their levels in some cells, with the levels that they have there."""
    names = dict.fromkeys(name for settings in some for name in cells[settings])
    there = {name: list(dict.fromkeys(cells[settings].get(name) for settings in some)) for name in names}
    return {name: levels for name, levels in there.items() if len(levels) < len({c.get(name) for c in cells.values()})}


def _levels(name: str, levels: Sequence[SettingValue]) -> str:
    shown = [shown_level(name, level) for level in levels]
    return shown[0] if len(shown) == 1 and name not in LISTS else f"[{', '.join(shown)}]"


def _warmups(cells: Cells) -> list[str]:
    found: dict[str, None] = {}
    for settings in sorted(cells, key=lambda settings: settings.warmup):
        objective, warmup, epochs = settings.objective, settings.warmup, settings.training.epochs
        cycles = objective.warmup_cycles
        needed = (cycles - 1) * warmup / objective.warmup_share + warmup if cycles > 1 else warmup
        if warmup == 0 or epochs > needed:
            continue
        last = beta_at(epochs - 1 if objective.warmup_by == "epoch" else epochs - 1e-9, warmup, objective)
        what = f"warmup {warmup} is" if cycles == 1 else f"warmup {warmup} in {cycles} cycles takes {needed:g} epochs,"
        found[f"{what} longer than training.epochs {epochs}: beta ends at {last:.2f}"] = None
    return list(found)


def _schedules(cells: Cells) -> list[str]:
    trainings = dict.fromkeys(settings.training for settings in cells)
    return [
        f"training.schedule_over {training.schedule_over} is longer than training.epochs {training.epochs}: "
        f"the learning rate ends at {learning_rate_at(training.epochs, training):.2g}"
        for training in trainings
        if training.schedule != "constant" and training.schedule_over > training.epochs
    ]
