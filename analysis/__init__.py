"""Reads, averages and draws the files of a study; knows neither torch nor Ray."""

# The functions win over the modules of the same name: `analysis.load` is the function, and
# `from analysis.load import LoadError` finds the module all the same.
from analysis.average import average as average
from analysis.load import load as load
