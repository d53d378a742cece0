"""Reads the files of a study, verifies them, and knows what is missing."""
