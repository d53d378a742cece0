"""Runs the missing packs of a study: the driver, its lease, its display, and the executors below it."""
