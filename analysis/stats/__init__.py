"""Statistics of arrays: estimates, intervals, tests, multiplicity. Knows no study."""
