"""Trains a pack of trials and writes what it saw; knows torch, not Ray."""
