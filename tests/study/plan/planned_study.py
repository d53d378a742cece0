"""Grids that are planned on a machine of two slots, and ended without training."""

from collections.abc import Collection

from study.grid.grid import Grid
from study.grid.selection import select
from study.plan.machine import Machine
from study.plan.planning import Work, find_work, settle
from study.plan.request import Request
from tests.study.small_study import CPU, DIGITS, end, grid_of, trials_in
from workers.contract.trial import Pack, Trial
from workers.store.protocol import Store

SEEDS = "factors: {k: [1, 5], seed: [0, 1, 2]}"


def look(store: Store, grid: Grid, only: Collection[str] = (), machine: Machine = CPU) -> Work:
    trials = trials_in(grid)
    return find_work(Request(store, grid, select(trials, only) if only else trials, machine, DIGITS))


def plan(store: Store, grid: Grid, only: Collection[str] = (), machine: Machine = CPU) -> Work:
    trials = trials_in(grid)
    return settle(Request(store, grid, select(trials, only) if only else trials, machine, DIGITS), {"commit": "c"})


def finish(store: Store, work: Work, diverged: Collection[str] = ()) -> None:
    for pack in work.missing:
        end(store, pack, [trial.trial_id for trial in pack.trials if trial.trial_id in diverged])


def run(store: Store, grid: Grid, only: Collection[str] = ()) -> Work:
    """Plan what is missing and end it."""
    work = plan(store, grid, only)
    finish(store, work)
    return work


def ids_in(packs: Collection[Pack]) -> list[str]:
    return sorted(trial.trial_id for pack in packs for trial in pack.trials)


def ids_of(trials: Collection[Trial]) -> list[str]:
    return sorted(trial.trial_id for trial in trials)


def grid(*lines: str, epochs: int = 4, commit_every: int = 2) -> Grid:
    return grid_of(*lines, f"training: {{epochs: {epochs}}}", f"run: {{commit_every: {commit_every}}}")
