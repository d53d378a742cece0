"""The command line of `python -m study.run`: reads words, prints sentences, returns exit codes."""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from study.calibration import CalibrationError, calibrate_for
from study.checks import Cells, notes, refuse
from study.design import DesignError, cells_by_settings, trials_of
from study.grid import Grid, GridError, placed, read_grid
from study.machine import MachineError, in_words, this_machine
from study.nodes import printable
from study.outlook import outlook
from study.planning import PlanConflictError, Work, find_work
from study.progress import say_error
from study.rates import find_rates
from study.selection import SelectionError, select, smoke
from study.tools.folder import CommandError
from study.wording import shown_level
from workers.images import DamagedDataError, DataError, known, load_images
from workers.records import RecordError
from workers.store import StoreError, open_store, study_url

BAD_INPUT, DAMAGED, INTERRUPTED = 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit codes are those of the README."""
    words = _parser().parse_args(argv)
    return exit_code_of(lambda: carry_out(words))


def carry_out(words: argparse.Namespace) -> int:
    """What the command does with the words of `add_words`; errors of the user are raised."""
    try:
        if words.cluster:
            from study.tools.submit import run_there

            return run_there(words)
        return run_grid(
            words.grid,
            sets=words.set,
            out=words.out,
            only=words.only,
            is_smoke=words.smoke,
            plan_only=words.plan or words.calibrate,
            is_calibrating=words.calibrate,
            executor=words.executor,
            address=words.address,
            retry_failed=words.retry_failed,
        )
    except (DamagedDataError, BrokenPipeError):
        raise
    except (MachineError, StoreError, DataError) as error:
        raise CommandError(placed(str(error), words.grid, words.set, words.out)) from error
    except OSError as error:
        where = error.filename or words.out or words.grid
        raise CommandError(
            printable(f"{where}: cannot be read or written ({error.strerror}); check the disk and its rights")
        ) from error


def exit_code_of(work: Callable[[], int], interrupted: str = "interrupted; the same command goes on") -> int:
    """The exit code of a command; whatever goes wrong on its way becomes a sentence."""
    try:
        return work()
    except KeyboardInterrupt:
        say_error(interrupted)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever reads our words has seen enough, as `| head` has; the interpreter would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return INTERRUPTED
    except (RecordError, DamagedDataError) as error:
        say_error(str(error))
        return DAMAGED
    except (
        GridError,
        DesignError,
        SelectionError,
        MachineError,
        CalibrationError,
        PlanConflictError,
        StoreError,
        DataError,
        CommandError,
    ) as error:
        say_error(str(error))
        return BAD_INPUT


def run_grid(
    path: str | Path,
    *,
    sets: Iterable[str] = (),
    out: str | None = None,
    only: Sequence[str] = (),
    is_smoke: bool = False,
    plan_only: bool = False,
    is_calibrating: bool = False,
    executor: str = "ray",
    address: str | None = None,
    retry_failed: bool = False,
) -> int:
    """What the command does, with its words as arguments; errors of the user are raised."""
    grid, cells = read_checked(path, sets, out, is_smoke)
    if is_calibrating:
        calibrate_for(grid.run, _say)
    from study.cluster import DOWN, find_cluster, join_cluster, refuse_private_folder

    if address not in (None, "local") and executor != "ray":
        raise MachineError(f"--address {address} and --executor {executor}: leave one of them out")
    address = None if address == "local" else address or (find_cluster() if executor == "ray" else None)
    if address:
        machine, where = join_cluster(address, grid.run)
    else:
        machine = this_machine(grid.run)
        where = in_words(machine)
    print(f"study {grid.study} on {where}", flush=True)
    if not address and executor == "ray":
        _warn_of_clusters()
    data = known(grid.base.data)
    trials = trials_of(grid, data.fingerprint)
    wanted = select(trials, only) if only else trials
    most = max(trial.settings.data.n_valid for trial in wanted)
    if most >= data.n_train:
        raise DataError(f"data.n_valid: {most} leaves no image of {data.n_train} to train on; set a smaller one")
    for line in notes(grid, cells):
        print(line)
    store = open_store(study_url(grid.run.out, grid.study))
    work = find_work(store, grid, wanted, machine, data, retry_failed)
    _say_plan(grid, len(cells), work, wanted, plan_only)
    rates = find_rates(machine.device, grid.run.precision, here=not address)
    for line in outlook(store, grid, work, wanted, machine, data, rates, executor == "ray", path):
        print(line, flush=True)
    if plan_only:
        return 0
    if work.missing:
        # Before Ray starts and before a worker waits for it: the data are there, whole and what they should be.
        for settings in dict.fromkeys(trial.settings.data for trial in wanted):
            load_images(settings)
        if address:
            refuse_private_folder(grid.run.out)
    from study.driver import drive

    ending = drive(store, grid, wanted, machine, data, executor=executor, say=_say, retry_failed=retry_failed, rates=rates)
    if address:
        print(DOWN)
    return ending.exit_code


def read_checked(path: str | Path, sets: Iterable[str], out: str | None, is_smoke: bool) -> tuple[Grid, Cells]:
    """A grid file with its options, and its cells; whatever is wrong with it is raised before anything runs."""
    grid = read_grid(path, sets)
    if out is not None:
        # As it is written: a folder may have a name that YAML would read as a number.
        grid = replace(grid, run=grid.run.model_copy(update={"out": out}))
    if is_smoke:
        grid = smoke(grid)
    cells = cells_by_settings(grid)
    refuse(grid, cells)
    return grid, cells


def _warn_of_clusters() -> None:
    from study.cluster_file import up_here

    for cluster in up_here(Path()):
        print(
            f"note: cluster {cluster.name} is up ({cluster.path}), but this runs here; --cluster {cluster.path} runs there"
        )


def _say(text: str) -> None:
    print(text, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m study.run",
        description="Run what is missing of a study: start, resume, extend, or do nothing if all is done.",
        epilog="Exit codes: 0 all done; 1 done, but trials diverged, failed or are missing; 2 bad input; 3 damaged data; "
        "4 conflicting content; 130 interrupted.",
    )
    add_words(parser)
    return parser


def add_words(parser: argparse.ArgumentParser) -> None:
    """What may stand behind the command."""
    parser.add_argument("grid", help="the grid file, like grid.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting that wins over the file")
    parser.add_argument("--out", help="folder of all results or s3://bucket/prefix, like --set run.out=OUT")
    parser.add_argument("--plan", action="store_true", help="print what would run, and stop")
    parser.add_argument("--calibrate", action="store_true", help="measure this machine's device first, for --plan to go by")
    parser.add_argument("--only", action="append", default=[], metavar="FACTOR=LEVEL|TRIAL", help="a part of the trials")
    parser.add_argument("--smoke", action="store_true", help="every cell, one seed, two epochs, into a study of its own")
    parser.add_argument("--executor", choices=("ray", "inline"), default="ray", help="inline: in this process, without Ray")
    parser.add_argument("--retry-failed", action="store_true", help="try failed trials again, from their last border")
    parser.add_argument(
        "--address", help="of a Ray cluster, like ray-head:6379, or local; default: RAY_ADDRESS, this machine's"
    )
    parser.add_argument("--cluster", metavar="FILE", help="on the cluster that `ray up FILE` has started, shown here")


def _say_plan(grid: Grid, n_cells: int, work: Work, wanted: Sequence[object], whole: bool) -> None:
    counts = {name: len(levels) for name, levels in grid.factors.items()} | ({"seed": 1} if grid.one_seed else {})
    levels = ", ".join(f"{name} {count}" for name, count in counts.items())
    new = sum(len(pack.trials) for pack in work.new)
    print(f"{n_cells} cells, {len(wanted)} trials ({levels}), {grid.base.training.epochs} epochs each")
    print(
        f"{len(work.done)} trials done, {len(wanted) - len(work.done)} to do in {len(work.missing)} packs, {new} of them new"
    )
    if whole:
        _say_packs(grid, work)


def _say_packs(grid: Grid, work: Work) -> None:
    for name, levels in grid.factors.items():
        print(f"  {name}: {', '.join(shown_level(name, level) for level in levels)}")
    sizes = sorted({len(pack.trials) for pack in work.missing})
    if sizes:
        borders = sorted({pack.borders[0] - pack.from_epoch for pack in work.missing})
        print(f"packs of {_span(sizes)} trials, stored every {_span(borders)} epochs")
    print(f"results in {study_url(grid.run.out, grid.study)}")


def _span(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if numbers[0] == numbers[-1] else f"{numbers[0]} to {numbers[-1]}"
