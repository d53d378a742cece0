"""Statistics of arrays with one number per seed: estimates, intervals, tests and multiplicity."""
