"""Triton kernels of a GPU, and the reference of the random numbers they draw. Imports nothing else of this project."""
