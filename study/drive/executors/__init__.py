"""List the executors by their names for --executor; this module imports neither Ray nor torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers.contract.errors import CommandError

if TYPE_CHECKING:
    from study.drive.executors.executor import Executor


def _ray() -> "Executor":
    from study.drive.executors.ray_tune import RayTune

    return RayTune()


def _inline() -> "Executor":
    from study.drive.executors.inline import Inline

    return Inline()


@dataclass(frozen=True)
class Entry:
    """A way to run packs."""

    make: Callable[[], "Executor"]
    """Imports the executor's file and creates the executor."""
    summary: str
    """One phrase for --help."""


EXECUTORS: Mapping[str, Entry] = {
    "ray": Entry(_ray, "with Ray Tune, on this machine or a cluster"),
    "inline": Entry(_inline, "one pack at a time in this process, without Ray"),
}

DEFAULT = "ray"


def executor_named(name: str) -> "Executor":
    """Return the executor that --executor names.

    Raises:
        CommandError: no executor has this name.
    """
    if name not in EXECUTORS:
        raise CommandError(f"--executor {name}: there is no such executor; allowed: {', '.join(EXECUTORS)}")
    return EXECUTORS[name].make()
