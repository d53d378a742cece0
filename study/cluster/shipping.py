"""Prepare what a job takes to a cluster: this project's code as it is here, the grid file, and the command to run."""

import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from study.cluster.join import PASSED_ON
from study.grid.grid import Grid
from study.provenance import SHIPPED, code_folder, code_provenance
from workers.contract.errors import CommandError

PACKAGES = ("study", "workers")

SENT = "sent"
"""The folder of the grid file, beside the packages."""


def pack_up(folder: Path, grid: Path) -> str:
    """Copy the code and the grid file into a folder; return the path of the grid file in it.

    A folder, not a wheel: Ray identifies a folder by its content and unpacks it once per node. It would identify a wheel by
    its file name, and install everything that the wheel depends on.
    """
    for package in PACKAGES:
        shutil.copytree(code_folder() / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    # The copy has no .git that could name its commit.
    (folder / SHIPPED).write_text(json.dumps(code_provenance()))
    sent = Path(SENT, grid.name)
    (folder / SENT).mkdir()
    shutil.copyfile(grid, folder / sent)
    return str(sent)


def options_of(out: str, sets: Sequence[str], only: Sequence[str], is_smoke: bool, retry_failed: bool) -> list[str]:
    """Return the options that follow the grid file on the command line."""
    return [
        f"--out={out}",
        *(f"--set={each}" for each in sets),
        *(f"--only={each}" for each in only),
        *(["--smoke"] if is_smoke else []),
        *(["--retry-failed"] if retry_failed else []),
    ]


def entrypoint(grid: str, options: Sequence[str], out: str) -> str:
    """Return the plain command for the head's shell, with the addresses of the bucket but without the keys to it."""
    passed_on = [f"{name}={os.environ[name]}" for name in PASSED_ON if "://" in out and os.environ.get(name)]
    # exec: a signal to stop must reach the driver itself, not a shell around it.
    return shlex.join(["exec", "env", *passed_on, "python", "-m", "study.run", grid, *options])


def asked_for(grid: Grid, options: Sequence[str]) -> str:
    """Return a hash that is equal for two jobs that would do the same work."""
    return hashlib.sha256(json.dumps([grid.text, sorted(options)]).encode()).hexdigest()[:16]


def refuse_own_paths(grid: Grid) -> None:
    """Refuse paths that have a meaning on this machine only.

    Raises:
        CommandError: a path is relative; the text says what to write instead.
    """
    data = grid.base.data
    for name, path, what in (
        ("run.out", grid.run.out, "a bucket, like --out s3://bucket/prefix, or a shared folder, like --out /shared/results"),
        ("data.root", data.root, "a path that every node has, like --set data.root=/data"),
        ("data.path", data.path, "a path that every node has, like --set data.path=/data/images.npz"),
    ):
        is_everywhere = path is None or "://" in path or path.startswith("/")
        # In the paths of data `~` stands for the home folder on the machine that reads them.
        if not is_everywhere and not (name != "run.out" and str(path).startswith("~/")):
            raise CommandError(f"{name}: got {path}, which is a path on this machine only; a cluster needs {what}")
