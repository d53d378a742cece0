"""Trains a pack: attempts, epochs, steps, checkpoints, commits."""
