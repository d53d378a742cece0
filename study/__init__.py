"""What to run, where, and what is left to do; knows Ray."""
