"""Turn a grid file into a finished study: read, plan, forecast and run it."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from study.drive.executors import DEFAULT, executor_named
from study.drive.summary import ending_of, say_ending
from study.forecast.amounts import counted
from study.forecast.calibrate import calibrate_for
from study.forecast.memory import machine_bytes, memory_notes
from study.forecast.rates import find_rates
from study.forecast.wording import outlook
from study.grid.checks import Cells, notes, refuse
from study.grid.design import cells_by_settings, trials_of
from study.grid.grid import Grid, read_grid
from study.grid.hints import shown_level
from study.grid.selection import select, smoke
from study.plan.planning import Work, find_work
from study.plan.request import Request
from workers.contract.errors import DataError, say
from workers.contract.user_paths import cache_note, expanded
from workers.data.images import known, load_images
from workers.data.summary import lines_of
from workers.store.closing import closing_reasons
from workers.store.keys import study_url
from workers.store.open import open_store


def run_grid(
    path: str | Path,
    *,
    sets: Iterable[str] = (),
    out: str | None = None,
    only: Sequence[str] = (),
    is_smoke: bool = False,
    plan_only: bool = False,
    is_calibrating: bool = False,
    executor: str = DEFAULT,
    address: str | None = None,
    retry_failed: bool = False,
) -> int:
    """Run a grid file with the options of the command line, and return the exit code; errors of the user are raised."""
    runner = executor_named(executor)
    grid, cells = read_checked(path, sets, out, is_smoke)
    grid = _with_out(grid, expanded(grid.run.out))
    if is_calibrating:
        calibrate_for(grid.run, say)
    site = runner.find_site(grid.run, address)
    say("\n".join([f"study {grid.study} on {site.words}", *site.notes, *filter(None, [cache_note()])]))
    data = known(grid.base.data)
    trials = trials_of(grid, data.fingerprint)
    wanted = select(trials, only) if only else trials
    most = max(trial.settings.data.n_valid for trial in wanted)
    if most >= data.n_train:
        raise DataError(f"data.n_valid: {most} leaves none of the {data.n_train} images to train on; set a smaller one")
    for line in notes(grid, cells):
        say(line)
    request = Request(open_store(study_url(grid.run.out, grid.study)), grid, wanted, site.machine, data)
    work = find_work(request, retry_failed)
    _say_plan(grid, len(cells), work, wanted, plan_only)
    rates = find_rates(site.machine.device, grid.run.precision, here=site.is_here)
    for line in outlook(request, work, rates, runner.overhead, path):
        say(line)
    slots = runner.overhead.slots_of(site.machine.slots)
    for line in memory_notes(work.missing, data, site.machine.device, slots, machine_bytes() if site.is_here else None):
        say(line)
    if plan_only:
        return 0
    if work.missing:
        # Check that the data are complete and correct before starting anything that would wait for them.
        shown: dict[str, None] = {}
        for settings in dict.fromkeys(trial.settings.data for trial in wanted):
            shown |= dict.fromkeys(lines_of(load_images(settings), settings))
        for line in shown:
            say(line)
        runner.prepare(site, grid.run.out)
    if work.missing or work.new:
        from study.drive.driver import drive

        ending = drive(request, runner, say=say, retry_failed=retry_failed, rates=rates)
    else:
        # Nothing is written, not even a lease: the disk of a finished study may be read-only.
        closing_reasons(request.store)  # a damaged mark is an error, although nobody needs it now
        ending = ending_of(request, {}, interrupted=False)
        say_ending(ending, {}, 0.0, False, say)
    if site.farewell:
        say(site.farewell)
    return ending.exit_code


def read_checked(path: str | Path, sets: Iterable[str], out: str | None, is_smoke: bool) -> tuple[Grid, Cells]:
    """Read and check a grid file with its options; return it and its cells. Every mistake is raised before anything runs."""
    grid = read_grid(path, sets)
    if out is not None:
        # Not through YAML, which would read some folder names as numbers.
        grid = _with_out(grid, out)
    if is_smoke:
        grid = smoke(grid)
    cells = cells_by_settings(grid)
    refuse(grid, cells)
    return grid, cells


def _with_out(grid: Grid, out: str) -> Grid:
    return replace(grid, run=grid.run.model_copy(update={"out": out}))


def _say_plan(grid: Grid, n_cells: int, work: Work, wanted: Sequence[object], whole: bool) -> None:
    counts = {name: len(levels) for name, levels in grid.factors.items()} | ({"seed": 1} if grid.one_seed else {})
    levels = ", ".join(f"{name} {count}" for name, count in counts.items())
    new = sum(len(pack.trials) for pack in work.new)
    epochs = counted(grid.base.training.epochs, "epoch")
    say(f"{counted(n_cells, 'cell')}, {counted(len(wanted), 'trial')} ({levels}), {epochs} each")
    to_do = f"{len(wanted) - len(work.done)} to do in {counted(len(work.missing), 'pack')}"
    say(f"{counted(len(work.done), 'trial')} done, {to_do}; {counted(new, 'trial')} {'is' if new == 1 else 'are'} new")
    if whole:
        _say_packs(grid, work)


def _say_packs(grid: Grid, work: Work) -> None:
    for name, levels in grid.factors.items():
        say(f"  {name}: {', '.join(shown_level(name, level) for level in levels)}")
    sizes = sorted({len(pack.trials) for pack in work.missing})
    if sizes:
        borders = sorted({pack.borders[0] - pack.from_epoch for pack in work.missing})
        say(f"packs of {_span(sizes)} trials, stored every {_span(borders)} epochs")
    say(f"results in {study_url(grid.run.out, grid.study)}")


def _span(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if numbers[0] == numbers[-1] else f"{numbers[0]} to {numbers[-1]}"
