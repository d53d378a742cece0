"""Report which code runs: the commit and dirty flag of a checkout, or the version of an installed package."""

import json
import subprocess
from pathlib import Path
from typing import Any

from workers.contract.version import PACKAGE, installed_version

SHIPPED = "study/shipped.json"
"""The file with the provenance of a copy of the code that was sent to a cluster."""


def code_folder() -> Path:
    """Return the folder that holds study, workers and analysis."""
    return Path(__file__).resolve().parent.parent


def code_provenance() -> dict[str, Any]:
    """Return the version, and for a git checkout its commit and whether tracked files differ from it; None if unknown."""
    here = code_folder()
    if not (here / ".git").exists() and (here / SHIPPED).is_file():
        return dict(json.loads((here / SHIPPED).read_text()))
    commit = _git(here, "rev-parse", "HEAD")
    dirty = None if commit is None else bool(_git(here, "status", "--porcelain", "--untracked-files=no"))
    return {"package": PACKAGE, "version": installed_version(), "commit": commit, "dirty": dirty}


def _git(folder: Path, *arguments: str) -> str | None:
    # Only this project's own checkout: a package installed below somebody else's has no commit.
    if not (folder / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
