"""Triton kernels for a GPU, and the reference implementation of the random numbers that they draw."""
