"""Reads, averages and draws the files of a study; knows neither torch nor Ray."""

from analysis.averages.average import average
from analysis.averages.cell_table import cell_table
from analysis.loading.load import load
from analysis.loading.study import Study
from workers.contract.version import __version__

__all__ = ["Study", "__version__", "average", "cell_table", "load"]
