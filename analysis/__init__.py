"""Reads, averages and draws the files of a study; knows neither torch nor Ray."""

import os
import sys
from pathlib import Path

from analysis.averages.average import average
from analysis.averages.cell_table import cell_table
from analysis.loading.load import load
from analysis.loading.study import Study
from workers.contract.user_paths import cache_folder, can_be_written, home_folder
from workers.contract.version import __version__

__all__ = ["Study", "__version__", "average", "cell_table", "load"]


def _give_matplotlib_a_folder() -> None:
    """Name a folder for matplotlib's own files where it would find none and print a warning."""
    if os.environ.get("MPLCONFIGDIR"):
        return
    home = home_folder()
    if sys.platform == "darwin":
        folders = [home and Path(home, ".matplotlib")]
    else:
        folders = [
            Path(given, "matplotlib") if given else home and Path(home, hidden, "matplotlib")
            for given, hidden in ((os.environ.get(f"XDG_{kind}_HOME"), f".{kind.lower()}") for kind in ("CONFIG", "CACHE"))
        ]
    if not all(isinstance(folder, Path) and can_be_written(folder) for folder in folders):
        os.environ["MPLCONFIGDIR"] = str(cache_folder() / "matplotlib")


# When matplotlib is imported, it looks for this folder; every file that imports it is below this package.
_give_matplotlib_a_folder()
