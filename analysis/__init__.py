"""Reads, averages and draws the files of a study; knows neither torch nor Ray."""

from analysis.averages.average import average
from analysis.loading.load import load

__all__ = ["average", "load"]
