"""Reads, averages and draws the files of a study; knows neither torch nor Ray."""

from analysis.averages.average import average
from analysis.averages.cell_table import cell_table
from analysis.loading.load import load
from analysis.loading.study import Study
from workers.contract.user_paths import give_matplotlib_a_folder
from workers.contract.version import __version__

__all__ = ["Study", "__version__", "average", "cell_table", "load"]


# When matplotlib is imported, it looks for this folder; every file that imports it is below this package.
give_matplotlib_a_folder()
