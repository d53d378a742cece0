"""What to run, where, and what is left to do; knows Ray."""

from collections.abc import Sequence
from pathlib import Path

from study.drive.executors import DEFAULT
from workers.contract.version import __version__

__all__ = ["__version__", "run"]


def run(
    grid: str | Path,
    *,
    sets: Sequence[str] = (),
    only: Sequence[str] = (),
    smoke: bool = False,
    executor: str = DEFAULT,
    address: str | None = None,
) -> int:
    """Run a grid file from a notebook or a script, as `python -m study.run` does; returns its exit code.

    Args:
        grid: the grid file.
        sets: `name=value` that win over the file.
        only: `FACTOR=LEVEL` or a trial_id: a part of the trials.
        smoke: every cell, one seed, two epochs, into a study of its own.
        executor: ray | inline (in this process, Ray is not imported); see study.drive.executors.
        address: of a Ray cluster that is up.

    Raises:
        ValueError: bad input; the text is what the command line prints.
    """
    from study.pipeline import run_grid

    return run_grid(grid, sets=sets, only=only, is_smoke=smoke, executor=executor, address=address)
