"""Plan, run, watch and check studies; the only package that uses Ray."""

from collections.abc import Sequence
from pathlib import Path

from study.drive.executors import DEFAULT
from workers.contract.errors import lasting_output
from workers.contract.version import __version__

__all__ = ["__version__", "run"]


def run(
    grid: str | Path,
    *,
    sets: Sequence[str] = (),
    only: Sequence[str] = (),
    out: str | Path | None = None,
    smoke: bool = False,
    retry_failed: bool = False,
    executor: str = DEFAULT,
    address: str | None = None,
) -> int:
    """Run a grid file from a notebook or a script, as `python -m study.run` does, and return its exit code.

    Args:
        grid: the grid file.
        sets: `NAME=VALUE` settings that override the grid file.
        only: `FACTOR=LEVEL` or a trial_id: run only these trials.
        out: folder or s3://bucket/prefix of all results, like `run.out` in `sets`.
        smoke: run every cell with one seed for two epochs, as a separate study.
        retry_failed: try failed trials again, from their last border.
        executor: ray | inline (in this process, without importing Ray); see study.drive.executors.
        address: address of a Ray cluster that is up.

    Raises:
        ValueError: bad input; the text is the one that the command line prints.
    """
    from study.pipeline import run_grid

    with lasting_output(needs_output=False):
        return run_grid(
            grid,
            sets=sets,
            out=None if out is None else str(out),
            only=only,
            is_smoke=smoke,
            executor=executor,
            address=address,
            retry_failed=retry_failed,
        )
