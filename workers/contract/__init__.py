"""What study, workers and analysis agree on: settings, trials, columns, errors. Needs no torch and reads no file."""
