"""Data sets: files read and checked, images of a study, subsets of their classes. Needs no torch."""
