"""Checks of the machine and of every stored file of a study."""
