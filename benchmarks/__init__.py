"""Benchmarks of speed and cost, each with the command that repeats it; they are not installed with the packages."""
