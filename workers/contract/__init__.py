"""The contract between study, workers and analysis: settings, trials, columns and errors. Does not need torch."""
